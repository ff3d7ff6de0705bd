"""Starts and ends the runners of a pool."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from dataclasses import replace

from rqtool.errors import UsageError
from rqtool.run.encoding import Spec
from rqtool.run.runner import Runner

CLOSE_SECONDS = 2.0
"""How long runners may take to end by themselves."""
CUT_SECONDS = 0.2
"""How long they may take when they are told to end at once."""
_LOOK = 0.02


class Runners:
    """Those that do what `spec` says. `is_async` and `wants_task` are what the first one says of its function."""

    def __init__(self, spec: Spec, stdout: int | None) -> None:
        _notice_ends()
        self._spec = spec
        self._stdout = stdout
        self._all: set[Runner] = set()
        self._knows = False
        self._is_closed = False
        self.is_killed = False
        self.is_async = False
        self.wants_task = True

    async def start(self, width: int) -> Runner:
        """Start a runner, and wait until it is ready: there is no limit to that time, but `kill`. Raises UsageError."""
        is_command = self._spec.kind == "command"
        what = "The process that starts commands" if is_command else f"--call {self._spec.what[0]}: its process"
        if self.is_killed or self._is_closed:
            raise UsageError(f"{what} was killed")
        if is_command and shutil.which(self._spec.what[0]) is None:
            raise UsageError(
                f"The command can't be run: {self._spec.what[0]} is not there or not executable", "Correct it"
            )
        try:
            runner = await asyncio.to_thread(Runner.start, replace(self._spec, width=width), self._stdout)
        except (OSError, RuntimeError) as error:  # no thread either
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise UsageError(
                f"{what} can't be started: {reason}",
                "Take fewer --jobs, or allow more open files and processes (ulimit)",
            ) from error
        self._all.add(runner)
        if self.is_killed or self._is_closed:
            runner.cut()
        try:
            hello = await runner.hello()
        except (EOFError, OSError) as error:
            await self.end(runner)
            raise UsageError(f"{what} {runner.how_it_ended()} while it was getting ready") from error
        if "what" in hello:
            await self.end(runner)
            raise UsageError(**hello)
        try:
            self._compare(**hello)
        except UsageError:
            runner.cut()
            await self.end(runner)
            raise
        return runner

    async def end(self, runner: Runner) -> None:
        """See a runner off that ends by itself."""
        if not await self._ends(runner, 1.0):
            runner.kill()
        await self._bury(runner)

    async def terminate(self, runner: Runner, seconds: float) -> None:
        """End a runner, and what it has started: by SIGTERM, and after so many seconds by SIGKILL. 0: at once."""
        if seconds:
            runner.terminate()
        if not (seconds and await self._ends(runner, seconds, group=True)):
            runner.kill(group=True)
        await self._bury(runner)

    def kill(self) -> None:
        """End all at once, and what they run; no further one is started."""
        self.is_killed = True
        for runner in self._all:
            runner.cut()
        asyncio.get_running_loop().call_later(CUT_SECONDS, self._kill_all)

    async def close(self) -> None:
        """Let all end; after CLOSE_SECONDS they are killed."""
        self._is_closed = True
        runners = list(self._all)
        for runner in runners:
            if self.is_killed or not runner.is_ready:
                runner.cut()
            else:
                runner.retire()
        await asyncio.gather(*(self._ends(runner, CLOSE_SECONDS) for runner in runners))
        self._kill_all()

    async def bury_all(self) -> None:
        """Let go of all that are left, when nothing is started or ended any more."""
        await asyncio.gather(*(self.end(runner) for runner in self._all))

    def _compare(self, *, is_async: bool = False, wants_task: bool = True) -> None:
        if self._knows and self.is_async is not is_async:
            was, now = ("was", "no longer is") if self.is_async else ("was not", "now is")
            raise UsageError(f"--call {self._spec.what[0]}: it {was} async and {now}", "Start the worker again")
        self._knows, self.is_async, self.wants_task = True, is_async, wants_task

    async def _bury(self, runner: Runner) -> None:
        await self._ends(runner, CLOSE_SECONDS)
        runner.bury()
        self._all.discard(runner)

    async def _ends(self, runner: Runner, seconds: float, *, group: bool = False) -> bool:
        """Wait for its end. Returns whether it came in time."""
        deadline = time.monotonic() + seconds
        while not runner.has_ended(group=group):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK)
        return True

    def _kill_all(self) -> None:
        for runner in self._all:
            runner.kill()


def _notice_ends() -> None:
    """Have the system tell how our processes end. To be called in the main thread.

    Whoever started us may have had SIGCHLD ignored, which is inherited: exit codes are then forgotten.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
