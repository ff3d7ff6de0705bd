"""Every console block of the README and of docs/ does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Vhost, clean_environment

ROOT = Path(__file__).parents[2]
PAGES = [
    str(page.relative_to(ROOT))
    for page in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    if "```console" in page.read_text()
]
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
PROGRAM = re.compile(r"```python\n# (\w+\.py)[^\n]*\n(.*?)```", re.DOTALL)
MARK = "=== end of command\n"
STATISTICS = 60.0
"""Seconds after which the broker's statistics must show what a page says of them."""


class Shell:
    """A shell that runs one command after the other."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        with (folder / "errors").open("w") as errors:
            self._process = subprocess.Popen(
                ["bash"],
                env=environment,
                cwd=folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def run(self, command: str) -> list[str]:
        """Return what it prints."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{command}\necho '{MARK.strip()}'\n")
        stdin.flush()
        printed = ""
        while not printed.endswith(MARK):
            line = stdout.readline()
            assert line, f"the shell has ended: {printed}"
            printed += line
        return printed.removesuffix(MARK).splitlines()

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def commands(page: str) -> list[tuple[str, list[str]]]:
    """Each command of each console block, with the lines that it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(page):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """`…` stands for anything within a line."""
    patterns = [".*".join(re.escape(part) for part in line.split("…")) for line in expected]
    return len(patterns) == len(printed) and all(
        re.fullmatch(p, line) for p, line in zip(patterns, printed, strict=True)
    )


@contextmanager
def shell(page: str, folder: Path, vhost: Vhost) -> Iterator[Shell]:
    """In `folder`, with the page's programs. A page that starts a private broker gets its own."""
    for name, program in PROGRAM.findall(page):
        (folder / name).write_text(program)
    state = folder / "state"
    environment = clean_environment() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(state),
        "HOME": str(folder),
    }
    has_broker = "$ rqtool broker start" in page
    running = Shell(folder, environment if has_broker else environment | vhost.environment)
    try:
        yield running
    finally:
        running.end()
        if has_broker:
            PrivateBroker(state / "rqtool" / "broker").stop()


@pytest.mark.empty_vhost
@pytest.mark.parametrize("name", PAGES)
def test_console_blocks(name: str, tmp_path: Path, vhost: Vhost) -> None:
    """One shell runs all commands of a page in turn. `rqtool queues` is asked again until the statistics are there."""
    page = (ROOT / name).read_text()
    with shell(page, tmp_path, vhost) as running:
        for command, expected in commands(page):
            deadline = time.monotonic() + (STATISTICS if command.startswith("rqtool queues") else 0)
            while not matches(expected, printed := running.run(command)):
                assert time.monotonic() < deadline, (command, printed, (tmp_path / "errors").read_text())
                time.sleep(1)
