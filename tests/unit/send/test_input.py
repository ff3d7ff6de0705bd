"""Bytes → tasks, however they arrive."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.errors import UsageError
from rqtool.send import input as inputs

# Mostly what the splitting turns on.
DATA = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"\0", b"a", b"bc", b"\xff"]), max_size=30).map(b"".join)


def _tasks(batches: Iterable[inputs.Batch]) -> list[bytes]:
    return [task for batch in batches for task in batch]


def _lines(data: bytes) -> list[bytes]:
    return _tasks(inputs.split([data] if data else []))


@st.composite
def _pieces(draw: st.DrawFn) -> list[bytes]:
    """A byte string, cut anywhere."""
    data = draw(DATA)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(data) - 1)))))
    edges = [0, *cuts, len(data)]
    return [data[start:end] for start, end in pairwise(edges) if start < end]


@given(_pieces(), st.booleans())
def test_how_the_input_arrives_makes_no_difference(pieces: list[bytes], null: bool) -> None:
    """Any chunking gives the same tasks as the input in one piece."""
    together = [b"".join(pieces)]
    assert _tasks(inputs.split(together, null=null)) == _tasks(inputs.split(pieces, null=null))
    assert _tasks(inputs.whole(together)) == _tasks(inputs.whole(pieces))


@given(_pieces())
def test_lines_are_what_a_regular_expression_says(pieces: list[bytes]) -> None:
    """A line ends at \\n or \\r\\n, and an empty one is no task."""
    text = b"".join(pieces) + b"\n"
    assert [line for line in re.split(rb"\r?\n", text) if line] == _tasks(inputs.split([*pieces, b"\n"]))


@given(_pieces())
def test_null_mode_cuts_at_nul_alone(pieces: list[bytes]) -> None:
    """With --null line ends are content, byte for byte."""
    assert [part for part in b"".join(pieces).split(b"\0") if part] == _tasks(inputs.split(pieces, null=True))


@pytest.mark.parametrize(
    ("data", "tasks"),
    [
        (b"", []),
        (b"\n", []),
        (b"\r\n\r\n", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\nb", [b"a", b"b"]),
        (b"a\r\nb\r\n", [b"a", b"b"]),
        (b"a\n\n\nb\n", [b"a", b"b"]),
        (b" a \n \n", [b" a ", b" "]),
        (b"a\rb\n", [b"a\rb"]),
        (b"a\r\r\n", [b"a\r"]),
        (b"a\0b\n", [b"a\0b"]),
        (b"\xff\xfe\n", [b"\xff\xfe"]),
    ],
)
def test_lines(data: bytes, tasks: list[bytes]) -> None:
    """Only \\n and \\r\\n end a line; blanks, NUL and broken UTF-8 are content; the last line needs no end."""
    assert tasks == _lines(data)


def test_each_piece_yields_its_tasks_at_once() -> None:
    """A task is handed out with the piece that completes it, before the next piece is asked for."""
    asked: list[bytes] = []

    def arriving() -> Iterable[bytes]:
        for piece in (b"a\nb", b"c\n", b"d"):
            asked.append(piece)
            yield piece

    batches = inputs.split(arriving())
    assert (next(batches), len(asked)) == ([b"a"], 1)
    assert (next(batches), len(asked)) == ([b"bc"], 2)
    assert (next(batches), len(asked)) == ([b"d"], 3)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\r\n\0b\n"])
def test_whole_is_one_task(data: bytes) -> None:
    """With --whole the input is one task, byte for byte, even when it is empty."""
    assert [data] == _tasks(inputs.whole([data]))


class TestLargestTask:
    """Whoever sends more than any broker takes forgot the line ends."""

    @pytest.fixture(autouse=True)
    def _small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inputs, "LARGEST_TASK", 8)

    def test_up_to_the_limit_all_is_well(self) -> None:
        """A task of exactly the limit is taken, however many follow it."""
        assert _tasks(inputs.split([b"1234", b"5678\n1234", b"5678\n", b"12345678"])) == [b"12345678"] * 3
        assert _tasks(inputs.whole([b"1234", b"5678"])) == [b"12345678"]

    def test_a_longer_task_is_refused_while_it_is_read(self) -> None:
        """Reading stops as soon as a task is too long, after those before it, and says what may be wrong."""
        batches = inputs.split([b"a\n1234", b"56789", b"never read"])
        assert next(batches) == [b"a"]
        with pytest.raises(UsageError, match=r"A task of more than 8 bytes\. .*--null"):
            next(batches)

    def test_a_whole_input_above_it_is_refused(self) -> None:
        """--whole knows the same limit, and says what may be wrong."""
        with pytest.raises(UsageError, match=r"A task of more than 8 bytes\. .*leave --whole out"):
            _tasks(inputs.whole([b"1234", b"56789"]))


class TestOpenInput:
    """What `--from` names."""

    def test_a_dash_is_stdin(self) -> None:
        """`-` is descriptor 0."""
        assert inputs.open_input("-") == 0

    def test_a_file_is_read_to_its_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file larger than one read arrives whole."""
        monkeypatch.setattr(inputs, "CHUNK", 3)
        (tmp_path / "tasks").write_bytes(b"1234567")
        descriptor = inputs.open_input(str(tmp_path / "tasks"))
        assert list(inputs.chunks(descriptor)) == [b"123", b"456", b"7"]
        os.close(descriptor)

    def test_a_missing_file_is_a_usage_error(self, tmp_path: Path) -> None:
        """The error names the file and the reason."""
        with pytest.raises(UsageError, match=r"none can't be read: No such file or directory\. Name a file"):
            inputs.open_input(str(tmp_path / "none"))

    def test_a_folder_is_a_usage_error(self, tmp_path: Path) -> None:
        """A folder has no lines."""
        with pytest.raises(UsageError, match="is a folder"):
            inputs.open_input(str(tmp_path))


def test_a_pipe_left_non_blocking_is_read_all_the_same() -> None:
    """Whoever shares our stdin may have made it non-blocking: an empty pipe is no error then."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    pieces = inputs.chunks(reader)
    os.write(writer, b"a\n")
    assert next(pieces) == b"a\n"
    assert os.get_blocking(reader)
    os.close(writer)
    assert list(pieces) == []
    os.close(reader)
