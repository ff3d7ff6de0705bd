"""Functions that get short tasks ahead: whatever happens to the one at work, the others are done, each once."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.tools import Program, Vhost, eventually, lines

FUNCTIONS = """
import os, time

def handle(body):
    with open("log", "a") as log:
        log.write(body.decode() + "\\n")
    if body.startswith(b"slow"):
        latest = time.monotonic() + 60  # it outlives a worker that is killed when a test fails
        while not os.path.exists(body.decode().replace("slow", "go")) and time.monotonic() < latest:
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


def _close_the_worker(vhost: Vhost) -> None:
    def worker() -> list[str]:
        rows = vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")
        return [row["name"] for row in rows if "rqtool work" in str(row.get("client_properties"))]

    [name] = eventually(worker)
    vhost.api("DELETE", f"/api/connections/{quote(name)}")


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


@pytest.mark.usefixtures("functions")
def test_ctrl_c_gives_back_what_waits_behind_a_slow_one(rqtool: Program, vhost: Vhost) -> None:
    """At once, and none of it is begun."""
    worker = rqtool.start("work", "--prefetch", "50", "--call", "functions:handle")
    rqtool("send", "--from", "-", input=lines(*FAST))
    eventually(lambda: vhost.figures() == (0, 0) and len(log_of(rqtool.cwd)) == len(FAST))
    worker.signal(signal.SIGSTOP)  # it gets all the rest at once
    rqtool("send", "--from", "-", input=lines(b"slow", *[b"behind"] * 12))
    worker.signal(signal.SIGCONT)
    eventually(lambda: b"slow" in log_of(rqtool.cwd))
    worker.signal(signal.SIGINT)
    eventually(lambda: vhost.figures() == (12, 1))
    (rqtool.cwd / "go").touch()
    assert worker.wait().code == 0
    assert vhost.figures() == (12, 0)
    assert sorted(log_of(rqtool.cwd)) == sorted([*FAST, b"slow"])


@pytest.mark.usefixtures("functions")
def test_a_connection_lost_when_enough_was_handed_over(rqtool: Program, vhost: Vhost) -> None:
    """What goes back makes room for others, and what is at work is not begun again for that."""
    tasks = [*FAST, b"slow", b"slow-2", b"behind"]
    # The last one goes ahead on a busy machine, too, where short tasks take long.
    worker = rqtool.tuned("from rqtool.run import lane; lane.AHEAD = 10.0").start(
        "work", "-j", "2", "--prefetch", "50", "--max-tasks", str(len(tasks)), "--call", "functions:handle"
    )
    rqtool("send", "--from", "-", input=lines(*FAST))
    eventually(lambda: vhost.figures() == (0, 0) and len(log_of(rqtool.cwd)) == len(FAST))
    worker.signal(signal.SIGSTOP)  # it gets all the rest at once
    rqtool("send", "--from", "-", input=lines(b"slow", b"slow-2", b"behind"))
    worker.signal(signal.SIGCONT)
    eventually(lambda: not vhost.consumers())
    eventually(lambda: set(log_of(rqtool.cwd)) == {*FAST, b"slow", b"slow-2"})
    _close_the_worker(vhost)
    worker.says("connection lost")
    (rqtool.cwd / "go").touch()
    eventually(lambda: b"behind" in log_of(rqtool.cwd))
    (rqtool.cwd / "go-2").touch()
    assert worker.wait().code == 0
    assert sorted(log_of(rqtool.cwd)) == sorted(tasks)
    assert vhost.figures() == (0, 0)


def test_a_command_that_can_not_run_is_the_last(rqtool: Program, vhost: Vhost) -> None:
    """What waits behind it is given back, and not begun: a typo must not burn the queue."""
    vhost.publish("1", "2", "3")
    ended = rqtool("work", "--prefetch", "10", "--quiet", "--", "sh", "-c", "cat >> log; echo >> log; exit 127")
    assert ended.code == 2
    assert log_of(rqtool.cwd) == [b"1"]
    eventually(lambda: vhost.figures() == (3, 0))


def test_a_command_that_waits_when_the_connection_goes(rqtool: Program, vhost: Vhost) -> None:
    """The broker has its task again: it is not begun on what is gone, though enough was handed over."""
    vhost.publish("1", "2")
    script = "cat >> log; echo >> log; while [ ! -e go ]; do sleep 0.01; done"
    worker = rqtool.start("work", "--prefetch", "10", "--max-tasks", "2", "--", "sh", "-c", script)
    eventually(lambda: log_of(rqtool.cwd) == [b"1"] and vhost.figures() == (0, 2))
    _close_the_worker(vhost)
    worker.says("connection lost")
    (rqtool.cwd / "go").touch()
    assert worker.wait().code == 0
    assert log_of(rqtool.cwd) == [b"1", b"2"]
    eventually(lambda: vhost.figures() == (0, 0))
