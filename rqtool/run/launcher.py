"""Starts runners that do what a spec says, and checks that they can."""

from __future__ import annotations

import shutil
from dataclasses import replace

from rqtool.errors import UsageError
from rqtool.run.encoding import Spec
from rqtool.run.program import why_not
from rqtool.run.runner import Runner


class Launcher:
    """`is_async` and `wants_task`: what the first runner reports about its function; None: nothing yet."""

    def __init__(self, spec: Spec, stdout: int | None) -> None:
        self.spec = spec
        self.is_stopping = self.is_killed = False
        self.is_closed = False
        self.is_async: bool | None = None
        self.wants_task = True
        self._stdout = stdout
        is_command = spec.kind == "command"
        self._what = "The process that starts commands" if is_command else f"--call {spec.what[0]}: its process"

    def launch(self, width: int) -> Runner:
        """Start a runner for `width` tasks at once. Raises UsageError."""
        if self.is_killed or self.is_closed:
            raise UsageError(f"{self._what} was killed")
        program = self.spec.what[0]
        if self.spec.kind == "command" and shutil.which(program) is None:
            raise UsageError(f"The command can't be run: {why_not(program)}", "Correct it")
        try:
            return Runner(replace(self.spec, width=width), self._stdout)
        except OSError as error:
            raise UsageError(
                f"{self._what} can't be started: {(error.strerror or str(error)).lower()}",
                "Take fewer --jobs, or allow more open files and processes (ulimit)",
            ) from error

    async def greet(self, runner: Runner) -> None:
        """Wait until a runner is ready. Raises UsageError, and ends it, if it can't work as the first one did."""
        try:
            self._learn(**await runner.hello())
        except (EOFError, OSError) as error:
            await runner.end()
            raise UsageError(f"{self._what} {runner.how_it_ended()} while it was getting ready") from error
        except UsageError:
            runner.cut()
            await runner.end()
            raise

    def _learn(self, *, what: str = "", what_to_do: str = "", is_async: bool = False, wants_task: bool = True) -> None:
        if what:
            raise UsageError(what, what_to_do)
        if self.is_async not in (None, is_async):
            was, now = ("was", "no longer is") if self.is_async else ("was not", "now is")
            raise UsageError(f"--call {self.spec.what[0]}: it {was} async and {now}", "Start the worker again")
        self.is_async, self.wants_task = is_async, wants_task
