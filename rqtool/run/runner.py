"""A runner process, as the worker sees it: starts it, gives it tasks, gets its answers and ends it.

Tasks go there as datagrams and can be taken back. Answers are a stream, which ends when the runner ends. The lifeline
is a pipe: end of file means that the worker is gone, a byte that the runner should end at once. In both cases the
runner ends its tasks and itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection
from contextlib import ExitStack, suppress
from dataclasses import asdict
from mmap import mmap
from pathlib import Path
from typing import Any

import rqtool
from rqtool.run.channel import file_with, give, take
from rqtool.run.encoding import STEP, Answers, Spec, pack_values, unpack_values
from rqtool.run.outcome import signal_name
from rqtool.run.process_group import groups_of, signal_groups

CLOSE_SECONDS = 2.0
"""How long a runner may take to end by itself."""
_LOOK = 0.02
_CHUNK = 65_536
_START = """\
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("rqtool", [sys.argv.pop(1)])
sys.modules["rqtool"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from rqtool.run.child.process import main
main()
"""
"""Imports the same rqtool that runs here, however it was found, and leaves other imports alone."""


class Runner:
    """A process that runs tasks, in a session of its own, so that neither the terminal's keys nor its job control reach
    it or its commands.

    In memory that it shares with us it records the process groups of its commands, so that we can kill what it leaves
    behind, or which task of an async function is in a step, so that we know which one blocks or ended it.
    """

    def __init__(self, spec: Spec, stdout: int | None) -> None:
        """Start it. Raises OSError."""
        self._answers = Answers()
        with ExitStack() as on_failure, ExitStack() as theirs:
            self._tasks, self._untaken = map(on_failure.enter_context, socket.socketpair(type=socket.SOCK_DGRAM))
            self._socket, answers = socket.socketpair()
            self.outputs, outputs = socket.socketpair(type=socket.SOCK_DGRAM)
            for end in (self._socket, self.outputs):
                on_failure.enter_context(end)
                end.setblocking(False)
            theirs.enter_context(answers)
            theirs.enter_context(outputs)
            lifeline, ours = os.pipe()
            theirs.callback(os.close, lifeline)
            self._lifeline = on_failure.enter_context(open(ours, "wb", buffering=0))
            self._is_command = spec.kind == "command"
            shared = file_with(bytes(spec.shared_size))
            theirs.callback(os.close, shared)
            self._shared = mmap(shared, 0)
            self._tasks.setblocking(False)
            give(self._tasks, 0, pack_values(**asdict(spec)), b"")
            numbers = (self._untaken.fileno(), answers.fileno(), outputs.fileno(), lifeline, shared)
            self._process = _popen(spec, stdout, numbers)
            on_failure.pop_all()

    @property
    def in_step(self) -> int:
        """The number of the task of an async function that is in a step, or was when it ended; 0: none."""
        return int(self._step[0])

    def blocked_beside(self, number: int) -> float:
        """Seconds for which steps of other tasks have blocked the process of an async function."""
        in_step, since, blocked = self._step
        return blocked + (time.monotonic() - since if in_step not in (0, number) else 0.0)

    def is_blocked_by(self, number: int, since: float) -> bool:
        """Whether a task of an async function has been in the same step since then."""
        in_step, began, _ = self._step
        return in_step == number and began <= since

    @property
    def _step(self) -> tuple[float, float, float]:
        none = self._is_command or self._shared.closed
        return (0.0, 0.0, 0.0) if none else STEP.unpack_from(self._shared)

    async def hello(self) -> dict[str, Any]:
        """Wait until it is ready, and return what it reports about itself. Raises EOFError or OSError.

        Not in a thread: a module can take forever to import, and there are not many threads.
        """
        loop = asyncio.get_running_loop()
        while not (said := self._complete(await loop.sock_recv(self._socket, _CHUNK))):
            pass
        return unpack_values(said[0][1])

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        return self._socket.fileno()

    def give(self, number: int, head: bytes, body: bytes) -> bool:
        """Hand a task over. Returns False if the socket is full for now. Raises OSError."""
        return give(self._tasks, number, head, body)

    def take_back(self) -> set[int]:
        """Take back the tasks that the runner has not taken. Returns their numbers."""
        numbers = set()
        while (taken := take(self._untaken)) is not None:
            numbers.add(taken.number)
            taken.drop()
        return numbers

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the numbers and heads of the answers that are there. Raises EOFError when the runner has ended."""
        return self._complete(self._socket.recv(_CHUNK))

    def _complete(self, piece: bytes) -> list[tuple[int, bytes]]:
        if not piece:
            raise EOFError
        return self._answers.feed(piece)

    def retire(self) -> None:
        """Make it end when its current tasks are done. Nothing more can be received."""
        for each in (self._tasks, self._untaken, self._socket):
            each.close()

    def cut(self) -> None:
        """Make it end at once, with its tasks."""
        with suppress(BrokenPipeError, ValueError):  # it has ended, and been closed
            self._lifeline.write(b"x")

    async def end(self, seconds: float = 1.0) -> None:
        """Wait so long for it to exit, then kill it; and close all that belongs to it."""
        if not await self._ends(seconds):
            self.kill()
        await self._close()

    async def terminate(self, seconds: float) -> None:
        """End it, and all that it has started: by SIGTERM, and after so many seconds by SIGKILL. 0: at once."""
        groups = groups_of([self._process.pid])[self._process.pid]
        signal_groups(groups, signal.SIGTERM)
        if not await self._ends(seconds, groups):
            signal_groups(groups, signal.SIGKILL)  # even if it has ended: the group keeps the number taken
        await self._close()

    def kill(self) -> None:
        if self._process.returncode is None:
            signal_groups(groups_of([self._process.pid])[self._process.pid], signal.SIGKILL)
        self._kill_commands()

    def how_it_ended(self) -> str:
        code = self.exit_code
        if code is None:
            return "does not end"
        return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode

    async def _ends(self, seconds: float, groups: Collection[int] = ()) -> bool:
        """Wait for the end of the process, and of these groups. Returns whether it came in time."""
        deadline = time.monotonic() + seconds
        while self._process.poll() is None or signal_groups(groups, 0):
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(_LOOK)
        return True

    async def _close(self) -> None:
        await self._ends(CLOSE_SECONDS)
        self._kill_commands()
        self._shared.close()
        await asyncio.sleep(0)  # the code that waits for its `hello` sees the end before the socket is closed
        self.retire()
        self._lifeline.close()

    def _kill_commands(self) -> None:
        if self._is_command and not self._shared.closed:
            pids = [pid for pid in memoryview(self._shared[:]).cast("i") if pid]
            signal_groups(set[int]().union(*groups_of(pids).values()), signal.SIGKILL)


def _popen(spec: Spec, stdout: int | None, numbers: tuple[int, ...]) -> subprocess.Popen[bytes]:
    if spec.kind == "command":  # it needs nothing that is installed, and starts in half the time
        flags = ["-I", "-S"]
    else:
        flags = ["-P", *["-E"] * sys.flags.ignore_environment, *["-s"] * sys.flags.no_user_site]
    root = str(Path(rqtool.__file__).parents[1])
    return subprocess.Popen(
        [sys.executable, *flags, "-c", _START, root, *map(str, numbers)],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        pass_fds=numbers,
        start_new_session=True,  # no terminal: a task that asks or writes there would hang
    )
