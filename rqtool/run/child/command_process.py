"""The process of one command: its start, its environment and its state."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Iterable, Mapping

from rqtool.run.child.outlet import TaskOutput
from rqtool.run.child.streams import Stream
from rqtool.run.outcome import CannotRun, Failed, Outcome, is_shortage, shortage
from rqtool.run.program import why_not
from rqtool.run.task import Task

LAST_BYTES = 2000
LAST_LINES = 10
PREFIX = b"RQTOOL_TASK_"
"""The prefix of a task's variables. No option's environment variable has it: a command that runs rqtool itself must not
inherit options that its own command line doesn't give.
"""
_NOT_RUNNABLE = (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.EPERM)
MOST_HEADERS = 128 * 1024
"""Bytes of variables with headers: Linux takes no more in a single variable, and about 2 MB of arguments and variables
together. As text, a binary header or a long list can be several times as large as in its frame."""


def variables_of(task: Task) -> dict[bytes, bytes]:
    """The environment variables that describe a task. Headers that have no room are left out."""
    variables = {
        b"RQTOOL_TASK_QUEUE": _value(task.queue),
        b"RQTOOL_TASK_ID": _value(task.message_id),
        b"RQTOOL_TASK_ATTEMPT": b"%d" % task.attempt,
        b"RQTOOL_TASK_REDELIVERED": b"1" if task.redelivered else b"0",
    }
    room = MOST_HEADERS
    for header, text in task.headers.items():
        suffix = "".join(c if c.isascii() and c.isalnum() else "_" for c in header.upper())
        name, value = b"RQTOOL_TASK_HEADER_" + suffix.encode(), _value(text)
        size = len(name) + len(value) + 2  # its = and its NUL
        if size <= room:
            variables[name] = value
            room -= size
    return variables


def _value(text: str) -> bytes:
    text = text.replace("\0", "")  # an environment can hold none; an id or header from elsewhere can
    try:
        return os.fsencode(text)
    except UnicodeEncodeError:  # the locale lacks a letter
        return text.encode("utf-8", "surrogateescape")


def ignore_ends() -> list[signal.Signals]:
    """Ignore the signals that would end us, and return those that were not ignored before. Only the worker decides when
    we end, but a service manager signals every process that it finds.
    """
    handled = [
        number
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
        if signal.getsignal(number) is not signal.SIG_IGN
    ]
    for number in handled:
        signal.signal(number, signal.SIG_IGN)
    return handled


def spawn(
    arguments: list[bytes],
    environment: Mapping[bytes, bytes],
    *,
    stdin: int,
    streams: Iterable[int],
    defaults: Iterable[int],
) -> tuple[int, list[Stream]]:
    """Start a program as the leader of a process group of its own, with the default action for the signals `defaults`.
    Returns its pid and a pipe from each of its `streams` (1, 2). posix_spawn takes half the processor time of
    subprocess.Popen.

    A program without a slash is searched for in our PATH. Raises OSError, with a filename if the program is at fault;
    ValueError for a NUL in an argument.
    """
    # A path goes to the system as it is: macOS would have posix_spawnp hand a script without `#!` to a shell.
    start = os.posix_spawn if b"/" in arguments[0] else os.posix_spawnp
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0)]
    writers: list[int] = []
    readers: list[Stream] = []
    try:
        for number in streams:
            reader, writer = os.pipe()
            readers.append(Stream(number, reader))
            writers.append(writer)
            actions.append((os.POSIX_SPAWN_DUP2, writer, number))
        pid = start(arguments[0], arguments, environment, file_actions=actions, setpgroup=0, setsigdef=defaults)
    except BaseException:
        for stream in readers:
            os.close(stream.descriptor)
        raise
    finally:
        for writer in writers:
            os.close(writer)
    return pid, readers


def judge_start(program: str, error: OSError | ValueError | MemoryError) -> Outcome:
    """Judge why a command could not be started."""
    if isinstance(error, ValueError):
        return Failed("a NUL byte, which no argument can hold: the task can be read from stdin")
    if isinstance(error, MemoryError) or is_shortage(error):
        return shortage(error)
    if error.errno in _NOT_RUNNABLE and error.filename is not None:
        return CannotRun(f"The command can't be run: {why_not(program, error)}")
    why = (error.strerror or str(error)).lower()
    if error.errno == errno.E2BIG:
        why += " (128 KiB for one argument on Linux): the task can be read from stdin"
    return Failed(why)  # the next task may be fine


class CommandProcess:
    """A command that was started for the task `number`. `output`: None where its stdout is our own."""

    __slots__ = ("_tail", "code", "groups", "kill_at", "number", "output", "pid", "slot", "streams")

    def __init__(self, number: int, slot: int, pid: int, streams: list[Stream], output: TaskOutput | None) -> None:
        self.number = number
        self.slot = slot
        self.pid = pid
        self.streams = streams
        self.output = output
        self.code: int | None = None
        """None: it has not ended."""
        self.kill_at: float | None = None
        """If its time is up: until when it may still end by itself."""
        self.groups: set[int] = set()
        """The process groups to be ended, if its time was up before it ended."""
        self._tail = b""

    @property
    def stderr(self) -> Stream:
        return self.streams[-1]

    def wrote(self, data: bytes) -> None:
        """Keep the last of what it writes to stderr."""
        self._tail = (self._tail + data)[-LAST_BYTES:]

    def last_lines(self) -> str:
        return "\n".join(self._tail.decode(errors="replace").splitlines()[-LAST_LINES:])
