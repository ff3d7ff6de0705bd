"""Starts a command's process with posix_spawn, which takes half the processor time that subprocess.Popen takes."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Mapping
from contextlib import suppress

from rqtool.streams import take_standard_numbers

_IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""A command expects them to end it, and what is ignored is inherited."""


def keep_descriptors() -> None:
    """See to it that commands inherit the standard streams and nothing else. To be called before the first one.

    Whoever started us may have left us descriptors, a lock perhaps, that a command must not hold. Or it has closed a
    standard stream, whose number a file must not get that is to become a command's stream: not every system hands on a
    descriptor that is copied to itself.
    """
    take_standard_numbers()
    with suppress(FileNotFoundError):  # without /proc they can't be listed
        for name in os.listdir("/dev/fd"):
            with suppress(OSError):  # the listing's own descriptor is gone
                if int(name) > 2:
                    os.set_inheritable(int(name), False)


def file_with(content: bytes) -> int:
    """Return the descriptor of a file to be read from its start, in memory where that can be. Raises OSError."""
    descriptor = _new_file()
    try:
        written = 0
        while written < len(content):
            written += os.pwrite(descriptor, memoryview(content)[written:], written)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _new_file() -> int:
    # Not every system has files in memory; and a service may be kept from them (SystemCallFilter=~memfd_create).
    with suppress(AttributeError, PermissionError):
        return os.memfd_create("task")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def spawn(
    arguments: list[bytes], environment: Mapping[bytes, bytes], *, stdin: int, stdout: int | None
) -> tuple[int, int]:
    """Start a program as the leader of a process group of its own. Returns its pid and a pipe from its stderr.

    A program without a slash is looked for in our PATH. Raises OSError, with a filename where the program is at fault;
    ValueError for a NUL in an argument.
    """
    # A path goes to the system as it is: macOS would have posix_spawnp hand a script without `#!` to a shell.
    start = os.posix_spawn if os.path.dirname(arguments[0]) else os.posix_spawnp
    reader, writer = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, writer, 2)]
        if stdout is not None:  # before stderr, which it may be
            actions.insert(1, (os.POSIX_SPAWN_DUP2, stdout, 1))
        pid = start(
            arguments[0], arguments, environment, file_actions=actions, setpgroup=0, setsigdef=_IGNORED_BY_PYTHON
        )
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return pid, reader
