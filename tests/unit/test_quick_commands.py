"""Commands on the event loop: the quick and silent ones, and those that get a thread."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.handlers.commands import Command
from rqtool.handlers.processes import Group
from rqtool.handlers.quick_commands import QuickCommands
from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.task import Task
from tests.driven import SECONDS, Driven, Run, Seen
from tests.tools import eventually

TASK = Task(body=b"task...", queue="q", message_id="id 1", attempt=1, redelivered=False)
Opened = Callable[..., Driven[QuickCommands]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens a handler for a script of the shell, and closes it after the test."""
    all_of_them: list[Driven[QuickCommands]] = []

    def opened(script: str, *, jobs: int = 1, timeout: float | None = None) -> Driven[QuickCommands]:
        command = Driven(QuickCommands(Command(["sh", "-c", script], timeout=timeout), jobs))
        all_of_them.append(command)
        command.open()
        return command

    yield opened
    for command in all_of_them:
        command.stop()


def _bodies(count: int) -> list[Task]:
    return [replace(TASK, body=b"%d" % number, message_id=str(number)) for number in range(count)]


def _results(runs: list[Run]) -> list[Outcome]:
    return [run.outcome.result(SECONDS) for run in runs]


@pytest.fixture(params=["", "sleep 0.05; ", "echo said >&2; "], ids=["quick", "slow", "loud"])
def life(request: pytest.FixtureRequest) -> str:
    """What a command does before it ends: it is seen off by the loop, or by a thread."""
    text: str = request.param
    return text


@pytest.mark.parametrize("jobs", [1, 3])
def test_each_task_has_its_own_outcome(opened: Opened, life: str, jobs: int) -> None:
    command = opened(life + 'exit "$(cat)"', jobs=jobs)
    runs = command.begin(*(replace(TASK, body=b"%d" % code) for code in (0, 1, 75, 65, 126, 0, 3)))
    said = "said" if "said" in life else ""
    assert _results(runs) == [
        Done(),
        Failed("exit code 1", said, 1),
        Postponed("exit code 75", detail=said, exit_code=75),
        Rejected("exit code 65", said, 65),
        CannotRun("The command can't be run: sh: exit code 126 (not executable)"),
        Done(),
        Failed("exit code 3", said, 3),
    ]
    assert all(run.told == ["begun", "ended"] for run in runs)


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_at_once_than_jobs(opened: Opened, life: str, jobs: int, tmp_path: Path) -> None:
    """However many wait here."""
    script = f'cd "{tmp_path}" && touch "at_work_$$" && ls at_work_* | wc -l >> seen && {life} rm "at_work_$$"'
    assert _results(opened(script, jobs=jobs).begin(*_bodies(20))) == [Done()] * 20
    seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
    assert len(seen) == 20
    assert max(seen) <= jobs


def test_they_begin_in_order_and_one_by_one(opened: Opened) -> None:
    """With one job each is seen to begin when the one before has ended."""
    seen: list[tuple[str, bytes]] = []

    command = opened("exit 0")
    runs = [Seen(task, seen) for task in _bodies(20)]
    command.call(lambda: [command.handler.begin(run) for run in runs])  # type: ignore[func-returns-value]
    assert _results([*runs]) == [Done()] * 20
    assert seen == [(what, b"%d" % n) for n in range(20) for what in ("begun", "ended")]


def test_what_waits_can_be_withdrawn(opened: Opened, tmp_path: Path) -> None:
    """It is not run, and can be handed over again; what runs goes on."""
    command = opened(f'cd "{tmp_path}"; touch "ran_$RQTOOL_TASK_ID"; while [ ! -e go ]; do sleep 0.01; done')
    at_work, *waiting = command.begin(*_bodies(3))
    eventually(lambda: (tmp_path / "ran_0").exists())
    command.call(command.handler.withdraw)
    assert [run.told for run in waiting] == [["returned"]] * 2
    (tmp_path / "go").touch()
    assert at_work.outcome.result(SECONDS) == Done()
    assert os.listdir(tmp_path) == sorted(os.listdir(tmp_path))
    assert not (tmp_path / "ran_1").exists()
    command.call(lambda: command.handler.begin(waiting[1]))
    assert waiting[1].outcome.result(SECONDS) == Done()


