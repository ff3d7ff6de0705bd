"""Shows a service manager that a worker is alive: systemd's notify protocol, and a file for liveness probes.

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from pathlib import Path

from rqtool.errors import UsageError
from rqtool.text import plural
from rqtool.work.jobs import Jobs
from rqtool.work.lifecycle import Lifecycle
from rqtool.work.session import Session

PERIOD = 5.0
"""Seconds between two signs of life, unless the watchdog wants them sooner."""
STOPPING = "STOPPING=1"
POLL = 0.2
"""Seconds between two looks at whether the worker has become ready, or is stopping."""


class ServiceManager:
    """The systemd that started us, if any. Its variables are removed from the environment: they are not meant for our
    commands.
    """

    def __init__(self) -> None:
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        microseconds = os.environ.pop("WATCHDOG_USEC", "")
        mine = os.environ.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog = int(microseconds) / 1e6 if self._address and mine and microseconds.isdecimal() else 0.0
        self.period = min(watchdog / 2, PERIOD) if watchdog else PERIOD
        """Seconds between two signs of life."""

    def tell(self, *lines: str) -> bool:
        """Send `NAME=VALUE` lines. Returns whether they were sent, or there is nobody to tell: a manager that is gone
        or busy is no reason to stop.
        """
        if not self._address:
            return True
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.setblocking(False)
            end.sendto("\n".join(lines).encode(), address)
            return True
        return False


async def report_health(path: Path | None, session: Session, jobs: Jobs, lifecycle: Lifecycle) -> None:
    """Give signs of life as long as the event loop runs. Never ends. `path`: a file that exists while the worker does;
    its modification time is the last sign of life. Raises UsageError if it can't be written.
    """
    manager = ServiceManager()
    if path is not None:
        _create(path)
    loop = asyncio.get_running_loop()
    said, due = "", 0.0
    try:
        while True:
            state = _state(session, lifecycle, said)
            if state != said or loop.time() >= due:
                due = loop.time() + manager.period
                news = [state] if state != said else []
                if manager.tell(*news, "WATCHDOG=1", f"STATUS={_status(session, jobs)}"):
                    said = state
                if path is not None:
                    with suppress(OSError):
                        os.utime(path)
            await asyncio.sleep(min(POLL, manager.period))
    finally:
        if said != STOPPING:
            manager.tell(STOPPING)
        if path is not None:
            with suppress(OSError):
                os.unlink(path)


def _create(path: Path) -> None:
    try:
        path.write_text(f"{os.getpid()}\n")
    except OSError as error:
        raise UsageError(f"--health-file {path}: {(error.strerror or '').lower()}", "Name another") from None


def _state(session: Session, lifecycle: Lifecycle, said: str) -> str:
    if lifecycle.stopping:
        return STOPPING
    return "READY=1" if said or session.is_open else ""


def _status(session: Session, jobs: Jobs) -> str:
    if not session.is_open:
        return "not connected"
    return f"{plural(jobs.at_work, 'task')} in work, {plural(jobs.count['settled'], 'task')} settled"
