"""The two lines between a worker and a process of its function.

Tasks travel as datagrams, which the process takes one by one. The worker keeps the process's end of that line open as
well: what the process has not taken can be taken back there, and each datagram is taken by one of the two. Answers come
as a stream, whose end tells of the end of the process.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
import tempfile
from contextlib import ExitStack

from rqtool.handlers.callable_wire import LONGEST_INLINE, pack, unpack

_MOST = LONGEST_INLINE + 1024
_ROOM_FOR_A_FILE = socket.CMSG_SPACE(4)


class Sockets:
    """The worker's ends, and the process's until it has been started."""

    def __init__(self) -> None:
        with ExitStack() as on_failure:
            self.tasks, self.untaken = socket.socketpair(type=socket.SOCK_DGRAM)
            on_failure.enter_context(self.tasks)
            on_failure.enter_context(self.untaken)
            self.answers, self.theirs = socket.socketpair()
            on_failure.pop_all()
        self.tasks.setblocking(False)

    @property
    def numbers(self) -> tuple[int, int]:
        """The process's ends."""
        return self.untaken.fileno(), self.theirs.fileno()

    def close(self) -> None:
        for each in (self.tasks, self.untaken, self.answers, self.theirs):
            each.close()


def give(tasks: socket.socket, number: int, head: bytes, body: bytes) -> bool:
    """Hand a task over. False: no more fits into the line for now. Raises OSError where it can't be handed over."""
    packed = pack(number, head, body)
    try:
        if len(packed) <= LONGEST_INLINE:
            try:
                tasks.send(packed)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # macOS takes less than Linux
                    raise
            else:
                return True
        with tempfile.TemporaryFile() as file:
            file.write(packed)
            file.flush()  # all of it, or an error: on a full disk the system writes what fits
            socket.send_fds(tasks, [pack(number, b"")], [file.fileno()])
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.ENOBUFS):  # Linux, macOS
            return False
        raise
    return True


class Taken:
    """A task that was taken out of the line. To be read or dropped."""

    def __init__(self, packed: bytes, descriptor: int | None, *, cut: bool) -> None:
        self.number, self._head, self._body = unpack(packed)
        self._descriptor = descriptor
        self._cut = cut

    def read(self) -> tuple[bytes, bytes]:
        """Return head and body. Raises OSError."""
        if self._cut:  # the system hands no file to a process that has as many as it may
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if self._descriptor is None:
            return self._head, self._body
        with open(self._descriptor, "rb") as file:
            file.seek(0)
            _, head, body = unpack(file.read())
        return head, body

    def drop(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)


def take(untaken: socket.socket) -> Taken | None:
    """Take the next task; None where none is there."""
    try:
        # Not recv_fds: it forgets the flags (CPython before 3.13).
        data, about, flags, _ = untaken.recvmsg(_MOST, _ROOM_FOR_A_FILE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    descriptor = int.from_bytes(about[0][2], sys.byteorder) if about else None
    return Taken(data, descriptor, cut=bool(flags & socket.MSG_CTRUNC))
