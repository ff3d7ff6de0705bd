"""What a task wrote to one of its streams and is still to be handed on: up to a line end, or all of it at its end."""

from __future__ import annotations

import io

from rqtool.output import Content

IN_MEMORY = 131_072
"""Bytes, two reads of a pipe; what is longer waits in an unlinked temporary file."""
LONGEST_TAG = 256


def tag_of(body: bytes) -> bytes:
    """Return what `--tag` puts before each line of a task: its first line, of at most LONGEST_TAG bytes, and a TAB."""
    first = body[: LONGEST_TAG + 1].split(b"\n", 1)[0]
    if len(first) > LONGEST_TAG:
        first = first[: LONGEST_TAG - 3].decode(errors="ignore").encode() + "…".encode()
    return first + b"\t"


class Spool:
    """`tag` goes before each line. `whole`: nothing is handed on before `end`, and then as it was written."""

    def __init__(self, tag: bytes, *, whole: bool) -> None:
        self._tag = tag
        self._whole = whole
        self._memory = bytearray()
        self._file: io.FileIO | None = None
        self._is_in_line = False
        self.size = 0
        """Bytes that were fed."""

    def feed(self, data: bytes) -> Content | None:
        """Take what was written; return what is to be handed on. Raises OSError."""
        self.size += len(data)
        if self._tag and data:
            data = self._tagged(data)
        end = 0 if self._whole else data.rfind(b"\n") + 1
        if not end:
            self._keep(data)
            return None
        ready: Content | None = data[:end]
        if self._memory or self._file:
            self._keep(data[:end])
            ready = self._take()
        if end < len(data):
            self._keep(data[end:])
        return ready

    def end(self) -> Content | None:
        """Return what is left. What comes after the end is handed on line by line. Raises OSError."""
        if not self._whole and (self._memory or self._file):
            self._keep(b"\n")  # or the first line of another task would join this one
        self._whole = self._is_in_line = False
        return self._take()

    def _tagged(self, data: bytes) -> bytes:
        before = b"" if self._is_in_line else self._tag
        self._is_in_line = not data.endswith(b"\n")
        return before + data[:-1].replace(b"\n", b"\n" + self._tag) + data[-1:]

    def _keep(self, data: bytes) -> None:
        if self._file is None and len(self._memory) + len(data) <= IN_MEMORY:
            self._memory += data
            return
        if self._file is None:
            import tempfile

            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the writer closes it
            data = bytes(self._memory) + data
            self._memory.clear()
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _take(self) -> Content | None:
        file, self._file = self._file, None
        if file is not None:
            file.seek(0)
            return file
        ready = bytes(self._memory)
        self._memory.clear()
        return ready or None
