"""Runs a Python function for each task, in processes of its own.

Beside the worker a function can hold the interpreter, crash it, or hang, without costing it its heartbeats or its life.
Short tasks are handed over ahead, since the way there and back takes longer than they do; they are taken back when the
one before them turns out to be slow, and when the worker is to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any

from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.handlers.callable_child import Child
from rqtool.handlers.callable_line import Entry, Line
from rqtool.handlers.callable_pace import Pace
from rqtool.handlers.callable_processes import Processes
from rqtool.handlers.handler import Run
from rqtool.handlers.processes import KILL_AFTER
from rqtool.outcomes import CannotRun, Done, Failed, Outcome

SLOW = 0.05
"""Seconds that a task takes before what waits behind it is taken back."""


class Function:
    """Calls `MODULE:FUNCTION` with each task, for at most `timeout` seconds.

    A function that isn't async has a process per job, an async one has one for all.
    """

    def __init__(self, target: str, *, jobs: int, stdout: int | None = None, timeout: float | None = None) -> None:
        self._target = self.runs = target
        self._jobs = jobs
        self._timeout = timeout
        self._processes = Processes(target, jobs=jobs, stdout=stdout, timeout=timeout)
        self._is_async = False
        self._lines: list[Line] = []
        self._slow = 0
        self._pace = Pace()
        self._timers: dict[Entry, asyncio.TimerHandle] = {}
        self._watch: asyncio.TimerHandle | None = None
        self._changes: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        return self._jobs + (self._pace.depth - 1) * (len(self._lines) - self._slow)

    async def open(self) -> None:
        """Import the function, in its first process. There is no limit to the time that this takes, but `kill`."""
        child = await asyncio.to_thread(self._processes.start)
        self._is_async = child.is_async
        self._lines = [Line(self._jobs)] if child.is_async else [Line(1) for _ in range(self._jobs)]
        self._adopt(self._lines[0], child)

    def begin(self, run: Run) -> None:
        line = min(self._lines, key=lambda line: (line.slow, len(line)))
        line.add(run)
        if line.child is None and not line.changing:
            self._change(line, self._start(line))
        self._go_on(line)
        if self._watch is None and line.is_ahead:
            self._watch_out()

    def withdraw(self) -> None:
        for line in self._lines:
            self._withdraw(line)

    def kill(self) -> None:
        self._processes.kill()

    async def close(self) -> None:
        for line in self._lines:
            if line.child is not None:
                asyncio.get_running_loop().remove_reader(line.child)
                line.child = None
        for timer in (*self._timers.values(), *([self._watch] if self._watch else [])):
            timer.cancel()
        await asyncio.to_thread(self._processes.end)

    # The tasks.

    def _go_on(self, line: Line) -> None:
        """Tell what begins, and hand over what the process has room for: what it prints comes after it was told."""
        self._tell_begun(line)
        while (failure := line.send()) is not None:
            entry, error = failure
            self._tell_end(entry, Failed(str(error)))  # a full disk
        self._tell_begun(line)

    def _tell_begun(self, line: Line) -> None:
        while (begun := line.next()) is not None:
            self._limit(line, begun)
            begun.run.begun()

    def _withdraw(self, line: Line) -> None:
        back, begun = line.withdraw()
        for entry in begun:
            self._limit(line, entry)
            entry.run.begun()
        for entry in reversed(back):
            self._unlimit(entry)
            entry.run.returned()
        self._go_on(line)

    def _readable(self, line: Line, child: Child) -> None:
        try:
            answers = child.receive()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._died(line, child)
            return
        now = time.monotonic()
        if answers:
            self._pace.add((now - line.since) / len(answers))
            line.since = now
            self._mark(line, slow=False)
        for number, head in answers:
            answered = line.answered(number, head)
            if answered is not None:
                self._tell_end(*answered)
                self._tell_begun(line)
        self._go_on(line)

    def _tell_end(self, entry: Entry, outcome: Outcome) -> None:
        if self._timers:
            self._unlimit(entry)
        killed = self._processes.killed and not isinstance(outcome, Done)
        entry.run.ended(Failed("killed") if killed else outcome)

    # The time.

    def _watch_out(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(SLOW, self._look)

    def _look(self) -> None:
        """Let nothing wait any longer behind a slow task."""
        now = time.monotonic()
        for line in self._lines:
            if line.is_ahead and now - line.since > SLOW:
                if line.child is not None:  # else it is no task that takes so long
                    self._pace.add(now - line.since)
                self._mark(line, slow=True)
                self._withdraw(line)
        self._watch = None
        if any(line.is_ahead for line in self._lines):
            self._watch_out()

    def _mark(self, line: Line, *, slow: bool) -> None:
        self._slow += slow - line.slow
        line.slow = slow

    def _limit(self, line: Line, entry: Entry) -> None:
        if self._timeout is not None:
            # An async function is cancelled in its process, and answers.
            limit = self._timeout + KILL_AFTER if self._is_async else self._timeout
            self._timers[entry] = asyncio.get_running_loop().call_later(limit, self._expired, line, entry)

    def _unlimit(self, entry: Entry) -> None:
        timer = self._timers.pop(entry, None)
        if timer is not None:
            timer.cancel()

    def _expired(self, line: Line, entry: Entry) -> None:
        if line.child is None:
            return  # it is at its end already
        self._withdraw(line)
        why = f"timed out after {format_duration(self._timeout or 0)}"
        beside = "it shared its process with a task that did not end when its time was up"

        def outcome(child: Child, ended: Entry) -> Outcome:
            return Failed(why) if ended is entry else Failed(beside, exit_code=child.process.returncode)

        self._part(line, line.child, self._processes.time_out, outcome)

    # The processes.

    def _died(self, line: Line, child: Child) -> None:
        def outcome(child: Child, _: Entry) -> Outcome:
            why = f"the process of the function {child.how_it_ended()}"
            return Failed(why, exit_code=child.process.returncode)

        self._part(line, child, self._processes.bury, outcome)

    def _part(
        self, line: Line, child: Child, end: Callable[[Child], None], outcome: Callable[[Child, Entry], Outcome]
    ) -> None:
        asyncio.get_running_loop().remove_reader(child)
        ended = line.part()
        for entry in line.running.values():
            self._unlimit(entry)
        self._change(line, self._see_off(line, child, end, ended, outcome))

    async def _see_off(
        self,
        line: Line,
        child: Child,
        end: Callable[[Child], None],
        ended: list[Entry],
        outcome: Callable[[Child, Entry], Outcome],
    ) -> None:
        await asyncio.to_thread(end, child)
        self._changed(line)
        outcomes = [(entry, outcome(child, entry)) for entry in ended]
        # A process that ended while it was idle has cost no task an attempt. A new one that can't take a task has.
        untaken = Failed("the process of the function did not take the task")
        outcomes += [(entry, untaken) for entry in line.running.values() if entry.lost > 1]
        for entry, _ in outcomes:
            line.remove(entry)
        for entry, failed in outcomes:
            self._tell_end(entry, failed)
        if len(line) and not line.changing:
            self._change(line, self._start(line))

    def _change(self, line: Line, change: Coroutine[Any, Any, None]) -> None:
        line.changing = True
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    def _changed(self, line: Line) -> None:
        line.changing = False
        self._mark(line, slow=False)

    async def _start(self, line: Line) -> None:
        try:
            child = await asyncio.to_thread(self._start_alike)
        except UsageError as error:
            self._changed(line)
            for entry in line.take_all():
                self._tell_end(entry, CannotRun(str(error)))
        else:
            self._changed(line)
            self._adopt(line, child)

    def _start_alike(self) -> Child:
        child = self._processes.start()
        if child.is_async is not self._is_async:
            self._processes.bury(child, 0)
            was, now = ("was", "no longer is") if self._is_async else ("was not", "now is")
            raise UsageError(f"--call {self._target}: it {was} async and {now}", "Start the worker again")
        return child

    def _adopt(self, line: Line, child: Child) -> None:
        line.child = child
        line.since = time.monotonic()
        for entry in line.running.values():
            self._limit(line, entry)
        asyncio.get_running_loop().add_reader(child, self._readable, line, child)
        self._go_on(line)
