"""The lines between a worker and a runner.

Tasks travel as datagrams, which the runner takes one by one. The worker keeps the runner's end of that line open as
well: what the runner has not taken can be taken back there, and each datagram is taken by one of the two. Answers come
as a stream, whose end tells of the end of the runner. On the lifeline nothing comes but its end, or a byte: with the
worker, or as it wishes, the runner ends at once, and what it runs with it.
"""

from __future__ import annotations

import errno
import os
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from rqtool.run.encoding import pack, unpack
from rqtool.run.spawn import file_with

LONGEST_INLINE = 16_384
"""Bytes of a datagram; a longer head, and a longer body, travel as files of their own."""
CHUNK = 65_536
_NO_ROOM = (errno.EAGAIN, errno.ENOBUFS)
"""Linux, macOS."""
_TWO_FILES = socket.CMSG_SPACE(2 * 4)
_FLAGS = socket.MSG_DONTWAIT | getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_INLINE, _BODY_AS_FILE, _BOTH_AS_FILES = b"i", b"b", b"f"


class Lines:
    """The worker's ends, and the runner's until it has been started."""

    def __init__(self) -> None:
        with ExitStack() as on_failure:
            self.tasks, self.untaken = socket.socketpair(type=socket.SOCK_DGRAM)
            on_failure.enter_context(self.tasks)
            on_failure.enter_context(self.untaken)
            self.answers, self.their_answers = socket.socketpair()
            on_failure.enter_context(self.answers)
            on_failure.enter_context(self.their_answers)
            self.their_lifeline, self.lifeline = os.pipe()
            on_failure.pop_all()
        self.tasks.setblocking(False)
        self.answers.setblocking(False)
        self._started = False
        self._alive = True

    @property
    def theirs(self) -> tuple[int, int, int]:
        """The runner's ends: tasks, answers, lifeline."""
        return self.untaken.fileno(), self.their_answers.fileno(), self.their_lifeline

    def started(self) -> None:
        """The runner has its ends."""
        self._started = True
        self.their_answers.close()
        os.close(self.their_lifeline)

    def cut(self) -> None:
        """Let the runner end at once."""
        if self._alive:
            with suppress(BrokenPipeError):
                os.write(self.lifeline, b"x")

    def close_answers(self) -> None:
        """Let the runner end when what it has taken is over."""
        for each in (self.tasks, self.untaken, self.answers):
            each.close()

    def close(self) -> None:
        self.close_answers()
        if not self._started:
            self.started()
        if self._alive:
            self._alive = False
            os.close(self.lifeline)


def give(tasks: socket.socket, number: int, head: bytes, body: bytes) -> bool:
    """Hand a task over. False: no more fits into the line for now. Raises OSError where it can't be handed over."""
    if len(head) + len(body) <= LONGEST_INLINE:
        try:
            return _send(tasks, _INLINE + pack(number, head, body), [])
        except OSError as error:
            if error.errno != errno.EMSGSIZE:  # macOS takes less than Linux
                raise
    kind, inline, in_files = _BODY_AS_FILE, head, [body]
    if len(head) > LONGEST_INLINE // 16:
        kind, inline, in_files = _BOTH_AS_FILES, b"", [body, head]
    files: list[int] = []
    try:
        files.extend(file_with(content) for content in in_files)
        return _send(tasks, kind + pack(number, inline), files)
    finally:
        for file in files:
            os.close(file)


def _send(tasks: socket.socket, packed: bytes, files: list[int]) -> bool:
    try:
        if files:
            socket.send_fds(tasks, [packed], files)
        else:
            tasks.send(packed)
    except OSError as error:
        if error.errno in _NO_ROOM:
            return False
        raise
    return True


@dataclass(slots=True)
class Taken:
    """A task that was taken out of the line. To be read, or dropped.

    `file`: of a long body, at its start, instead of `body`; whoever takes it closes it.
    """

    number: int
    head: bytes
    body: bytes
    file: int | None = None
    cut: bool = False
    """Whether files got lost: the system hands none to a process that has as many as it may."""

    def read(self) -> bytes:
        """Return the body. Raises OSError."""
        self.check()
        if self.file is None:
            return self.body
        file, self.file = self.file, None
        with open(file, "rb") as content:
            return content.read()

    def check(self) -> None:
        """Raises OSError for a task that did not come whole."""
        if self.cut:
            self.drop()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def drop(self) -> None:
        if self.file is not None:
            os.close(self.file)
            self.file = None


def take(untaken: socket.socket) -> Taken | None:
    """Take the next task; None where none is there. Raises OSError."""
    try:
        # Not recv_fds: it forgets the flags (CPython before 3.13).
        data, about, flags, _ = untaken.recvmsg(LONGEST_INLINE + 1024, _TWO_FILES, _FLAGS)
    except BlockingIOError:
        return None
    kind = data[:1]
    number, head, body = unpack(data[1:])
    files = list(memoryview(about[0][2]).cast("i")) if about else []
    taken = Taken(number, head, body, files[0] if files else None, cut=bool(flags & socket.MSG_CTRUNC))
    if kind == _BOTH_AS_FILES and len(files) > 1:
        with open(files[1], "rb") as content:
            taken.head = content.read()
    return taken
