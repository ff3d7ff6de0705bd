"""`--unsent FILE`: the unconfirmed tasks, in the form of the input, so that FILE can be sent as it is."""

from __future__ import annotations

import os
import uuid
from contextlib import suppress
from pathlib import Path
from typing import IO

from rqtool.errors import RqtoolError, UsageError


class UnsentFile:
    """Written beside FILE and renamed to FILE at the end, since FILE may be the input that is being read."""

    def __init__(self, path: Path, end: bytes) -> None:
        """`end` follows every task. Raises UsageError if the file can't be created; nothing is written yet."""
        self.path = path
        self.error: RqtoolError | None = None
        """Why the tasks could not be written to it."""
        self._end = end
        self._file: IO[bytes] | None = None
        try:
            if path.exists() and not path.is_file():
                raise UsageError(f"{path} is no ordinary file", "Name one for --unsent")
            self._target = path.resolve()
        except (OSError, RuntimeError):  # too long a name, a link that leads to itself
            raise UsageError(f"{path} can't be written", "Name another file for --unsent") from None
        folder = self._target.parent
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise UsageError(f"{path} can't be written", "Name a file in a folder of yours for --unsent")

    def add(self, body: bytes) -> None:
        """Raises RqtoolError where it can't be written."""
        try:
            if self._file is None:
                path = self._target.with_name(f".{self._target.name[:50]}.{uuid.uuid4().hex}")
                self._file = path.open("xb")
                with suppress(OSError):  # FILE is new, or on a file system without permissions
                    path.chmod(self._target.stat().st_mode & 0o777)  # before tasks are in it: FILE may be private
            self._file.write(body + self._end)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self, *, complete: bool) -> None:
        """Move it into place; it is empty if everything was confirmed.

        An existing FILE may be the input. If that was not read to its end (not `complete`), FILE is kept, and `path`
        names another file. Raises RqtoolError if it can't be written.
        """
        try:
            if not complete and self._target.exists():
                self._target = self._target.with_name(f"{self._target.name}.incomplete")
                self.path = self._target if self.path.is_symlink() else self.path.with_name(self._target.name)
            if self._file is None:
                self._target.write_bytes(b"")
            else:
                self._file.close()
                os.replace(self._file.name, self._target)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> RqtoolError:
        begun = "Name another file for --unsent"
        if self._file is not None:
            begun = f"What was written is in {self._file.name}"
            with suppress(OSError):  # the buffer is lost; otherwise Python would try again at exit, and complain
                self._file.close()
        return RqtoolError(f"{self.path} can't be written: {(error.strerror or '').lower()}", begun)
