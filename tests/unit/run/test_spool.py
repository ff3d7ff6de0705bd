"""What is handed on of a stream, and when."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.output import Content
from rqtool.run.child.outlet import IN_MEMORY, LONGEST_TAG, Spool, tag_of

PIECES = st.lists(
    st.sampled_from([b"", b"a", b"\n", b"ab\ncd", b"\n\n", b"x" * (IN_MEMORY // 2), b"y\n" * IN_MEMORY]), max_size=8
)


def _read(content: Content | None) -> bytes:
    if isinstance(content, io.FileIO):
        with content:
            return content.read()
    return content or b""


def _fed(spool: Spool, pieces: list[bytes]) -> list[bytes]:
    return [_read(spool.feed(piece)) for piece in pieces]


@given(PIECES)
def test_lines(pieces: list[bytes]) -> None:
    """Each piece that is handed on ends with a line, and nothing is kept that could be handed on."""
    spool, written = Spool(b"", whole=False), b"".join(pieces)
    fed = _fed(spool, pieces)
    assert all(piece.endswith(b"\n") for piece in fed if piece)
    assert b"".join(fed) == written[: written.rfind(b"\n") + 1]
    end = b"" if written.endswith(b"\n") or not written else b"\n"
    assert b"".join(fed) + _read(spool.end()) == written + end
    assert spool.size == len(written)


@given(PIECES)
def test_whole(pieces: list[bytes]) -> None:
    """Nothing is handed on before the end, and then all of it as it was written."""
    spool = Spool(b"", whole=True)
    assert not any(_fed(spool, pieces))
    assert _read(spool.end()) == b"".join(pieces)


@given(PIECES, st.booleans())
def test_tag(pieces: list[bytes], whole: bool) -> None:
    """Wherever what was written is cut, each of its lines has the tag once."""
    spool, written = Spool(b"t\t", whole=whole), b"".join(pieces)
    handed_on = b"".join([*_fed(spool, pieces), _read(spool.end())])
    lines = written.splitlines(keepends=True)
    end = b"" if whole or written.endswith(b"\n") or not written else b"\n"
    assert handed_on == b"".join(b"t\t" + line for line in lines) + end


@pytest.mark.parametrize("whole", [True, False])
def test_what_is_long_waits_in_a_file(whole: bool) -> None:
    """A file takes no memory, and nothing of it is left behind."""
    spool = Spool(b"", whole=whole)
    for _ in range(3):
        assert spool.feed(b"x" * IN_MEMORY) is None
    assert isinstance(content := spool.end(), io.FileIO)
    assert _read(content) == b"x" * IN_MEMORY * 3 + (b"" if whole else b"\n")
    assert spool.end() is None


def test_behind_the_end_it_is_lines() -> None:
    """What a command left behind writes later is not held for an end that does not come."""
    spool = Spool(b"t\t", whole=True)
    spool.feed(b"half")
    assert _read(spool.end()) == b"t\thalf"
    assert _read(spool.feed(b"late\n")) == b"t\tlate\n"


@pytest.mark.parametrize(
    ("body", "tag"),
    [
        (b"a b", b"a b\t"),
        (b"", b"\t"),
        (b"a\tb", b"a\tb\t"),
        (b"first\nsecond", b"first\t"),
        (b"\xff", b"\xff\t"),
        (b"x" * LONGEST_TAG, b"x" * LONGEST_TAG + b"\t"),
        ("é".encode() * LONGEST_TAG, "é".encode() * 126 + "…\t".encode()),
    ],
)
def test_tags(body: bytes, tag: bytes) -> None:
    """The first line of the task, as it is; a long one is cut between two letters."""
    assert tag_of(body) == tag
