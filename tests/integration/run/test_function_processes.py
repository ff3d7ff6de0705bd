"""The processes of functions: each job's, what waits at them, and how they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from rqtool.run.outcome import Done, Failed, Outcome, Rejected
from rqtool.run.runner import CLOSE_SECONDS
from tests.driven import SECONDS, Run, Seen
from tests.integration.run.conftest import LATE, ROOT, TASK, Opened, died, driven, module, pid, processes, tasks
from tests.integration.run.test_functions import ENDLESS, KEYWORDS, SLEEP, WAIT
from tests.tools import clean_environment, eventually, is_alive

# Several tasks at once; more tasks than jobs wait, and are nobody else's business until they begin.


def test_short_ones_are_wanted_ahead(opened: Opened) -> None:
    """How many depends on how long they take; none before that is known."""
    function = opened(SLEEP, jobs=2)
    assert function.pool.capacity == 2
    # How quick they are is up to the machine as well.
    eventually(lambda: function.work_off(*tasks(*["0"] * 50)) == [Done()] * 50 and function.pool.capacity > 10)
    assert function.work_off(*tasks("0.3", "0.3")) == [Done()] * 2
    assert function.pool.capacity == 2


def test_they_begin_one_by_one(opened: Opened) -> None:
    """They run in order, and the worker hears of each before it begins."""

    class Told(Seen):
        def begun(self) -> None:
            super().begun()
            if self.task.body == b"first":
                Path("log").write_text("told ")

    function = opened("def handle(body): open('log', 'ab').write(body)")
    seen: list[tuple[str, bytes]] = []
    runs = [Told(task, seen) for task in tasks("first", *map(str, range(200)))]
    for run in runs:
        function.loop.call_soon_threadsafe(function.pool.begin, run)
    assert [run.outcome.result(SECONDS) for run in runs] == [Done()] * 201
    assert seen == [(what, run.task.body) for run in runs for what in ("begun", "ended")]
    assert Path("log").read_bytes() == b"told " + b"".join(run.task.body for run in runs)


def test_ends_that_are_told_together(opened: Opened) -> None:
    """Several short tasks are reported in one turn of the loop. None runs again when the process ends before that."""
    text = """
    def handle(body):
        with open("log", "ab") as log: log.write(body + b" ")
        time.sleep(0.001) if body != b"end" else os._exit(3)
    """
    function = opened(text, together=True)
    turns: list[list[bytes]] = [[]]

    class Told(Run):
        def ended(self, outcome: Outcome, written: int) -> None:
            super().ended(outcome, written)
            if not turns[-1]:
                function.loop.call_soon(turns.append, [])
            turns[-1].append(self.task.body)

        def returned(self) -> None:  # by a machine that is busy with something else
            function.loop.call_soon(function.pool.begin, self)

    bodies = [*[b"%d" % number for number in range(60)], b"end", *[b"more"] * 20]
    runs = [Told(task) for task in tasks(*bodies)]
    function.hand_over(runs)
    outcomes = [run.outcome.result(SECONDS) for run in runs]
    assert outcomes == [*[Done()] * 60, died("ended with exit code 3", 3), *[Done()] * 20]
    assert sorted(body for turn in turns for body in turn) == sorted(Path("log").read_bytes().split()) == sorted(bodies)
    assert len(turns) < 60


def test_what_waits_is_withdrawn_and_not_run(opened: Opened) -> None:
    """It is returned at once, and only that; it can be handed over again."""
    function = opened(WAIT)
    at_work, *behind = function.begin(*tasks("wait", "a", "b" * 20_000, "c"))
    pid("wait")
    function.call(function.pool.withdraw)
    assert [run.told for run in (at_work, *behind)] == [["begun"], *[["returned"]] * 3]
    function.call(partial(function.pool.begin, behind[0]))
    Path("go").touch()
    assert [run.outcome.result(SECONDS) for run in (at_work, behind[0])] == [Done()] * 2
    assert not Path("c").exists()


@KEYWORDS
def test_withdrawn_again_and_again_each_runs_once(opened: Opened, keyword: str) -> None:
    """While we take a task back, the process may take the one behind it."""
    function = opened(f"{keyword} handle(body): raise rqtool.Reject(body.decode())", jobs=2)

    def withdraw() -> None:
        function.pool.withdraw()
        if not Path("over").exists():
            function.loop.call_later(0.0002, withdraw)

    function.call(withdraw)
    bodies = [str(number) for number in range(1_000)]
    assert function.work_off(*tasks(*bodies)) == list(map(Rejected, bodies))
    Path("over").touch()


def test_nothing_waits_behind_a_slow_one(opened: Opened) -> None:
    """What waits behind it is returned, and goes to other processes from then on."""
    function = opened(WAIT, jobs=2)
    slow, *others = function.begin(*tasks("wait", "a", "b"))
    eventually(lambda: all(run.told[-1:] in (["returned"], ["ended"]) for run in others))
    for number in range(20):
        assert function.work_off(*tasks(f"c{number}")) == [Done()]
    assert not slow.outcome.done()
    Path("go").touch()
    assert slow.outcome.result(SECONDS) == Done()


# A function that takes too long.


@ENDLESS
def test_it_has_time_to_clean_up(opened: Opened, grace: None) -> None:
    """Its process gets SIGTERM when its time is up, and the next task a new one as soon as that has ended. It waits
    behind another for nothing.
    """
    text = "signal.signal(signal.SIGTERM, lambda *_: (pid('term'), os._exit(1)))\n"
    outcomes = opened(text + SLEEP, timeout=1.0).work_off(*tasks("0.6", "0.6", "1000", "0"))
    assert outcomes == [Done(), Done(), LATE, Done()]
    pid("term")


@pytest.mark.parametrize(
    "start",
    [
        pytest.param("ignored(); other('sleep', '1000')", id="it ignores SIGTERM"),
        pytest.param("ignored(); other('sleep', '1000'); heeded()", id="what it has started ignores SIGTERM"),
        pytest.param("other('timeout', '1000', 'sh', '-c', 'echo $$ >inner; sleep 1000; :')", id="a group of its own"),
    ],
)
def test_what_it_has_started_ends_with_it(opened: Opened, grace: None, start: str) -> None:
    """But not what has a session of its own."""
    text = f"""
        ignored = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
        heeded = lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL)
        def other(*what, name="other", **how): pid(name, subprocess.Popen(what, **how).pid)
        def handle(body):
            other("sleep", "1000", name="detached", start_new_session=True)
            {start}; pid(); time.sleep(1000)
    """
    assert opened(text, timeout=1.0).run(TASK) == LATE
    names = [name for name in ("pid", "other", "inner") if Path(name).exists()]
    eventually(lambda: not any(is_alive(pid(name)) for name in names))
    assert is_alive(pid("detached"))
    os.kill(pid("detached"), signal.SIGKILL)


@pytest.mark.parametrize("grace", [3.0], indirect=True)
def test_many_that_ignore_sigterm_end_together(opened: Opened, grace: None) -> None:
    """Not one after the other; and no new task waits for that where another process is free."""
    function = opened("signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP, jobs=5, timeout=1.0)
    assert function.work_off(*tasks(*["0.5"] * 5)) == [Done()] * 5
    started = time.monotonic()
    late = function.begin(*tasks(*["1000"] * 4))
    eventually(lambda: time.monotonic() - started > 1.2)
    assert function.run(*tasks("0")) == Done()
    assert not any(run.outcome.done() for run in late)
    assert [run.outcome.result(SECONDS) for run in late] == [LATE] * 4
    assert time.monotonic() - started < 4 * 3.0


# A process that dies, the worker that dies, and the end of the worker.


def test_how_it_died_is_known_where_children_end_unseen(opened: Opened) -> None:
    """A worker that was started with SIGCHLD ignored still learns how its processes end."""
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        assert opened("def handle(body): os._exit(3)").run(TASK) == died("ended with exit code 3", 3)
    finally:
        signal.signal(signal.SIGCHLD, before)


@pytest.mark.parametrize("timeout", [None, 0.5])
def test_the_death_of_an_idle_process_costs_no_attempt(opened: Opened, grace: None, timeout: float | None) -> None:
    """Nor does that of one which is about to take a task, or hangs: the next process runs it."""
    text = "seen = []\ndef handle(body): pid(); seen.append(1); raise rqtool.Reject(str(len(seen)))"
    function = opened(text, jobs=2, timeout=timeout)
    assert [function.run(TASK) for _ in range(2)] == [Rejected("1"), Rejected("2")]
    idle = pid()
    os.kill(idle, signal.SIGKILL)
    eventually(lambda: not is_alive(idle))
    assert function.run(TASK) == Rejected("1")
    stopped = pid()
    os.kill(stopped, signal.SIGSTOP)
    [run] = function.begin(TASK)
    assert run.told == ["begun"]  # as far as anyone can know
    if timeout is None:
        os.kill(stopped, signal.SIGKILL)
    assert run.outcome.result(SECONDS) == Rejected("1")
    assert (run.told, is_alive(stopped)) == (["begun", "ended"], False)


def test_withdrawn_when_the_process_has_just_ended(opened: Opened) -> None:
    """What it had not taken has not begun, though nobody has seen the end to its end."""
    function = opened("def handle(body): pid(); time.sleep(1000)")
    runs = [Run(task) for task in tasks("a", "b", "c")]

    def kill_and_withdraw() -> None:
        for run in runs:
            function.pool.begin(run)
        os.kill(pid(), signal.SIGKILL)
        eventually(lambda: not is_alive(pid()))
        function.loop.call_later(0, function.pool.withdraw)  # right after the end is read

    function.call(kill_and_withdraw)
    assert runs[0].outcome.result(SECONDS) == died("was killed by SIGKILL", -signal.SIGKILL)
    assert [run.told for run in runs[1:]] == [["returned"]] * 2


def test_nothing_outlives_a_worker_that_is_killed(opened: Opened) -> None:
    """Neither a process at work that can't even look, nor what it has started, nor one that is idle; which does not
    begin what it was handed in the worker's last moment, and is others' by now.
    """
    module("""
        import re
        def handle(body):
            pid(body.decode())
            if body == b"at_work":
                pid("other", subprocess.Popen(["sleep", "1000"]).pid)
                re.match(r"(x+x+)+y", "x" * 100)
    """)
    script = """if 1:
        import signal
        from tests.integration.run.conftest import *
        (function := driven(jobs=2)).open()
        function.begin(*tasks("at_work", "idle"))[1].outcome.result(60)
        os.kill(pid("idle"), signal.SIGSTOP)
        function.begin(*tasks("handed_over"))
        Path("over").touch()
        signal.pause()
    """
    worker = subprocess.Popen([sys.executable, "-c", script], env=clean_environment(PYTHONPATH=ROOT))
    try:
        pids = [pid(name) for name in ("idle", "at_work", "other")]
        eventually(Path("over").exists)
    finally:
        worker.kill()
        worker.wait()
    with suppress(ProcessLookupError):
        os.kill(pids[0], signal.SIGCONT)
    eventually(lambda: not any(map(is_alive, pids)))
    assert not Path("handed_over").exists()


@KEYWORDS
def test_kill_ends_all_processes_with_all_that_they_have_started(opened: Opened, keyword: str) -> None:
    """What runs fails soon; what would run fails at once."""
    text = f"""
        {keyword} handle(body):
            pid(body.decode() + "other", subprocess.Popen(["sleep", "1000"]).pid)
            pid(body.decode())
            {"await asyncio" if keyword == "async def" else "time"}.sleep(1000)
    """
    function = opened(text, jobs=3)
    runs = function.begin(*tasks("a", "b"))
    pids = [pid(name) for name in ("a", "b", "aother", "bother")]
    function.kill()
    assert [run.outcome.result(SECONDS) for run in runs] == [Failed("killed")] * 2
    assert function.run(TASK) == Failed("killed")
    eventually(lambda: not any(map(is_alive, pids)))


@ENDLESS
def test_kill_waits_for_nobody(opened: Opened, grace: None) -> None:
    """Neither for the grace period of a process that ignores SIGTERM, nor for one that ignores SIGIO."""
    text = """
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        def handle(body):
            signal.signal(signal.SIGTERM, lambda *_: pid("term"))
            while True: time.sleep(1)
    """
    function = opened(text, timeout=0.5)
    [late] = function.begin(TASK)
    pid("term")
    function.kill()
    assert late.outcome.result(SECONDS) == Failed("killed")


@KEYWORDS
def test_close_lets_an_idle_process_end_by_itself(opened: Opened, keyword: str) -> None:
    """What the module wants done at its end is done; but a thread that is left running holds nobody up."""
    text = f"""
        import atexit, threading; atexit.register(pid, "end")
        {keyword} handle(body):
            pid()
            if body == b"thread": threading.Thread(target=time.sleep, args=(1000,)).start()
    """
    for body in ("pass", "thread"):
        function = opened(text, jobs=2)
        assert function.run(*tasks(body)) == Done()
        function.close()
        assert (pid("end") == pid(), processes()) == (body == "pass", [])


def test_close_while_many_import(opened: Opened) -> None:
    """Processes that never get ready, however many, do not delay the end, and no task gets a verdict."""
    text = """
        signal.signal(signal.SIGIO, signal.SIG_IGN)  # so that it must be killed
        if os.path.exists("0"): pid(f"importing{os.getpid()}"); time.sleep(1000)
        def handle(body): pid(body.decode()); time.sleep(1000)
    """
    function = opened(text, jobs=5)
    runs = function.begin(*tasks(*"01234"))
    eventually(lambda: len(list(Path().glob("importing*[0-9]"))) == 4)
    started = time.monotonic()
    function.close()
    assert time.monotonic() - started < 4 * CLOSE_SECONDS  # one after the other
    assert [run.outcome.done() for run in runs] == [False] * 5


@KEYWORDS
def test_no_descriptor_is_left(opened: Opened, grace: None, keyword: str) -> None:
    """However often processes die, time out or end: their lines are closed."""
    before = set(os.listdir("/dev/fd"))
    text = f"{keyword} handle(body): os._exit(1) if body == b'die' else time.sleep(1000)"
    function = driven(text, jobs=5, timeout=0.3)
    function.open()
    assert {type(function.run(task)) for task in tasks("die", "sleep", "die")} == {Failed}
    function.stop()
    del function
    assert set(os.listdir("/dev/fd")) == before
