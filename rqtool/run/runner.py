"""A runner process, as the worker sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from mmap import mmap
from pathlib import Path
from typing import Any

import rqtool
from rqtool.run.channel import CHUNK, Lines, give, take
from rqtool.run.encoding import Answers, Spec, pack_spec, unpack_json
from rqtool.run.signals import signal_name
from rqtool.run.spawn import file_with

_START = """\
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("rqtool", [sys.argv.pop(1)])
sys.modules["rqtool"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from rqtool.run.child import main
main()
"""
"""Takes the very rqtool that runs here, however that was found, without changing where anything else is found."""
_SLOT = 4
"""Bytes of a process group's number, in the memory that a runner of commands shares with its worker."""


class Runner:
    """A process that runs tasks, in a process group of its own; `groups` are those of the commands that it runs."""

    def __init__(self, process: subprocess.Popen[bytes], lines: Lines, groups: mmap) -> None:
        self.process = process
        self._lines = lines
        self._groups = groups
        self._answers = Answers()
        self.is_ready = False

    @classmethod
    def start(cls, spec: Spec, stdout: int | None) -> Runner:
        """Start one. Raises OSError."""
        lines = Lines()
        try:
            shared = file_with(bytes(spec.width * _SLOT))
            try:
                groups = mmap(shared, spec.width * _SLOT)
                process = cls._popen(spec, stdout, (*lines.theirs, shared))
            finally:
                os.close(shared)
        except BaseException:
            lines.close()
            raise
        lines.started()
        runner = cls(process, lines, groups)
        try:
            give(lines.tasks, 0, pack_spec(spec), b"")
        except OSError:
            runner.kill()
            runner.bury()
            raise
        return runner

    @staticmethod
    def _popen(spec: Spec, stdout: int | None, numbers: tuple[int, ...]) -> subprocess.Popen[bytes]:
        if spec.kind == "command":  # nothing that is installed is needed, nor wanted: it starts in half the time
            flags = ["-I", "-S"]
        else:
            flags = ["-P", *["-E"] * sys.flags.ignore_environment, *["-s"] * sys.flags.no_user_site]
        root = str(Path(rqtool.__file__).parents[1])
        return subprocess.Popen(
            [sys.executable, *flags, "-c", _START, root, *map(str, numbers)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            pass_fds=numbers,
            process_group=0,
        )

    async def hello(self) -> dict[str, Any]:
        """Wait until it is ready, and return what it says of itself. Raises EOFError, or an OSError.

        Not in a thread: a module can take for ever to import, and there are not many threads.
        """
        loop = asyncio.get_running_loop()
        while not (said := self._understood(await loop.sock_recv(self._lines.answers, CHUNK))):
            pass
        self.is_ready = True
        return unpack_json(said[0][1])

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        return self._lines.answers.fileno()

    def give(self, number: int, head: bytes, body: bytes) -> bool:
        """Hand a task over. False: no more fits into the line for now. Raises OSError where it can't be handed over."""
        return give(self._lines.tasks, number, head, body)

    def take_back(self) -> set[int]:
        """Return the numbers of the tasks that the runner has not taken; it doesn't get them any more."""
        numbers = set()
        while (taken := take(self._lines.untaken)) is not None:
            numbers.add(taken.number)
            taken.drop()
        return numbers

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the numbers and heads of the answers that are there. Raises EOFError when the runner has ended."""
        return self._understood(self._lines.answers.recv(CHUNK))

    def _understood(self, piece: bytes) -> list[tuple[int, bytes]]:
        if not piece:
            raise EOFError
        return self._answers.feed(piece)

    def retire(self) -> None:
        """Have it end when what it has taken is over. Nothing more can be received."""
        self._lines.close_answers()

    def cut(self) -> None:
        """Have it end at once, and end what it runs."""
        self._lines.cut()

    def terminate(self) -> None:
        """Ask the process and all that it has started to end."""
        self._signal_group(self.process.pid, signal.SIGTERM)

    def kill(self, *, group: bool = False) -> None:
        """End it, and what it runs, whatever state it is in; with `group` also what is left where it has ended itself:
        nobody else has that number as long as somebody is.
        """
        if group or self.process.returncode is None:
            self._signal_group(self.process.pid, signal.SIGKILL)
        self._kill_commands()

    def has_ended(self, *, group: bool = False) -> bool:
        """Whether the process has ended; with `group` also whatever it has started in its own group."""
        if self.process.poll() is None:
            return False
        return not (group and self._signal_group(self.process.pid, 0))

    def bury(self) -> None:
        """Let go of a process that has ended, or was killed; and end the commands that it has left."""
        self.process.poll()
        self._kill_commands()
        self._lines.close()

    def how_it_ended(self) -> str:
        code = self.process.returncode
        if code is None:
            return "does not end"
        return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"

    def _kill_commands(self) -> None:
        for start in range(0, len(self._groups), _SLOT):
            group = int.from_bytes(self._groups[start : start + _SLOT], sys.byteorder)
            if group:
                self._signal_group(group, signal.SIGKILL)

    @staticmethod
    def _signal_group(group: int, number: int) -> bool:
        """Signal a process group. False: nobody is left in it."""
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
            return False
        return True
