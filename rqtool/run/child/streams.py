"""The pipes from stdout and stderr of commands, which are read while there is room for their output."""

from __future__ import annotations

import fcntl
import os
import select
import struct
import termios
from contextlib import suppress
from typing import Generic, TypeVar

from rqtool.output import Output
from rqtool.run.child.outlet import Outlet

Owner = TypeVar("Owner")


class Stream:
    """Our end of a pipe from stdout (1) or stderr (2) of a command."""

    __slots__ = ("descriptor", "due", "is_open", "number")

    def __init__(self, number: int, descriptor: int) -> None:
        self.number = number
        self.descriptor = descriptor
        self.is_open = True
        self.due: int | None = None
        """Bytes that an ended command left in the pipe; any later ones are not its own. None: it is still running."""

    def measure(self) -> None:
        """Find out how many bytes are in it, now that the command has ended."""
        if self.due is None:
            size = fcntl.ioctl(self.descriptor, termios.FIONREAD, bytes(4)) if self.is_open else bytes(4)
            (self.due,) = struct.unpack("i", size)

    def read(self) -> bytes:
        """Return what comes next, and nothing at the end."""
        data = os.read(self.descriptor, 65536)
        if self.due is not None:
            self.due = max(self.due - len(data), 0)
        return data

    def close(self) -> None:
        self.due, self.is_open = 0, False
        os.close(self.descriptor)


class Streams(Generic[Owner]):
    """Registers streams with `poll`, each with its owner, unless their destination `out` has no room."""

    def __init__(self, poll: select.poll, out: Output | Outlet) -> None:
        self._poll = poll
        self._out = out
        self._all: dict[int, tuple[Owner, Stream]] = {}
        self.are_read = True

    @property
    def have_room(self) -> bool:
        return not self._out.is_waiting

    def add(self, owner: Owner, stream: Stream) -> None:
        self._all[stream.descriptor] = owner, stream
        self._poll.register(stream.descriptor, select.POLLIN)

    def get(self, descriptor: int) -> tuple[Owner, Stream] | None:
        return self._all.get(descriptor)

    def close(self, stream: Stream) -> None:
        if self.are_read:
            self._poll.unregister(stream.descriptor)
        del self._all[stream.descriptor]
        stream.close()

    def go_on(self) -> None:
        """Write the buffered output, and read no more until all of it is written."""
        with suppress(OSError):
            self._out.flush()
        if self.have_room is self.are_read:
            return
        self.are_read = self.have_room
        for descriptor in self._all:
            if self.are_read:
                self._poll.register(descriptor, select.POLLIN)
            else:
                self._poll.unregister(descriptor)
        if self.are_read:
            self._poll.unregister(self._out)
        else:
            self._poll.register(self._out, select.POLLOUT)
