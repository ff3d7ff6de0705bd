"""A command's processes: their group, which is signalled as one, and what they write to stderr."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from contextlib import suppress

KILL_AFTER = 5.0
"""Seconds that a command has to end in once its time is up."""
END_OF_STDERR = 0.2
"""Seconds that stderr may stay open behind the command: what it left running may hold it for ever."""
LAST_BYTES = 2000
LAST_LINES = 10
QUICK = 0.1
"""Seconds in which a command that ends, and says nothing, costs no thread: threads cost a fifth of the throughput."""
_POLL = 0.02
_LOOK = getattr(os, "WEXITED", 0) | getattr(os, "WNOWAIT", 0) | os.WNOHANG


def notice_ends() -> None:
    """Have the system tell how our processes end. To be called in the main thread.

    Whoever started us may have had SIGCHLD ignored, which is inherited: exit codes are then forgotten, and each task
    would look done.
    """
    if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def signal_name(number: int) -> str:
    """Return `SIGKILL`, or `signal 40`: the real-time signals have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class Stderr:
    """Passes on what comes through the pipe, for as long as anybody holds it open, and keeps the end of it.

    As long as somebody reads, a process left behind by its command can write without a SIGPIPE.
    """

    def __init__(self, pipe: int) -> None:
        self.pipe = pipe
        self._last = b""
        self._reader: threading.Thread | None = None

    def is_silent(self, seconds: float = 0.0) -> bool:
        """Whether, `seconds` from now at the latest, nobody holds the pipe any more and nothing is in it."""
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        return [event for _, event in poll.poll(seconds * 1000)] == [select.POLLHUP]

    def start(self, quick: float) -> None:
        """Read from now on; for the first `quick` seconds wait here whether there is anything to read."""
        if self.is_silent(quick):
            os.close(self.pipe)
        else:
            self._reader = threading.Thread(target=self._read, name="stderr", daemon=True)
            try:
                self._reader.start()
            except RuntimeError:
                os.close(self.pipe)
                raise

    def last_lines(self) -> str:
        """What was written last, when all of it is here or the time for it is over."""
        if self._reader is not None:
            self._reader.join(END_OF_STDERR)
        return "\n".join(self._last.decode(errors="replace").splitlines()[-LAST_LINES:])

    def _read(self) -> None:
        while data := os.read(self.pipe, 65536):
            self._last = (self._last + data)[-LAST_BYTES:]
            _write_to_our_own(data)
        os.close(self.pipe)


class Group:
    """A command just started as the leader of its group, with all that it starts.

    No signal may reach a number that is free again, and perhaps another program's. Until the leader is reaped, the
    number is its own; afterwards for as long as the group has members. That leaves two gaps: a group that is timed out,
    and whose last member ends between two looks at it; and systems without waitid.
    """

    def __init__(self, pid: int, stderr: int, timeout: float | None) -> None:
        self._pid = pid
        self._stderr = Stderr(stderr)
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._over = False
        self.timed_out = False

    def is_silent(self) -> bool:
        """Whether stderr is closed, and nothing was said there that is not yet read."""
        return self._stderr.is_silent()

    def descriptor(self) -> int | None:
        """Return a new descriptor that is readable when the command has ended, where the system has such."""
        try:
            return os.pidfd_open(self._pid)
        except (AttributeError, OSError):
            return None

    def watch(self) -> None:
        """Read stderr and mind the time from now on. Raises RuntimeError, and kills, where no thread is to be had."""
        try:
            self._stderr.start(min(QUICK, self._time_left()))
            if self._deadline is not None and not self._has_ended():
                self._timer = threading.Timer(self._time_left(), self._time_out)
                self._timer.daemon = True
                self._timer.start()
        except RuntimeError:
            self.signal(signal.SIGKILL)
            self._reap()
            raise

    def wait(self) -> int:
        """Return the command's exit code when it has ended; where it was timed out, when the whole group has."""
        code = self._reap()
        if self._timer is not None:
            self._timer.cancel()
            if self.timed_out:
                self._timer.join()
        return code

    def last_lines(self) -> str:
        return self._stderr.last_lines()

    def signal(self, number: int) -> bool:
        """Send a signal to all of the group. False: nobody is there that could get it."""
        with self._lock:
            if not self._over:
                try:
                    os.killpg(self._pid, number)
                except (ProcessLookupError, PermissionError):  # macOS refuses where all are zombies
                    self._over = True
            return not self._over

    def _has_ended(self) -> bool:
        return hasattr(os, "waitid") and os.waitid(os.P_PID, self._pid, _LOOK) is not None

    def _reap(self) -> int:
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                self._over = self._over or not self.timed_out
                _, status = os.waitpid(self._pid, 0)
        else:  # macOS before Python 3.13: a signal sent between this line and the next one may go astray
            _, status = os.waitpid(self._pid, 0)
            with self._lock:
                self._over = self._over or not self.timed_out
        return os.waitstatus_to_exitcode(status)

    def _time_left(self) -> float:
        if self._deadline is None:
            return threading.TIMEOUT_MAX
        return min(max(self._deadline - time.monotonic(), 0.0), threading.TIMEOUT_MAX)

    def _time_out(self) -> None:
        with self._lock:
            self.timed_out = not self._over
        deadline = time.monotonic() + KILL_AFTER
        self.signal(signal.SIGTERM)
        while self.signal(0) and time.monotonic() < deadline:
            time.sleep(_POLL)
        self.signal(signal.SIGKILL)


def _write_to_our_own(data: bytes) -> None:
    """Whatever is wrong with our own stderr is no business of the task's."""
    if sys.__stderr__ is None:  # it was closed from the start: by now its number is that of a file or socket of ours
        return
    with suppress(OSError):
        while data:
            try:
                data = data[os.write(2, data) :]
            except BlockingIOError:  # a program that shares our terminal has made it so
                select.select([], [2], [])
