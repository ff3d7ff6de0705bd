"""Runs in threads what can block: a command, pretended work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from rqtool.handlers.handler import Run
from rqtool.outcomes import Failed, Outcome
from rqtool.task import Task

T = TypeVar("T")
R = TypeVar("R")


class Runner(Protocol):
    """`run` is called in several threads at once, and `kill` beside it; `open` raises what Handler.open does."""

    runs: str

    def open(self) -> None: ...

    def run(self, task: Task) -> Outcome: ...

    def kill(self) -> None: ...


class Threads:
    """A handler that runs `jobs` tasks at once, each in a thread."""

    def __init__(self, runner: Runner, jobs: int) -> None:
        self._runner = runner
        self._pool = ThreadPoolExecutor(jobs, thread_name_prefix="task")
        self.runs = runner.runs
        self.capacity = jobs

    async def open(self) -> None:
        await asyncio.to_thread(self._runner.open)

    def begin(self, run: Run) -> None:
        run.begun()
        self.submit(run, self._runner.run, run.task)

    def submit(self, run: Run, work: Callable[[T], Outcome], argument: T) -> None:
        """Do in a thread what ends a run. Raises RuntimeError, and leaves it undone, where no thread is to be had."""
        result: Future[Outcome] = Future()
        try:
            self._pool.submit(_settle, result, work, argument)
        except RuntimeError:
            # The pool has kept it nevertheless, and one of its threads may get free for it, now or later.
            if result.cancel():
                raise
        asyncio.wrap_future(result).add_done_callback(partial(self._done, run))

    def ended(self, run: Run, outcome: Outcome) -> None:
        run.ended(outcome)

    def withdraw(self) -> None:
        """All have begun."""

    def kill(self) -> None:
        self._runner.kill()

    async def close(self) -> None:
        self._pool.shutdown(wait=False)

    def _done(self, run: Run, future: asyncio.Future[Outcome]) -> None:
        self.ended(run, future.result())


def answer_of(work: Callable[[T], R], argument: T) -> R | Failed:
    """Whatever goes wrong: a run without an end would hold its place, and its task, for ever."""
    try:
        return work(argument)
    except Exception as error:
        return Failed(f"internal error: {error!r}")


def _settle(result: Future[Outcome], work: Callable[[T], Outcome], argument: T) -> None:
    if result.set_running_or_notify_cancel():
        result.set_result(answer_of(work, argument))
