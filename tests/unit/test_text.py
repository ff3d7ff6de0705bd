"""Bytes and names from outside, made safe to print."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.text import SHOWN, closest, plural, printable, quoted, start_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("task_queue", "task_queue"),
        ("Straße 日本 😀", "Straße 日本 😀"),
        ("a\tb\nc\rd", r"a\tb\nc\rd"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\x00b", r"a\x00b"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\x9b31m", r"\x9b31m"),
        ("a\u2028b", r"a\u2028b"),
        ("not UTF-8: \udcff", r"not UTF-8: \udcff"),
    ],
)
def test_control_characters_are_spelled_out(text: str, shown: str) -> None:
    """Escape sequences, line ends and direction marks lose their power; what can be read stays as it is."""
    assert shown == printable(text)


@given(st.text(st.characters(codec=None)))
def test_printable_text_is_one_line_of_valid_utf8(text: str) -> None:
    """Whatever comes in, what comes out can be printed and encoded."""
    shown = printable(text)
    assert shown.isprintable()
    assert shown == shown.encode().decode()


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"", "''"),
        (b"task...", "'task...'"),
        ("Grüße".encode(), "'Grüße'"),
        (b"it's", '"it\'s"'),
        (b"\x1b[2J\n", r"'\x1b[2J\n'"),
        (b"\x89PNG", r"b'\x89PNG'"),
        (b"x" * SHOWN, repr("x" * SHOWN)),
    ],
)
def test_a_short_body_is_shown_whole_in_quotes(body: bytes, shown: str) -> None:
    """Text is shown as text, anything else as bytes, both escaped."""
    assert shown == quoted(body)


@given(st.binary(max_size=SHOWN // 4))
def test_a_short_body_can_be_read_back(body: bytes) -> None:
    """Nothing of a short body is hidden: its quoted form is a literal of the same content."""
    value = ast.literal_eval(quoted(body))
    assert body == (value if isinstance(value, bytes) else value.encode())


@pytest.mark.parametrize("character", ["x", "ü", "日", "😀"])
@pytest.mark.parametrize("count", [SHOWN + 1, SHOWN * 4 + 1, 100_000])
def test_a_long_text_is_cut_and_its_size_told(character: str, count: int) -> None:
    """Of a long text the first SHOWN characters are printed, and how many bytes it has."""
    body = (character * count).encode()
    assert f"{character * SHOWN!r}… ({len(body):,} bytes)" == quoted(body)


@pytest.mark.parametrize("count", [SHOWN + 1, SHOWN * 4 + 1, 100_000])
def test_long_bytes_that_are_no_text_are_cut_and_their_size_told(count: int) -> None:
    """Of a long body that is not UTF-8 the first SHOWN bytes are printed as bytes, whatever its length."""
    body = (b"\x89PNG" * count)[:count]
    assert f"{body[:SHOWN]!r}… ({count:,} bytes)" == quoted(body)


@pytest.mark.parametrize("offset", range(4))
def test_a_cut_inside_a_character_does_not_make_text_bytes(offset: int) -> None:
    """A long text stays text wherever the cut falls into one of its characters."""
    text = "x" * offset + "日" * 5000
    assert f"{text[:SHOWN]!r}… ({len(text.encode()):,} bytes)" == quoted(text.encode())


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 tasks"), (1, "1 task"), (2, "2 tasks"), (1000, "1,000 tasks"), (10**6, "1,000,000 tasks")],
)
def test_plural(count: int, text: str) -> None:
    """One is singular, all else plural, with thousands set apart."""
    assert text == plural(count, "task")


@pytest.mark.parametrize(
    ("body", "text"),
    [(b"", ""), (b"a\n", "a\n"), (b"\x89PNG", "\ufffdPNG"), ("😀".encode() * 200, "😀" * 100), (b"x" * 101, "x" * 100)],
)
def test_the_start_of_a_body(body: bytes, text: str) -> None:
    """A hundred characters, as text whatever it is."""
    assert start_of(body) == text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("ord", "orders"),
        ("ordres", "orders"),
        ("word", "words"),
        ("wrods", "words"),
        ("que", "queue"),
        ("photos", None),
    ],
)
def test_the_closest_name(typed: str, meant: str | None) -> None:
    """One that begins with what was typed goes first."""
    assert closest(typed, ("words", "quiet", "queue", "orders.dead", "orders")) == meant