@pytest.mark.parametrize("timeout", [0.01, 0.2])
def test_the_time_is_minded(opened: Opened, timeout: float) -> None:
    """Whether it is over while the loop watches, or later; the next task begins then."""
    command = opened('case "$(cat)" in 0) exec sleep 1000;; esac', timeout=timeout)
    late = command.run(_bodies(1)[0])
    assert isinstance(late, Failed)
    assert late.why.startswith("timed out after")


def test_kill(opened: Opened) -> None:
    """What runs ends, what waits is not started."""
    command = opened("exec sleep 1000", jobs=2)
    runs = command.begin(*_bodies(4))
    command.kill()
    assert [getattr(outcome, "why", "") for outcome in _results(runs)] == ["killed by SIGKILL"] * 2 + ["killed"] * 2


def test_without_such_descriptors_each_gets_a_thread(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every system has them."""
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    assert _results(opened('exit "$(cat)"').begin(*_bodies(2))) == [Done(), Failed("exit code 1", "", 1)]


def test_without_a_thread_it_is_killed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody could wait for it; the task has failed, and the next one is run."""
    command = opened('[ "$(cat)" = 1 ] || exec sleep 1000')

    def no_thread(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(ThreadPoolExecutor, "submit", no_thread)
    assert _results(command.begin(*_bodies(2))) == [Failed("can't start new thread"), Done()]


@pytest.mark.parametrize("step", ["start", "finish"])
def test_what_nobody_expects_is_a_failure(opened: Opened, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Neither the task nor the place for the next one is lost."""
    does = getattr(Command, step)
    steps = iter(range(3))

    def fails_once(self: Command, what: object) -> object:
        if next(steps) == 1:
            raise MemoryError
        return does(self, what)

    monkeypatch.setattr(Command, step, fails_once)
    assert _results(opened("exit 0").begin(*_bodies(3))) == [Done(), Failed("internal error: MemoryError()"), Done()]


def test_without_a_second_thread_the_first_one_leaves_it_alone(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It was killed and seen off: its descriptors and its pid may be another one's by then."""
    command = opened(f'while [ ! -e "{tmp_path}/go" ]; do sleep 0.01; done', jobs=2)
    finish, seen_off = Command.finish, []

    def counted(self: Command, group: Group) -> Outcome:
        seen_off.append(group)
        return finish(self, group)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Command, "finish", counted)
    [first] = command.begin(_bodies(1)[0])
    eventually(lambda: seen_off)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_thread)
        assert command.run(TASK) == Failed("can't start new thread")
    (tmp_path / "go").touch()
    assert first.outcome.result(SECONDS) == Done()
    assert command.run(TASK) == Done()
    command.close()
    eventually(lambda: not any(thread.name.startswith("task") for thread in threading.enumerate()))
    assert len(seen_off) == len(set(seen_off))


def test_neither_threads_nor_descriptors_are_left(opened: Opened, life: str) -> None:
    """However many commands have ended."""
    command = opened(life + "exit 0", jobs=2)
    command.begin(*_bodies(4))[-1].outcome.result(SECONDS)
    descriptors, threads = len(os.listdir("/dev/fd")), threading.active_count()
    assert _results(command.begin(*_bodies(20))) == [Done()] * 20
    eventually(lambda: len(os.listdir("/dev/fd")) <= descriptors)
    eventually(lambda: threading.active_count() <= threads + 2)  # the pool's, which stay, one for each job


def test_a_command_that_kills_itself(opened: Opened) -> None:
    """The loop sees the signal."""
    assert opened("kill -SEGV $$").run(TASK) == Failed("killed by SIGSEGV", "", -signal.SIGSEGV)
