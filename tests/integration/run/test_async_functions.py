"""Async functions, which share a process: who has ended or blocked it, and what that costs the others."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from rqtool.run.outcome import Done, Failed, Rejected
from tests.driven import SECONDS
from tests.integration.run.conftest import LATE, Opened, died, pid, processes, tasks

BESIDE = """
import contextlib
there = []
with open("started", "a") as log: log.write(f"{os.getpid()}\\n")
def end(): time.sleep(0.1); os._exit(9)
async def stay(blocks=0):
    while True:
        with contextlib.suppress(asyncio.CancelledError): time.sleep(blocks); await asyncio.sleep(0 if blocks else 1000)
def fork():
    if not (child := os.fork()): sys.exit()
    os.waitpid(child, 0)
async def handle(body):
    there.append(body)
    with open("begun", "a") as log: log.write(f"{body.decode()} {len(there)}\\n")
    match body.split()[0]:
        case b"culprit": await asyncio.sleep(0.2); CULPRIT
        case b"busy":
            for _ in range(300): await asyncio.sleep(0); sum(range(20_000))
        case _:
            await asyncio.sleep(0.4)
            while STAYS and b"culprit" in there: await asyncio.sleep(0.02)
    there.remove(body)
"""
"""Notes in `begun` how many tasks are there when each begins."""
LAST = ["a 1", "b 2", "c 3", "culprit 1"]
HALVED = ["a 1", "culprit 2", "a 1", "culprit 1", "b 1", "c 2"]
DIED = died("ended with exit code 9", 9)


def beside(culprit: str, *, stays: bool) -> str:
    """`stays`: the others stay until the culprit ends the process."""
    return BESIDE.replace("CULPRIT", culprit).replace("STAYS", str(stays))


@pytest.mark.parametrize(
    ("culprit", "timeout", "outcome", "again"),
    [
        pytest.param("os._exit(9)", None, DIED, LAST, id="dies"),
        pytest.param("await asyncio.to_thread(end)", None, DIED, HALVED, id="a thread dies"),
        pytest.param("time.sleep(1000)", 1.0, LATE, LAST, id="blocks"),
        pytest.param("fork(); time.sleep(1000)", 1.0, LATE, LAST, id="forks and blocks"),
        pytest.param("await stay()", 1.0, LATE, None, id="does not let itself be cancelled"),
        pytest.param("await stay(0.2)", 1.0, LATE, None, id="does not either, and blocks again and again"),
        pytest.param("asyncio.get_running_loop().call_soon(time.sleep, 1000); await asyncio.sleep(1000)", 1.0, LATE,
                     None, id="blocks from a callback"),
    ],
)  # fmt: skip
def test_only_the_culprit_has_failed(
    opened: Opened, grace: None, culprit: str, timeout: float | None, outcome: Failed, again: list[str] | None
) -> None:
    """Those beside it run again: all at once and before it, if it was in a step; else half of them at a time, until the
    one that does it again is alone. Its next attempt is alone from the start.
    """
    function = opened(beside(culprit, stays=timeout is None), jobs=4, timeout=timeout)
    runs = function.begin(*tasks("a", "culprit", "b", "c"))
    assert [run.outcome.result(SECONDS) for run in runs] == [Done(), outcome, Done(), Done()]
    assert [run.told for run in runs] == [["begun", "ended"]] * 4
    begun = Path("begun").read_text().splitlines()
    if again is not None:
        assert sorted(begun[4:7]) + begun[7:] == LAST if again is LAST else begun[4:] == HALVED
        assert len(Path("started").read_text().split()) == (2 if again is LAST else 4)
    assert function.work_off(*tasks("culprit", "a")) == [outcome, Done()]
    assert Path("begun").read_text().splitlines()[len(begun) :] == ["culprit 1", "a 1"]


@pytest.mark.parametrize(
    ("culprit", "bodies", "most"),
    [
        # Others are in a step whenever it does: none of them is blamed.
        pytest.param("await asyncio.to_thread(end)", ["culprit", *[f"busy {n}" for n in range(5)]], 9, id="a thread"),
        # Each costs two processes: the one that it shared, and one that it had for itself.
        pytest.param("os._exit(9)", [f"{'culprit' if n % 15 == 7 else 'a'} {n}" for n in range(45)], 7, id="several"),
    ],
)
def test_none_is_blamed_for_its_neighbours(opened: Opened, culprit: str, bodies: list[str], most: int) -> None:
    """However often they run again."""
    outcomes = opened(beside(culprit, stays=False), jobs=15).work_off(*tasks(*bodies))
    assert outcomes == [DIED if "culprit" in body else Done() for body in bodies]
    assert len(Path("started").read_text().split()) <= most


def test_all_jobs_meet_in_one_process(opened: Opened) -> None:
    """All that there are jobs for and no more, though not all fit into the line at once."""
    text = """
        pid()
        here = most = 0
        async def handle(body):
            global here, most
            here += 1
            most = max(most, here)
            while most < 30: await asyncio.sleep(0.01)
            await asyncio.sleep(0.01)
            here -= 1
            raise rqtool.Reject(f"{body[:2].decode()} {most}")
    """
    function = opened(text, jobs=30)
    os.kill(pid(), signal.SIGSTOP)
    runs = function.begin(*tasks(*[f"{n:02d}" + "x" * (0, 16_000, 100_000)[n % 3] for n in range(30)]))
    os.kill(pid(), signal.SIGCONT)
    assert [run.outcome.result(SECONDS) for run in runs] == [Rejected(f"{n:02d} 30") for n in range(30)]
    assert function.work_off(*tasks(*["xx"] * 100)) == [Rejected("xx 30")] * 100
    assert len(processes()) == 1


@pytest.mark.parametrize("grace", [2.0], indirect=True)
def test_one_that_is_late_is_cancelled(opened: Opened, grace: None) -> None:
    """It can clean up, even if it blocked its process before; the detail says where it was, and others go on."""
    text = """
        async def handle(body):
            if body == b"beside": return await asyncio.sleep(0.2)
            if body == b"suspect" and not os.path.exists("first"):
                pid("first"); await asyncio.sleep(0.1); time.sleep(1000)
            try: await asyncio.sleep(1000)
            finally:
                for _ in range(70): await asyncio.sleep(0.01)
                pid(body.decode())
    """
    function = opened(text, jobs=2, timeout=1.0)
    for body in ("late", "suspect"):
        late, beside = (run.outcome.result(SECONDS) for run in function.begin(*tasks(body, "beside")))
        assert isinstance(late, Failed)
        assert (late.why, beside) == (LATE.why, Done())
        assert "try: await asyncio.sleep(1000)" in late.detail
    assert pid("late") == pid("first") != pid("suspect")


@pytest.mark.parametrize(
    ("bodies", "outcomes"),
    [
        pytest.param("3333", [Done()] * 4, id="they block each other for longer than any may take"),
        pytest.param("162", [Done(), LATE, Done()], id="one blocks past its time and then returns"),
    ],
)
def test_time_in_which_others_block_does_not_count(
    opened: Opened, grace: None, bodies: str, outcomes: list[Any]
) -> None:
    """Its own does; and nothing runs again."""
    text = """
        async def handle(body):
            open("log", "ab").write(body)
            for _ in range(2): await asyncio.sleep(0.05); time.sleep(int(body) / 10)
    """
    assert opened(text, jobs=4, timeout=1.0).work_off(*tasks(*bodies)) == outcomes
    assert Path("log").read_text() == bodies
