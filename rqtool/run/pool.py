"""Runs tasks in runner processes: a command, or a Python function, for each.

Beside the worker a task can hold the interpreter, block, or crash, without costing the worker its heartbeats or its
life. Short tasks are handed over ahead, since the way there and back takes longer than they do; they are taken back
when the one before them turns out to be slow, and when the worker is to stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from functools import partial
from typing import Any

from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.run.encoding import Spec, pack_metadata, unpack_outcome
from rqtool.run.lane import Entry
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome
from rqtool.run.pace import Pace
from rqtool.run.runner import Runner
from rqtool.run.runners import Runners
from rqtool.run.seat import Seat, seats_of_commands, seats_of_function
from rqtool.run.signals import KILL_AFTER
from rqtool.run.suspects import Suspects
from rqtool.run.task_run import Run
from rqtool.run.time_limits import TimeLimits
from rqtool.run.verdict import shortage

SLOW = 0.05
"""Seconds that a task takes before what waits behind it is taken back."""
_LOOK = 0.02


class Pool:
    """Runs `jobs` tasks at once. `spec.width` is the pool's to choose: a function that isn't async has a runner per
    job, an async one has one for all; commands have as many as there are processors, each for its share of the jobs.
    """

    def __init__(self, spec: Spec, jobs: int, *, stdout: int | None = None) -> None:
        self.spec = spec
        self.jobs = jobs
        self._runners = Runners(spec, stdout)
        self._is_command = spec.kind == "command"
        self._done = Done(0) if self._is_command else Done()
        self._seats: list[Seat] = []
        self._slow = 0
        self._pace = Pace()
        self._limits = TimeLimits(spec.timeout)
        self._watch: asyncio.TimerHandle | None = None
        self._changes: set[asyncio.Task[None]] = set()
        self._suspects = Suspects()
        self._closed = False

    @property
    def capacity(self) -> int:
        """How many tasks it wants in its hands now: those it works on, and short ones ahead."""
        return self.jobs + (self._pace.depth - 1) * (len(self._seats) - self._slow)

    async def open(self) -> None:
        """Get ready: import the function, however long that takes. Raises UsageError where no task could be run."""
        if self._is_command:
            self._seats = seats_of_commands(self.jobs)
            await asyncio.gather(*(self._start(seat) for seat in self._seats))
        else:
            runner = await self._runners.start(self.jobs)
            self._seats = seats_of_function(self.jobs, is_async=self._runners.is_async)
            self._adopt(self._seats[0], runner)

    def begin(self, run: Run) -> None:
        """Take a task over. It begins at once where fewer tasks are in our hands than there are jobs."""
        seat = min(self._seats, key=lambda seat: (seat.is_slow, len(seat.lane) - seat.lane.width))
        seat.lane.add(run, alone=run.task in self._suspects)
        if seat.runner is None and not seat.is_changing:
            self._change(seat, self._restart(seat))
        self._go_on(seat)
        if self._watch is None and seat.lane.is_ahead:
            self._watch_out()

    def withdraw(self) -> None:
        """Return what has not begun."""
        for seat in self._seats:
            self._withdraw(seat)

    def kill(self) -> None:
        """End all that runs, and whatever would begin."""
        self._runners.kill()

    async def close(self) -> None:
        """Let the runners end."""
        loop = asyncio.get_running_loop()
        self._closed = True
        for seat in self._seats:
            if seat.runner is not None:
                loop.remove_reader(seat.runner)
                seat.runner = None
        self._limits.stop_all()
        await self._runners.close()
        await asyncio.gather(*self._changes, return_exceptions=True)
        await self._runners.bury_all()

    # The tasks.

    def _go_on(self, seat: Seat) -> None:
        """Tell what begins, and hand over what the runner has room for: what it prints comes after it was told."""
        self._tell_begun(seat)
        while seat.runner is not None and (entry := seat.lane.next_to_send()) is not None:
            try:
                head = pack_metadata(entry.run.task, again=entry.again) if self._runners.wants_task else b""
                if not seat.runner.give(entry.number, head, entry.run.task.body):
                    self._go_on_later(seat, entry)
                    break
            except OSError as error:  # no descriptor, no memory, a full disk
                seat.lane.remove(entry)
                self._tell_end(entry, shortage(error))
            else:
                seat.lane.sent(entry)
            self._tell_begun(seat)

    def _go_on_later(self, seat: Seat, entry: Entry) -> None:
        """Nothing tells when a line has room again. What is to wait there anyway can wait for the next answer."""
        if entry.number in seat.lane.at_work:
            seat.try_again(_LOOK, self._go_on)

    def _tell_begun(self, seat: Seat) -> None:
        while seat.runner is not None and (entry := seat.lane.begin_next()) is not None:
            if len(seat.lane.at_work) == 1:
                seat.since = time.monotonic()
            self._tell_beginning_of(seat, entry)

    def _tell_beginning_of(self, seat: Seat, entry: Entry) -> None:
        self._limit(seat, entry)
        if not entry.begun:
            entry.begun = True
            entry.run.begun()

    def _withdraw(self, seat: Seat) -> set[int]:
        """Returns the numbers of what the runner had not taken."""
        untaken = seat.runner.take_back() if seat.runner is not None else set()
        back, begun = seat.lane.withdraw(untaken)
        for entry in begun:
            self._tell_beginning_of(seat, entry)
        for entry in reversed(back):
            self._limits.stop(entry)
            entry.run.returned()
        self._go_on(seat)
        return untaken

    def _readable(self, seat: Seat, runner: Runner) -> None:
        try:
            answers = runner.receive()
        except BlockingIOError:
            return
        except (EOFError, OSError):
            self._change(seat, self._ended_by_itself(seat, runner))
            return
        now = time.monotonic()
        if answers:
            self._pace.add((now - seat.since) / len(answers))
            seat.since = now
            self._mark(seat, slow=False)
        for number, head in answers:
            entry = seat.lane.answered(number)
            if entry is not None:
                self._tell_end(entry, unpack_outcome(head) if head else self._done)
                self._tell_begun(seat)
        self._go_on(seat)

    def _tell_end(self, entry: Entry, outcome: Outcome) -> None:
        self._limits.stop(entry)
        self._suspects.discard(entry.run.task)
        killed = self._runners.is_killed and not isinstance(outcome, Done)
        entry.run.ended(Failed("killed") if killed else outcome)

    # The time.

    def _watch_out(self) -> None:
        self._watch = asyncio.get_running_loop().call_later(SLOW, self._look)

    def _look(self) -> None:
        """Let nothing wait any longer behind a slow task."""
        now = time.monotonic()
        for seat in self._seats:
            if seat.lane.is_ahead and now - seat.since > SLOW:
                if seat.runner is not None:  # else it is no task that takes so long
                    self._pace.add(now - seat.since)
                self._mark(seat, slow=True)
                self._withdraw(seat)
        self._watch = None
        if any(seat.lane.is_ahead for seat in self._seats) and not self._closed:
            self._watch_out()

    def _mark(self, seat: Seat, *, slow: bool) -> None:
        self._slow += slow - seat.is_slow
        seat.is_slow = slow

    def _limit(self, seat: Seat, entry: Entry) -> None:
        # A runner of commands ends them itself, and one of an async function cancels it: unless they hang.
        grace = 3 * KILL_AFTER if self._is_command else KILL_AFTER if self._runners.is_async else 0.0
        self._limits.start(entry, grace, partial(self._expired, seat, entry))

    def _expired(self, seat: Seat, entry: Entry) -> None:
        if seat.runner is None or seat.is_changing:
            return  # it is at its end already
        self._mark(seat, slow=True)
        untaken = self._withdraw(seat)
        if entry.number not in seat.lane.at_work:
            return
        if self._is_command and entry.number in untaken:  # nobody reads the runner's stderr; its time has not begun
            self._limits.stop(entry)
            self._limit(seat, entry)
        else:
            self._change(seat, self._end_expired(seat, seat.runner))

    # The runners.

    async def _ended_by_itself(self, seat: Seat, runner: Runner) -> None:
        """A task may have ended it: which one it was of several is found out by running halves of them apart."""
        at_work = self._part(seat, runner)
        await self._runners.end(runner)
        if len(at_work) > 1:
            self._run_apart(seat, at_work)
        elif self._is_command:
            seat.lane.run_again(at_work, apart=False)
        elif at_work:
            why = f"the process of the function {runner.how_it_ended()}"
            self._tell_end(at_work[0], Failed(why, exit_code=runner.process.returncode))
        self._replace(seat)

    async def _end_expired(self, seat: Seat, runner: Runner) -> None:
        """End a runner that can't end its task. Those that merely ran beside that task run again; which one blocks an
        async function's process, and lets nobody else's time end, is found out by running halves of them apart.
        """
        late = self._limits.late()
        at_work = self._part(seat, runner)
        was_asked = self._is_command or self._runners.is_async
        await self._runners.terminate(runner, 0.0 if was_asked else KILL_AFTER)
        if self._runners.is_async and len(at_work) > 1:
            self._run_apart(seat, at_work)
        else:
            seat.lane.run_again([entry for entry in at_work if entry not in late], apart=False)
            for entry in late.intersection(at_work):
                suspected = entry.run.task in self._suspects
                self._tell_end(entry, Failed(f"timed out after {format_duration(self.spec.timeout or 0.0)}"))
                if suspected:  # its next attempt may be here
                    self._suspects.add(entry.run.task)
        self._replace(seat)

    def _run_apart(self, seat: Seat, entries: list[Entry]) -> None:
        self._suspects.add(*(entry.run.task for entry in entries))
        seat.lane.run_again(entries, apart=True)

    def _part(self, seat: Seat, runner: Runner) -> list[Entry]:
        """Take a runner from its seat. Returns what was at work."""
        asyncio.get_running_loop().remove_reader(runner)
        at_work = seat.lane.runner_ended(runner.take_back())
        seat.runner = None
        self._limits.stop(*at_work, *seat.lane.at_work.values())
        return at_work

    def _replace(self, seat: Seat) -> None:
        """Have another runner work on what is left."""
        seat.is_changing = False
        self._mark(seat, slow=False)
        for entry in seat.lane.take_lost():
            self._tell_end(entry, Failed("the processes that were to run it ended, again and again"))
        if len(seat.lane) and not seat.is_changing:
            self._change(seat, self._restart(seat))

    def _change(self, seat: Seat, change: Coroutine[Any, Any, None]) -> None:
        seat.is_changing = True
        task = asyncio.ensure_future(change)
        self._changes.add(task)
        task.add_done_callback(self._changes.discard)

    async def _restart(self, seat: Seat) -> None:
        try:
            await self._start(seat)
        except UsageError as error:
            for entry in [] if self._closed else seat.lane.take_all():
                self._tell_end(entry, CannotRun(str(error)))

    async def _start(self, seat: Seat) -> None:
        seat.is_changing = True
        try:
            runner = await self._runners.start(seat.lane.width)
        finally:
            seat.is_changing = False
        self._mark(seat, slow=False)
        if not self._closed:
            self._adopt(seat, runner)

    def _adopt(self, seat: Seat, runner: Runner) -> None:
        seat.runner = runner
        seat.since = time.monotonic()
        for entry in seat.lane.at_work.values():
            self._limit(seat, entry)
        asyncio.get_running_loop().add_reader(runner, self._readable, seat, runner)
        self._go_on(seat)
