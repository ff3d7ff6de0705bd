"""Runs tasks in runner processes: a command, or a Python function, for each.

In another process, a task can hold the interpreter, block or crash without costing the worker its heartbeats or its
life. Short tasks are handed over in advance, since the round trip takes longer than they do; the pool takes them back
when the task before them turns out to be slow, and when the worker should stop.
"""

from __future__ import annotations

import asyncio
import signal

from rqtool.run.encoding import Spec
from rqtool.run.lane import Lane, Pace, Run
from rqtool.run.launcher import Launcher
from rqtool.run.processors import processors
from rqtool.run.relay import WorkOutput
from rqtool.run.supervisor import SLOW, Supervisor


class Pool:
    """Runs `jobs` tasks at once. A function has a runner per job, an async one has one for all; commands have as many
    as there are processors, each for its share of the jobs. The output of tasks goes to `output`, unless the spec says
    "direct". `together`: what happens to short tasks may be reported for several at once, some milliseconds later.
    """

    def __init__(
        self,
        spec: Spec,
        jobs: int,
        *,
        stdout: int | None = None,
        output: WorkOutput | None = None,
        together: bool = False,
    ) -> None:
        self.spec = spec
        self._output = output
        self._together = together
        self.jobs = jobs
        self._launcher = Launcher(spec, stdout)
        self._pace = Pace()
        self._supervisors: list[Supervisor] = []
        self._watch: asyncio.TimerHandle | None = None
        self._first = 0
        # SIG_IGN is inherited, and has the system forget exit codes.
        if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)

    @property
    def capacity(self) -> int:
        """How many tasks it can use now: those at work, and short ones in advance."""
        ahead = self._pace.depth - 1
        return self.jobs + ahead * sum(not each.is_slow for each in self._supervisors) if ahead else self.jobs

    async def open(self) -> None:
        """Get ready: import the function, however long that takes. Raises UsageError if no task could be run."""
        number = min(self.jobs, processors()) if self.spec.kind == "command" else 1
        widths = [self.jobs // number + (n < self.jobs % number) for n in range(number)]
        self._supervisors = [self._supervisor(width) for width in widths]
        await asyncio.gather(*(each.start() for each in self._supervisors))
        for each in self._supervisors:
            each.supervise()
        if self.spec.kind == "function" and not self._launcher.is_async:
            self._supervisors[0].lane = Lane(1)
            self._supervisors += [self._supervisor(1) for _ in range(1, self.jobs)]

    def _supervisor(self, width: int) -> Supervisor:
        return Supervisor(self._launcher, self._pace, width, self._output, together=self._together)

    def begin(self, run: Run) -> None:
        """Accept a task. It begins at once if fewer tasks are here than there are jobs."""
        best = min(self._supervisors, key=lambda each: (each.is_slow, len(each.lane) - each.lane.width))
        best.begin(run)
        if self._watch is None and best.lane.is_ahead:
            self._watch = asyncio.get_running_loop().call_later(SLOW, self._look)

    def withdraw(self) -> None:
        """Return the tasks that have not begun."""
        for each in self._supervisors:
            each.withdraw()

    def stop(self) -> None:
        """The worker stops: tasks whose process a signal ends too go back, and do not run again here."""
        self._launcher.is_stopping = True

    def output_changed(self) -> None:
        """The output has room again, or can't be written any more. A task that writes without end fills it at once, so
        ended tasks are reported first, and a caller that waits for room gets a turn. Then each runner is the first one
        at some time.
        """
        for each in self._supervisors:
            each.relay.report()
        asyncio.get_running_loop().call_soon(self._hand_on)

    def _hand_on(self) -> None:
        self._first += 1
        at = self._first % max(len(self._supervisors), 1)
        for each in self._supervisors[at:] + self._supervisors[:at]:
            each.relay.go_on()

    def kill(self) -> None:
        """End all that runs, and all that would begin."""
        self._launcher.is_killed = True
        for each in self._supervisors:
            each.kill()

    async def close(self) -> None:
        """Let the runners end."""
        self._launcher.is_closed = True
        if self._watch is not None:
            self._watch.cancel()
        await asyncio.gather(*(each.close() for each in self._supervisors))

    def _look(self) -> None:
        """Take back the tasks that wait behind a slow one."""
        for each in self._supervisors:
            each.give_way()
        self._watch = None
        if any(each.lane.is_ahead for each in self._supervisors):
            self._watch = asyncio.get_running_loop().call_later(SLOW, self._look)
