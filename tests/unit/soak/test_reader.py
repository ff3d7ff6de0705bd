"""Who reads what the soak's workers print."""

from __future__ import annotations

import os
from pathlib import Path

from tests.soak.reader import Reader
from tests.tools import eventually


def test_a_stalled_reader_reads_on_and_ends_with_the_last_writer(tmp_path: Path) -> None:
    """The pipe is full meanwhile; nothing of what was written is lost."""
    file = tmp_path / "out"
    reader = Reader(file)
    os.set_blocking(reader.pipe.fileno(), False)
    written = 0
    with reader.pipe as pipe:
        with reader.stalled():
            while (count := _write(pipe.fileno())) is not None:
                written += count
            assert file.stat().st_size < written
            assert reader.is_there
        eventually(lambda: file.stat().st_size == written)
        assert reader.is_there
    eventually(lambda: not reader.is_there)


def test_a_stalled_reader_can_be_ended(tmp_path: Path) -> None:
    """The end of a soak may come at any moment."""
    reader = Reader(tmp_path / "out")
    with reader.pipe, reader.stalled():
        reader.end()
        assert not reader.is_there


def _write(descriptor: int) -> int | None:
    try:
        return os.write(descriptor, b"a line\n" * 100)
    except BlockingIOError:
        return None
