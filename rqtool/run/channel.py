"""Carries tasks from a worker to a runner, and their output back to the worker, as datagrams.

The runner takes tasks one by one. The worker keeps the runner's end of that socket open too, to take back the tasks
that the runner has not taken. Only the worker writes to our stdout and stderr; the output of tasks reaches it as whole
lines, or as a whole at the end.
"""

from __future__ import annotations

import errno
import io
import os
import socket
from dataclasses import dataclass

from rqtool.output import Content
from rqtool.run.encoding import pack, unpack

LONGEST_INLINE = 16_384
"""Bytes of a datagram; a longer task travels as two files, its body and its head."""
_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS)
"""Linux, macOS."""
_TWO_FILES = socket.CMSG_SPACE(2 * 4)
_LONGEST_OUTPUT = 212_992
"""Bytes of a datagram, the most that Linux takes by default. Longer output goes as a file."""
_BUFFER = memoryview(bytearray(_LONGEST_OUTPUT))
_RECEIVE_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def file_with(content: bytes) -> int:
    """Return the descriptor of a file to be read from its start, in memory if possible. Raises OSError."""
    descriptor = _new_file()
    try:
        written = os.pwrite(descriptor, content, 0)
        while written < len(content):
            written += os.pwrite(descriptor, memoryview(content)[written:], written)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _new_file() -> int:
    try:
        return os.memfd_create("task")
    except (AttributeError, PermissionError):  # macOS; a service without the right (SystemCallFilter=~memfd_create)
        import tempfile

        with tempfile.TemporaryFile() as file:
            return os.dup(file.fileno())


def give(tasks: socket.socket, number: int, head: bytes, body: bytes) -> bool:
    """Hand a task over. Returns False if the socket is full for now. Raises OSError."""
    files: list[int] = []
    try:
        if len(head) + len(body) <= LONGEST_INLINE:
            try:
                tasks.send(pack(number, head, body))
                return True
            except OSError as error:
                if error.errno != errno.EMSGSIZE:  # macOS takes less than Linux
                    raise
        files.extend(file_with(content) for content in (body, head))
        socket.send_fds(tasks, [pack(number, b"")], files)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return False
        raise
    finally:
        for file in files:
            os.close(file)
    return True


@dataclass(slots=True)
class Taken:
    """A task that was taken out of the socket.

    `file`: the descriptor of a long body, at its start; the taker closes it. `is_cut`: the files did not arrive,
    because the process has no descriptors left.
    """

    number: int
    head: bytes
    body: bytes
    file: int | None = None
    is_cut: bool = False

    def read(self) -> bytes:
        """Return the body. Raises OSError."""
        self.check()
        if self.file is None:
            return self.body
        file, self.file = self.file, None
        with open(file, "rb") as content:
            return content.read()

    def start(self, size: int) -> bytes:
        """Return the first bytes of the body. Raises OSError."""
        return self.body[:size] if self.file is None else os.pread(self.file, size, 0)

    def check(self) -> None:
        """Raises OSError for a task that arrived without its files."""
        if self.is_cut:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def drop(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


def take(untaken: socket.socket) -> Taken | None:
    """Take the next task; None if there is none. Raises OSError."""
    try:
        # Not recv_fds: it forgets the flags (CPython before 3.13).
        frame, ancillary, flags, _ = untaken.recvmsg(LONGEST_INLINE + 1024, _TWO_FILES, _RECEIVE_FLAGS)
    except BlockingIOError:
        return None
    taken = Taken(*unpack(frame))
    files = list(memoryview(ancillary[0][2]).cast("i")) if ancillary else []
    if flags & socket.MSG_CTRUNC:
        taken.is_cut = True
        for file in files:
            os.close(file)
    elif files:
        taken.file, head = files
        with open(head, "rb") as content:
            taken.head = content.read()
    return taken


def send_output(outputs: socket.socket, stream: int, content: Content) -> None:
    """Send what a task wrote to its stdout (1) or stderr (2). Raises OSError, BlockingIOError among them."""
    if isinstance(content, bytes):
        if len(content) < _LONGEST_OUTPUT - 1024:
            try:
                outputs.send(pack(stream, b"", content))
                return
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
        with open(file_with(content), "rb", buffering=0) as file:
            socket.send_fds(outputs, [pack(stream, b"")], [file.fileno()])
    else:
        socket.send_fds(outputs, [pack(stream, b"")], [content.fileno()])
        content.close()


def receive_output(outputs: socket.socket) -> tuple[int, Content] | None:
    """Return the next stream and content, at the worker's end; None if nothing is there. Raises OSError."""
    try:
        # Not recv_fds: it forgets the flags (CPython before 3.13). Not recvmsg: it would make room for the longest.
        size, ancillary, flags, _ = outputs.recvmsg_into([_BUFFER], socket.CMSG_SPACE(4), _RECEIVE_FLAGS)
    except BlockingIOError:
        return None
    if flags & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    stream, _, data = unpack(bytes(_BUFFER[:size]))
    for [file] in (memoryview(each[2]).cast("i") for each in ancillary):
        return stream, io.FileIO(file)
    return stream, data
