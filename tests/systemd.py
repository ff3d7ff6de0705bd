"""What a service manager hears from a worker: https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html."""

from __future__ import annotations

import socket
from pathlib import Path


class Systemd:
    """The end of the notify socket that systemd has."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.settimeout(30)

    def next(self) -> dict[str, str]:
        """The next message. Raises TimeoutError if none comes."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def wait_until_ready(self) -> None:
        """Return when the worker has said that it consumes. Raises TimeoutError if it doesn't say so."""
        while "READY" not in self.next():
            pass

    def close(self) -> None:
        self._socket.close()
