"""How what tasks write travels from their runner to the worker, which alone writes to our stdout and stderr.

It goes as datagrams, and what is long as a file: whole lines, or a whole task, are one piece for the worker.
"""

from __future__ import annotations

import errno
import io
import os
import socket

from rqtool.output import Content
from rqtool.run.channel import RECEIVE_FLAGS, file_with
from rqtool.run.encoding import pack, unpack

_LONGEST = 212_992
"""Bytes of a datagram; Linux takes no more, unless it was told to. What is longer goes as a file."""
_BUFFER = memoryview(bytearray(_LONGEST))


def send(outputs: socket.socket, stream: int, content: Content) -> None:
    """Send what a task wrote to its stdout (1) or stderr (2). Raises OSError, BlockingIOError among them."""
    if isinstance(content, bytes):
        if len(content) < _LONGEST - 1024:
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


def receive(outputs: socket.socket) -> tuple[int, Content] | None:
    """Return the next stream and content, at the worker's end; None if nothing is there. Raises OSError."""
    try:
        # Not recv_fds: it forgets the flags (CPython before 3.13). Not recvmsg: it would make room for the longest.
        size, ancillary, flags, _ = outputs.recvmsg_into([_BUFFER], socket.CMSG_SPACE(4), RECEIVE_FLAGS)
    except BlockingIOError:
        return None
    if flags & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    stream, _, data = unpack(bytes(_BUFFER[:size]))
    for [file] in (memoryview(each[2]).cast("i") for each in ancillary):
        return stream, io.FileIO(file)
    return stream, data
