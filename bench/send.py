"""How fast `rqtool send` streams, and in how much memory, on a private broker of its own: `make bench`.

Prints tasks per second and the peak memory of the sending process for growing inputs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rqtool.localbroker import LocalBroker

SIZES = [int(argument) for argument in sys.argv[1:]] or [10_000, 200_000, 1_000_000]
KINDS = ("classic", "quorum")


def measure(count: int, kind: str, environment: dict[str, str]) -> tuple[float, int, str]:
    """Seconds, peak memory in kB, and what the program said, of one run with `count` lines on stdin."""
    lines = subprocess.Popen(["seq", "-f", "a task of some length, number %.0f", str(count)], stdout=subprocess.PIPE)
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "rqtool", "send", "--queue", f"{kind}-{count}", "--type", kind],
        stdin=lines.stdout, stdout=subprocess.PIPE, env=environment, text=True,
    )  # fmt: skip
    said = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines.wait()
    if process.returncode != 0:
        sys.exit(process.returncode)
    return time.monotonic() - started, usage.ru_maxrss, said.strip()


def main() -> None:
    """Run every size on every kind of queue."""
    with tempfile.TemporaryDirectory(prefix="rqtool-bench.") as folder:
        broker = LocalBroker(Path(folder) / "broker")
        [node] = broker.start()
        environment = os.environ | {"RQTOOL_URL": node.amqp_url, "RQTOOL_API_URL": node.api_url}
        try:
            for kind in KINDS:
                for count in SIZES:
                    seconds, memory, said = measure(count, kind, environment)
                    print(
                        f"{count:>9,} {kind}: {count / seconds:>7,.0f}/s {memory / 1024:5.0f} MB peak  {said}",
                        flush=True,
                    )
        finally:
            broker.stop()


if __name__ == "__main__":
    main()
