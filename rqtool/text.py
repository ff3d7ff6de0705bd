"""Makes bytes and text from outside safe to print; finds the name that a mistyped one may mean. Pure."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 1000
"""Characters of a task's body that are printed: a whole body of 5 MB would bury everything else."""


def printable(text: str) -> str:
    """Return the text with every control character (escape sequences, newlines, direction marks) escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def quoted(body: bytes) -> str:
    """Return a body as the tutorial prints it: in quotes, escaped, and cut after SHOWN characters."""
    head = body[: SHOWN * 4]
    try:
        shown = head.decode()
    except UnicodeDecodeError as error:
        if len(head) == len(body) or error.start < len(head) - 3:
            # Not UTF-8: b'\x89PNG' says so more clearly than mojibake.
            return repr(body) if len(body) <= SHOWN else f"{body[:SHOWN]!r}… ({len(body):,} bytes)"
        shown = head[: error.start].decode()  # the cut split a character
    whole = len(shown) <= SHOWN and len(head) == len(body)
    return repr(shown) if whole else f"{shown[:SHOWN]!r}… ({len(body):,} bytes)"


def is_text(word: str) -> bool:
    """Whether a command-line argument was UTF-8: Python turns other bytes into surrogates."""
    return not any("\ud800" <= c <= "\udfff" for c in word)


def encodable(text: str) -> str:
    """Return the text with question marks for what UTF-8 can't encode."""
    return text.encode(errors="replace").decode()


def plural(count: int, noun: str) -> str:
    """`1 task`, `1,000 tasks`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def start_of(body: bytes) -> str:
    """Return the first hundred characters of a body, with replacement characters for what is not UTF-8."""
    return body[:400].decode(errors="replace")[:100]  # UTF-8 has four bytes a character at most


def closest(name: str, names: Iterable[str], similarity: float = 0.6) -> str | None:
    """Return the first of the names that begins with `name`, else the most similar one, or None."""
    from difflib import get_close_matches  # imported only here: only errors need it

    others = sorted(names)
    meant = [other for other in others if other.startswith(name)] or get_close_matches(name, others, 1, similarity)
    return meant[0] if meant else None
