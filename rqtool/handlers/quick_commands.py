"""Starts commands, and sees off on the event loop those that end at once and say nothing; the others get a thread each.

The hand-over to a thread and back takes as long as a quarter of the life of a `cat`. For the same reason the next
command is started first of all when one is done: its task is here already.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import deque
from dataclasses import dataclass

from rqtool.handlers.commands import Command
from rqtool.handlers.handler import Run
from rqtool.handlers.processes import Group
from rqtool.handlers.threads import Threads, answer_of
from rqtool.outcomes import Done, Failed, Outcome

QUICK = 0.02
"""Seconds after which a thread costs a command little of its time; and that what it says may be late."""


@dataclass(slots=True, eq=False)
class _Quick:
    """A command that the event loop watches."""

    run: Run
    group: Group
    descriptor: int
    """Readable when the command has ended."""
    timer: asyncio.TimerHandle | None = None


class QuickCommands(Threads):
    """A handler that runs a command for `jobs` tasks at once."""

    def __init__(self, command: Command, jobs: int) -> None:
        super().__init__(command, jobs)
        self.capacity = 2 * jobs
        self._command = command
        self._free = jobs
        self._waiting: deque[Run] = deque()
        self._watched: set[_Quick] = set()

    def begin(self, run: Run) -> None:
        if not self._free:
            self._waiting.append(run)
        else:
            self._free -= 1
            run.begun()  # before it can print anything
            self._watch_over(run, answer_of(self._command.start, run.task))

    def withdraw(self) -> None:
        while self._waiting:
            self._waiting.pop().returned()

    async def close(self) -> None:
        for quick in list(self._watched):
            self._unwatch(quick)
        await super().close()

    def _start_next(self) -> tuple[Run, Group | Outcome] | None:
        """Start the command of the next task, in the place of one that has ended."""
        if not self._waiting:
            self._free += 1
            return None
        run = self._waiting.popleft()
        return run, answer_of(self._command.start, run.task)

    def _follow(self, started: tuple[Run, Group | Outcome] | None) -> None:
        """Tell that it has begun."""
        if started is None:
            return
        run, group = started
        run.begun()
        self._watch_over(run, group)

    def _watch_over(self, run: Run, group: Group | Outcome) -> None:
        if not isinstance(group, Group):
            asyncio.get_running_loop().call_soon(self.ended, run, group)
        elif (descriptor := group.descriptor()) is None:
            self._wait_in_thread(run, group)
        else:
            self._watch(_Quick(run, group, descriptor))

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Go on with the next task: first of all where this one is done, else when it is known what becomes of it."""
        if isinstance(outcome, Done):
            started = self._start_next()
            run.ended(outcome)
        else:
            run.ended(outcome)
            started = self._start_next()
        self._follow(started)

    # On the event loop.

    def _watch(self, quick: _Quick) -> None:
        loop = asyncio.get_running_loop()
        self._watched.add(quick)
        loop.add_reader(quick.descriptor, self._has_ended, quick)
        quick.timer = loop.call_later(QUICK, self._hand_over, quick)

    def _unwatch(self, quick: _Quick) -> None:
        self._watched.discard(quick)
        asyncio.get_running_loop().remove_reader(quick.descriptor)
        os.close(quick.descriptor)
        if quick.timer is not None:
            quick.timer.cancel()

    def _has_ended(self, quick: _Quick) -> None:
        if not quick.group.is_silent():
            self._hand_over(quick)
            return
        self._unwatch(quick)
        self.ended(quick.run, answer_of(self._command.finish, quick.group))

    def _hand_over(self, quick: _Quick) -> None:
        self._unwatch(quick)
        self._wait_in_thread(quick.run, quick.group)

    def _wait_in_thread(self, run: Run, group: Group) -> None:
        try:
            self.submit(run, self._command.finish, group)
        except RuntimeError as error:  # the system has no thread for us
            group.signal(signal.SIGKILL)
            self._command.finish(group)
            asyncio.get_running_loop().call_soon(self.ended, run, Failed(str(error)))
