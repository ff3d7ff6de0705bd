"""A pool as a worker uses it, for tests: from an event loop, told of every step."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from rqtool.run.outcome import Outcome
from rqtool.run.pool import Pool
from rqtool.run.task import Task
from tests.tools import DEADLINE, eventually

SECONDS = DEADLINE


class Run:
    """A run whose end can be waited for; `told` is what it was told, in order."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.told: list[str] = []
        self.outcome: Future[Outcome] = Future()
        self.written = 0

    def begun(self) -> None:
        self.told.append("begun")

    def ended(self, outcome: Outcome, written: int) -> None:
        self.told.append("ended")
        self.written = written
        self.outcome.set_result(outcome)

    def returned(self) -> None:
        self.told.append("returned")


class Seen(Run):
    """A run that notes in a list, shared with others, what it is told."""

    def __init__(self, task: Task, seen: list[tuple[str, bytes]]) -> None:
        super().__init__(task)
        self._seen = seen

    def begun(self) -> None:
        self._seen.append(("begun", self.task.body))
        super().begun()

    def ended(self, outcome: Outcome, written: int) -> None:
        self._seen.append(("ended", self.task.body))
        super().ended(outcome, written)


class Driven:
    """A pool on an event loop that runs in a thread of its own, for tests that wait. `errors`: what nobody caught."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.loop = asyncio.new_event_loop()
        self.errors: list[object] = []
        self.loop.set_exception_handler(lambda _, context: self.errors.append(context))
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def open(self) -> None:
        asyncio.run_coroutine_threadsafe(self.pool.open(), self.loop).result(SECONDS)

    def begin(self, *tasks: Task) -> list[Run]:
        """Hand tasks over, all in one turn of the loop."""
        runs = [Run(task) for task in tasks]
        self.hand_over(runs)
        return runs

    def work_off(self, *tasks: Task) -> list[Outcome]:
        """Hand tasks over, all at once, and whatever is returned once more; wait for their ends."""

        class Persistent(Run):
            def returned(run) -> None:  # noqa: N805
                self.loop.call_soon(self.pool.begin, run)

        runs = [Persistent(task) for task in tasks]
        self.hand_over(runs)
        return [run.outcome.result(SECONDS) for run in runs]

    def hand_over(self, runs: Sequence[Run]) -> None:
        """Hand them over, all in one turn of the loop."""

        def begin_all() -> None:
            for run in runs:
                self.pool.begin(run)

        self.call(begin_all)

    def run(self, task: Task) -> Outcome:
        [run] = self.begin(task)
        return run.outcome.result(SECONDS)

    def call(self, act: Callable[[], object]) -> None:
        """Do something on the loop, and wait until it is done."""

        async def acting() -> None:
            act()

        asyncio.run_coroutine_threadsafe(acting(), self.loop).result(SECONDS)

    def kill(self) -> None:
        self.call(self.pool.kill)

    def close(self) -> None:
        if self.loop.is_running():
            asyncio.run_coroutine_threadsafe(self.pool.close(), self.loop).result(SECONDS)

    def stop(self) -> None:
        """Close, and end the loop. Fails for an error on it."""
        self.close()
        self.loop.call_soon_threadsafe(self.loop.stop)
        eventually(lambda: not self.loop.is_running())
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()
        assert self.errors == []
