"""A process of a function, as the worker sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import threading

from rqtool.handlers.callable_wire import CHUNK, Incoming
from rqtool.handlers.processes import signal_name

_LONGEST_WAIT = 2_000_000.0
"""Seconds: 23 days, and poll() can't count many more."""


class NotBegunError(Exception):
    """The process has ended, and the function can't have begun: it begins with a whole task only."""


class Child:
    """A process and our ends of its sockets, one for each of its slots. A socket belongs to whoever took it."""

    def __init__(self, process: subprocess.Popen[bytes], channels: dict[int, socket.socket]) -> None:
        self.process = process
        self.is_async = False
        self.wants_task = False
        self.retired = False
        self.ended_because = ""
        self._channels = channels
        self._lock = threading.Lock()

    def exchange(self, slot: int, *pieces: bytes) -> bytes:
        """Send a frame, return the head of the answer. Raises NotBegunError, EOFError, or an OSError (TimeoutError)."""
        with self._lock:
            if self.retired:
                raise NotBegunError
            channel = self._channels.pop(slot)
        try:
            try:
                for piece in pieces:
                    channel.sendall(piece)
            except (BrokenPipeError, ConnectionResetError) as error:
                raise NotBegunError from error
            incoming = Incoming()
            while (answer := incoming.feed(channel.recv(CHUNK))) is None:
                pass
        except BaseException:
            channel.close()
            raise
        with self._lock:
            if self.retired:
                channel.close()
            else:
                self._channels[slot] = channel
        return answer[0]

    def limit(self, seconds: float) -> None:
        for channel in self._channels.values():
            channel.settimeout(seconds if seconds < _LONGEST_WAIT else None)

    def keep_only(self, slot: int) -> None:
        for other in set(self._channels) - {slot}:
            self._channels.pop(other).close()

    def retire(self) -> None:
        """Begin nothing more; the process ends when what is at work has ended."""
        with self._lock:
            self.retired = True
            while self._channels:
                self._channels.popitem()[1].close()

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
