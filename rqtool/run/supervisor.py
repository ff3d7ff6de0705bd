"""Keeps one runner busy with the tasks of its lane: hands them over, receives their results, enforces their timeouts,
and replaces the runner when it ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from functools import partial

from rqtool.errors import UsageError
from rqtool.run.encoding import Answer, pack_task
from rqtool.run.lane import Entry, Lane, Pace, Run, Suspects
from rqtool.run.launcher import Launcher
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, is_shortage, is_stopped, shortage, timed_out
from rqtool.run.process_group import KILL_AFTER
from rqtool.run.receiver import Receiver
from rqtool.run.relay import Relay, WorkOutput
from rqtool.run.runner import CLOSE_SECONDS, Runner

SLOW = 0.05
"""Seconds that a task may take before the tasks behind it are taken back."""
CUT_SECONDS = 0.2
"""How long a runner may take to end at once by itself."""
_RETRY = 0.02
"""Seconds until a full socket is tried again, since nothing signals that it has room."""
_LOOK = 0.5
"""Seconds between two looks at the process of an async function, where time does not pass for all tasks alike."""


class Supervisor:
    """Has one runner at most, which takes as many tasks at once as its lane is wide."""

    def __init__(
        self, launcher: Launcher, pace: Pace, width: int, output: WorkOutput | None, *, together: bool
    ) -> None:
        self._launcher = launcher
        self._is_command = launcher.spec.kind == "command"
        self._timeout = launcher.spec.timeout
        self._done = Done(0) if self._is_command else Done()
        self._pace = pace
        self._together = together
        self.lane = Lane(width)
        self.relay = Relay(output, self._answered)
        self.is_slow = False
        """Whether no task may wait behind the running ones."""
        self._since = 0.0
        """When the last answer came, or, after a pause, the first task."""
        self._suspects = Suspects()
        self._runner: Runner | None = None
        self._is_ready = False
        self._over: asyncio.Future[bool] | None = None
        """Resolved when the runner has ended, or must be ended because it can't end a task whose time is up (True)."""
        self._life: asyncio.Task[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None

    async def start(self) -> Runner:
        """Start a runner, and wait until it is ready: there is no limit to that time, but `kill`. Raises UsageError."""
        self._runner = runner = self._launcher.launch(self.lane.width)
        self.relay.follow(runner)
        try:
            await self._launcher.greet(runner)
        except UsageError:
            self.relay.leave()
            self._runner = None
            raise
        return runner

    def supervise(self) -> None:
        """Run tasks from now on, in the runner that was started, or in a new one."""
        if self._life is None:
            self._life = asyncio.ensure_future(self._live())

    def begin(self, run: Run) -> None:
        self.lane.add(run, alone=run.task in self._suspects)
        self.supervise()
        self._go_on()

    def withdraw(self) -> None:
        """Return the tasks that have not begun."""
        # Something is at work beside one that is not ready: it has just ended, and `_supervise` is about to hear of it.
        has_some = self._is_ready or (self._life is not None and self.lane.at_work)
        untaken = self._runner.take_back() if has_some and self._runner is not None else set()
        back, begun = self.lane.withdraw(untaken)
        for entry in begun:
            self._begun(entry)
        for entry in reversed(back):
            entry.run.returned()
        self._go_on()

    def give_way(self) -> None:
        """Return the tasks that have been waiting too long behind a slow one."""
        seconds = time.monotonic() - self._since
        if self.lane.is_ahead and seconds > SLOW:
            if self._is_ready:  # else it is not a task that takes so long
                self._pace.add(seconds)
            self.is_slow = True
            self.withdraw()

    def kill(self) -> None:
        """End the runner at once, with its tasks."""
        if self._runner is not None:
            self._runner.cut()
            asyncio.get_running_loop().call_later(CUT_SECONDS, self._runner.kill)

    async def close(self) -> None:
        """Let the runner end; after CLOSE_SECONDS it is killed."""
        for timer in (self._alarm, self._retry):
            if timer is not None:
                timer.cancel()
        was_ready, self._is_ready = self._is_ready, False
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})
        if (runner := self._runner) is not None:
            if was_ready and not self._launcher.is_killed:
                runner.retire()
            else:
                runner.cut()
            await runner.end(CLOSE_SECONDS)
            self.relay.leave()

    # The tasks.

    def _go_on(self) -> None:
        """Hand over as many tasks as the runner has room for. Report first which tasks begin, since their output comes
        after that.
        """
        while self._is_ready and (entry := self.lane.begin_next()) is not None:
            self._begun(entry)
        while self._is_ready and self._runner is not None and (entry := self.lane.next_to_send()) is not None:
            begins = self.lane.begins(entry)
            if begins:
                self._begun(entry)
            task = entry.run.task
            try:
                head = pack_task(task, again=entry.again > 0) if self._launcher.wants_task else b""
                if not self._runner.give(entry.number, head, task.body):
                    entry.ends_at = None  # its time begins when it is handed over
                    if begins and self._retry is None:  # else the next answer will do
                        self._retry = asyncio.get_running_loop().call_later(_RETRY, self._try_again)
                    return
            except OSError as error:  # no descriptor, no memory, a full disk
                self.lane.remove(entry)
                self._end(entry, shortage(error))
            else:
                self.lane.sent(entry)

    def _try_again(self) -> None:
        self._retry = None
        self._go_on()

    def _begun(self, entry: Entry) -> None:
        if not self.lane.at_work:
            self._since = time.monotonic()
        self._limit(entry)
        if not entry.begun:
            entry.begun = True
            entry.run.begun()

    def _take(self, answers: list[tuple[int, bytes]]) -> float:
        """Take the runner's answers. Returns how many seconds of work it has, if the next ones may come together."""
        if answers:
            now = time.monotonic()
            self._pace.add((now - self._since) / len(answers))
            self._since = now
            self.is_slow = False
        for number, head in answers:
            entry = self.lane.answered(number)
            if entry is not None:
                self.relay.ended(entry, Answer.unpack(head))
                if (following := self.lane.begin_next()) is not None:
                    self._begun(following)
        self._go_on()
        return self._pace.seconds_for(self.lane.behind) if self._together else 0.0

    def _answered(self, entry: Entry, answer: Answer) -> None:
        self._end(entry, self._done if isinstance(answer.outcome, Done) else answer.outcome, answer.written)

    def _end(self, entry: Entry, outcome: Outcome, written: int = 0) -> None:
        self._suspects.discard(entry.run.task)
        killed = self._launcher.is_killed and not isinstance(outcome, Done)
        entry.run.ended(Failed("killed") if killed else outcome, written)

    # Their time.

    def _limit(self, entry: Entry) -> None:
        """Let the time of a task begin, unless it has."""
        seconds = self._timeout
        if seconds is None or entry.ends_at is not None:
            return
        # A runner of commands ends them itself, and one of an async function cancels it: unless they hang.
        if self._is_command:
            seconds += 3 * KILL_AFTER
        elif self._launcher.is_async:
            seconds += KILL_AFTER
        loop = asyncio.get_running_loop()
        entry.ends_at = loop.time() + seconds
        if self._runner is not None:
            entry.ends_at -= self._runner.blocked_beside(entry.number)
        if self._alarm is None:
            self._alarm = loop.call_later(_LOOK if self._launcher.is_async else seconds, self._check_time)

    def _check_time(self) -> None:
        self._alarm = None
        late = self._late(self.lane.at_work.values())
        if self._is_command and not self.relay.has_room:
            for entry in late:  # their runner can't say that it has ended them
                entry.ends_at = asyncio.get_running_loop().time() + KILL_AFTER
        elif self._is_ready and late:
            self.is_slow = True
            self.withdraw()
            # A runner of commands takes nothing while its stderr has no reader: then no time has begun.
            if not self._is_command or self._late(self.lane.at_work.values()):
                self._give_up(expired=True)
        ends = [entry.ends_at for entry in self.lane.at_work.values() if entry.ends_at is not None]
        if ends and self._alarm is None and self._is_ready:
            loop = asyncio.get_running_loop()
            at = loop.time() + _LOOK if self._launcher.is_async else min(ends)
            self._alarm = loop.call_at(at, self._check_time)

    def _late(self, entries: Collection[Entry]) -> list[Entry]:
        """Return the tasks whose time is up. Time in which others blocked their process does not count."""
        now, late = asyncio.get_running_loop().time(), []
        for entry in entries:
            if entry.ends_at is not None and self._runner is not None:
                ends_at = entry.ends_at + self._runner.blocked_beside(entry.number)
                # A suspect that blocks its process again, alone: there is nothing to wait for.
                is_suspect = entry.group is not None and len(entries) == 1
                if is_suspect and self._runner.is_blocked_by(entry.number, since=ends_at - KILL_AFTER):
                    ends_at -= KILL_AFTER
                if ends_at <= now:
                    late.append(entry)
        return late

    # The runner.

    def _give_up(self, *, expired: bool) -> None:
        """Cause the runner to be replaced."""
        self._is_ready = False
        if self._over is not None and not self._over.done():
            self._over.set_result(expired)

    async def _live(self) -> None:
        """Keep a runner as long as there are tasks, or until it ends."""
        try:
            while self._runner is not None or len(self.lane):
                await self._supervise(self._runner or await self.start())
        except UsageError as error:
            cause = error.__cause__
            outcome = shortage(cause) if is_shortage(cause) else CannotRun(str(error))
            for entry in self.lane.take_all():
                self._end(entry, outcome)
        finally:
            self._life = None

    async def _supervise(self, runner: Runner) -> None:
        """Serve a ready runner until it has ended."""
        self._over = asyncio.get_running_loop().create_future()
        self._is_ready = True
        self.is_slow = False
        receiver = Receiver(runner, self.relay, self._take, partial(self._give_up, expired=False))
        self._go_on()
        try:
            expired = await self._over
        finally:
            receiver.close()

        at_work = self.lane.runner_ended(runner.take_back())
        late = self._late(at_work)
        suspect = next((entry for entry in (late if expired else at_work) if entry.number == runner.in_step), None)
        if expired:
            was_asked = self._is_command or self._launcher.is_async
            await runner.terminate(0.0 if was_asked else KILL_AFTER)
        else:
            await runner.end()
        self.relay.leave()  # what tasks wrote comes before how they ended
        self._runner = None
        end = Failed(f"the process of the function {runner.how_it_ended()}", exit_code=runner.exit_code)
        was_stopped = self._launcher.is_stopping and is_stopped(end)
        if len(at_work) > 1 and (self._launcher.is_async or not expired) and not was_stopped:
            self.lane.run_apart(at_work, suspect)  # no verdict yet: a thread can end or block it in anybody's step
        elif expired:
            self._judge(at_work, late, timed_out(self._timeout or 0.0))
        else:
            self._judge(at_work, [] if self._is_command else at_work, end)
        for entry in self.lane.take_lost():
            self._end(entry, Failed("the processes that were to run it ended, again and again"))

    def _judge(self, at_work: list[Entry], guilty: list[Entry], outcome: Outcome) -> None:
        """End the tasks that ended their runner or were late, and run again those that merely ran beside them."""
        self.lane.run_again([entry for entry in at_work if entry not in guilty])
        for entry in guilty:
            self._end(entry, outcome)
            if self._launcher.is_async:
                self._suspects.add(entry.run.task)
