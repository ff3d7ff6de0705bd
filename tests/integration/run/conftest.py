"""What tests of functions share: modules as users write them, and the processes that run them."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rqtool.run.encoding import Spec
from rqtool.run.outcome import Failed
from rqtool.run.pool import Pool
from rqtool.run.task import Task
from tests.driven import Driven
from tests.tools import eventually

TASK = Task(body=b"task", queue="q", message_id="id 1", attempt=2, redelivered=True, headers={"a": "é\udcff"})
ROOT = str(Path(__file__).parents[3])
LATE = Failed("timed out after 1s")
PRELUDE = """
import asyncio, os, pathlib, signal, subprocess, sys, time
import rqtool
def pid(name="pid", number=None):
    pathlib.Path(name + ".part").write_text(str(number or os.getpid()))
    os.rename(name + ".part", name)
"""
Opened = Callable[..., Driven]
"""Opens a function; it takes what `driven` does."""


def module(text: str) -> None:
    """Write the current directory's tasks.py, anew if it is there."""
    Path("tasks.py").write_text(PRELUDE + textwrap.dedent(text))


def driven(text: str = "", jobs: int = 1, timeout: float | None = None, *, target: str = "tasks:handle",
           stdout: int | None = None, together: bool = False) -> Driven:  # fmt: skip
    """A pool for a function of the module with this text, or of one that is there."""
    if text:
        module(text)
    return Driven(Pool(Spec("function", [target], timeout), jobs, stdout=stdout, together=together))


def tasks(*bodies: bytes | str) -> list[Task]:
    """Tasks that differ in their bodies alone."""
    return [replace(TASK, body=body if isinstance(body, bytes) else body.encode()) for body in bodies]


def died(how: str, exit_code: int) -> Failed:
    return Failed(f"the process of the function {how}", exit_code=exit_code)


def pid(name: str = "pid") -> int:
    """The number that a process has written there."""
    return int(eventually(lambda: Path(name).exists() and Path(name).read_text(), what=name))


def processes() -> list[str]:
    """Our children that run functions, and have not ended."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            if parent == str(os.getpid()) and "rqtool.run.child" in (folder / "cmdline").read_text():
                found.append(folder.name)
    return found


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Opened]:
    """The current directory is where users keep their modules. Whatever a test has started is gone after it."""
    monkeypatch.chdir(tmp_path)
    with ExitStack() as ends:

        def opened(text: str = "", **options: Any) -> Driven:
            function = driven(text, **options)
            ends.callback(function.stop)
            function.open()
            return function

        yield opened
    eventually(lambda: not processes(), what="processes of functions are left over")


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Seconds between SIGTERM and SIGKILL: what is tried is what comes after it, or that nobody waits for it."""
    monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", getattr(request, "param", 0.5))
