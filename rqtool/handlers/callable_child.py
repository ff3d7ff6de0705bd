"""A process of a function, as the worker sees it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from rqtool.handlers.callable_sockets import Sockets, give, take
from rqtool.handlers.callable_wire import CHUNK, Answers
from rqtool.handlers.processes import signal_name


class Child:
    """A process and the lines to it. What has to do with the lines belongs to the thread that has it."""

    def __init__(self, process: subprocess.Popen[bytes], sockets: Sockets) -> None:
        self.process = process
        self.is_async = False
        self.wants_task = False
        self.is_ready = False
        self._sockets = sockets
        self._answers = Answers()
        sockets.theirs.close()

    def hello(self) -> dict[str, Any]:
        """Wait for what it says first. Raises EOFError, or an OSError."""
        while not (said := self.receive()):
            pass
        self._sockets.answers.setblocking(False)
        answer: dict[str, Any] = json.loads(said[0][1])
        return answer

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        return self._sockets.answers.fileno()

    def give(self, number: int, head: bytes, body: bytes) -> bool:
        """Hand a task over. False: no more fits into the line for now. Raises OSError where it can't be handed over."""
        return give(self._sockets.tasks, number, head, body)

    def take_back(self) -> list[int]:
        """Return the numbers of the tasks that the process has not taken, in order; it doesn't get them any more."""
        numbers = []
        while (taken := take(self._sockets.untaken)) is not None:
            numbers.append(taken.number)
            taken.drop()
        return numbers

    def receive(self) -> list[tuple[int, bytes]]:
        """Return the numbers and heads of the answers that are there. Raises EOFError when the process has ended."""
        piece = self._sockets.answers.recv(CHUNK)
        if not piece:
            raise EOFError
        return self._answers.feed(piece)

    def retire(self) -> None:
        """Have it end when what it has taken is over. To be called when nothing more is to be received."""
        self._sockets.close()

    def ended(self) -> bool:
        """Whether the process has ended. Its number stays its own, where the system lets us look without reaping."""
        if self.process.returncode is None and hasattr(os, "waitid"):
            try:
                return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
            except ChildProcessError:  # reaped, and about to be known as such
                return True
        return self.process.poll() is not None

    def signal(self, number: int) -> bool:
        """Send a signal to the process and all that it has started. False: nobody is left of them."""
        try:
            os.killpg(self.process.pid, number)
        except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
            return False
        return True

    def how_it_ended(self) -> str:
        code = self.process.returncode
        return f"ended with exit code {code}" if code >= 0 else f"was killed by {signal_name(-code)}"
