"""Bytes and names from outside, made safe to print. Pure."""

from __future__ import annotations

SHOWN = 1000
"""How many characters of a task's body are printed; a 5 MB body would bury everything else."""


def printable(text: str) -> str:
    """Return text with every control character (escape sequences, newlines, direction marks) spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(body: bytes) -> str:
    """Return a body as the tutorial prints it: in quotes, escaped, and cut after SHOWN characters."""
    head = body[: SHOWN * 4]
    try:
        shown = head.decode()
    except UnicodeDecodeError as error:
        if len(head) == len(body) or error.start < len(head) - 3:
            # Not UTF-8: b'\x89PNG' says so more plainly than mojibake.
            return repr(body) if len(body) <= SHOWN else f"{body[:SHOWN]!r}… ({len(body):,} bytes)"
        shown = head[: error.start].decode()  # the cut went through a character
    whole = len(shown) <= SHOWN and len(head) == len(body)
    return repr(shown) if whole else f"{shown[:SHOWN]!r}… ({len(body):,} bytes)"


def is_text(word: str) -> bool:
    """Whether a word of the command line was UTF-8: what was not has surrogates in it."""
    return not any("\ud800" <= c <= "\udfff" for c in word)


def encodable(text: str) -> str:
    """Return text with what is no UTF-8 as question marks."""
    return text.encode(errors="replace").decode()


def plural(count: int, noun: str) -> str:
    """`1 task`, `1,000 tasks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
