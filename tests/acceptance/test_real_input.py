"""Real files through the whole: paths in, checksums out, each exactly once."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.tools import Program, Vhost, clean_environment


def test_checksums_of_pythons_own_library(rqtool: Program, vhost: Vhost) -> None:
    """Every .py file of the standard library: the sums equal those of sha256sum run directly, each exactly once."""
    library = sysconfig.get_path("stdlib")
    paths = sorted(str(path) for path in Path(library).glob("*.py"))[:400]
    direct = subprocess.run(["sha256sum", *paths], capture_output=True, text=True, check=True).stdout.splitlines()

    sent = rqtool("send", "--from", "-", input="".join(f"{path}\n" for path in paths).encode())
    worked = rqtool("work", "--drain", "-j", "2", "--quiet", "--", "sh", "-c", "xargs sha256sum", seconds=80)

    assert (sent.code, worked.code, worked.stderr) == (0, 0, "")
    assert len(paths) > 100
    assert sorted(direct) == sorted(worked.stdout.splitlines())
    assert vhost.figures() == (0, 0)


def test_memory_stays_flat(rqtool: Program, vhost: Vhost) -> None:
    """200,000 lines need hardly more memory than 20,000: the window is bounded, and so is what is read ahead."""
    peaks = []
    for count in (20_000, 200_000):
        (rqtool.cwd / "input").write_bytes(b"".join(b"a task of some length, number %d\n" % n for n in range(count)))
        script = (
            "import resource, subprocess, sys;"
            "code = subprocess.call(sys.argv[1:]);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
        )
        measured = subprocess.run(
            [sys.executable, "-c", script, sys.executable, "-m", "rqtool", "send", "--quiet", "--from", "input"],
            env=clean_environment() | rqtool.environment,
            cwd=rqtool.cwd, capture_output=True, text=True, check=True, timeout=80,
        )  # fmt: skip
        peaks.append(int(measured.stdout) / 1024)
    assert peaks[1] < 100
    assert peaks[1] - peaks[0] < 20
