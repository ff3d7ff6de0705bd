"""`--unsent FILE`: what was not confirmed, in the form it came in, so that the file can be sent as it is."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from rqtool.errors import RqtoolError, UsageError
from rqtool.send.feed import Feed
from rqtool.send.ledger import Ledger
from rqtool.signals import Signals


class UnsentFile:
    """Written beside FILE and put in its place at the end: FILE may be the very input that is being read."""

    def __init__(self, path: Path, end: bytes) -> None:
        """`end` follows every task. Raises UsageError where the file can't be made; nothing is written yet."""
        self.path = path
        try:
            if path.exists() and not path.is_file():
                raise UsageError(f"{path} is no ordinary file", "Name one for --unsent")
            self._target = path.resolve()
        except (OSError, RuntimeError):  # too long a name, a link that leads to itself
            raise UsageError(f"{path} can't be written", "Name another file for --unsent") from None
        self.error: RqtoolError | None = None
        """Why `write_unsent` could not write it."""
        self._end = end
        self._file: BinaryIO | None = None
        self._fresh = Path()
        folder = self._target.parent
        if not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise UsageError(f"{path} can't be written", "Name a file in a folder of yours for --unsent")

    def add(self, body: bytes) -> None:
        """Raises RqtoolError where it can't be written."""
        try:
            if self._file is None:
                import tempfile  # most runs end without

                descriptor, fresh = tempfile.mkstemp(dir=self._target.parent, prefix=f".{self._target.name[:50]}.")
                self._file, self._fresh = os.fdopen(descriptor, "wb"), Path(fresh)
            self._file.write(body + self._end)
        except OSError as error:
            raise self._failed(error) from None

    def finish(self, *, complete: bool) -> None:
        """Put it in place; where everything was confirmed it is empty.

        Where the input was not read to its end, a FILE that exists stays, for it may be that input: `path` is then
        another one. Raises RqtoolError where it can't be written.
        """
        try:
            if not complete and self._target.exists():
                self._target = self._target.with_name(f"{self._target.name}.incomplete")
                self.path = self._target if self.path.is_symlink() else self.path.with_name(self._target.name)
            if self._file is None:
                self._target.write_bytes(b"")
            else:
                self._file.close()
                self._fresh.replace(self._target)
        except OSError as error:
            raise self._failed(error) from None

    def _failed(self, error: OSError) -> RqtoolError:
        begun = ""
        if self._file is not None:
            begun = f"What was written is in {self._fresh}"
            with suppress(OSError):  # what is in the buffer; Python would try it once more at its end, and complain
                self._file.close()
        return RqtoolError(f"{self.path} can't be written: {(error.strerror or '').lower()}", begun)


async def write_unsent(
    file: UnsentFile, ledger: Ledger, feed: Feed, signals: Signals, wake: asyncio.Event, say: Callable[[str], None]
) -> None:
    """Write what is not confirmed, and then the rest of the input, up to its end or a further signal.

    `wake` is set when there is more input, and by signals. Where the file can't be written `file.error` says why: the
    account of what was sent must not be lost with it.
    """
    try:
        await _write(file, ledger, feed, signals, wake, say)
    except RqtoolError as error:
        file.error = error


async def _write(
    file: UnsentFile, ledger: Ledger, feed: Feed, signals: Signals, wake: asyncio.Event, say: Callable[[str], None]
) -> None:
    for message in ledger.unconfirmed():
        file.add(message.body)
    if not feed.ended:
        say(f"writing what was not sent to {file.path}, to the end of the input; Ctrl-C leaves")
    before = signals.count
    while signals.count == before and not signals.leave:
        wake.clear()
        while (task := feed.read()) is not None:
            file.add(task[1])
        if feed.ended:
            break
        await wake.wait()
    file.finish(complete=feed.ended and feed.error is None)
