"""Functions that get short tasks ahead: whatever happens to the one at work, the others are done, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tools import Program, Vhost, eventually, lines

FUNCTIONS = """
import os, time

def handle(body):
    with open("log", "a") as log:
        log.write(body.decode() + "\\n")
    if body.startswith(b"slow"):
        while not os.path.exists("go"):
            time.sleep(0.01)

def mortal(body):
    handle(body)
    if body.startswith(b"die"):
        os._exit(1)

if os.path.exists("late"):
    time.sleep(1)
open("late", "w").close()
"""
FAST = [b"%d" % number for number in range(200)]
"""Enough of them for the worker to find that they are short."""


@pytest.fixture
def functions(rqtool: Program) -> None:
    (rqtool.cwd / "functions.py").write_text(FUNCTIONS)


def log_of(folder: Path) -> list[bytes]:
    log = folder / "log"
    return log.read_bytes().split() if log.exists() else []


@pytest.mark.usefixtures("functions")
def test_no_process_is_idle_while_a_task_waits_behind_a_slow_one(rqtool: Program, vhost: Vhost) -> None:
    """What was behind it goes to the other process, and not only when the slow one is over."""
    behind = [b"behind-%d" % number for number in range(12)]
    rqtool("send", "--from", "-", input=lines(*FAST, b"slow", *behind))
    worker = rqtool.start("work", "-j", "2", "--prefetch", "50", "--call", "functions:handle")
    eventually(lambda: set(behind) <= set(log_of(rqtool.cwd)))
    (rqtool.cwd / "go").touch()
    eventually(lambda: vhost.figures() == (0, 0))
    worker.signal(2)
    assert worker.wait().code == 0
    assert sorted(log_of(rqtool.cwd)) == sorted([*FAST, b"slow", *behind])


@pytest.mark.usefixtures("functions")
def test_a_process_that_takes_long_to_start_again(rqtool: Program, vhost: Vhost) -> None:
    """What was handed over behind the one that died is done by its successor."""
    tasks = [*FAST, b"die", *(b"behind-%d" % number for number in range(200))]
    rqtool("send", "--from", "-", input=lines(*tasks))
    rqtool.start("work", "--prefetch", "50", "--retry-delays", "none", "--call", "functions:mortal")
    eventually(lambda: vhost.figures() == (0, 0))
    assert sorted(log_of(rqtool.cwd)) == sorted(tasks)
