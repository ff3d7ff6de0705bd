"""Puts a task into the arguments of a command, where `{}`, `{.}`, `{/}`, `{//}` or `{/.}` stands. Pure.

The results are GNU parallel's, but for a line end in a directory's name, which parallel leaves in the base name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

WHOLE = "{}"


def without_extension(path: bytes) -> bytes:
    """`{.}`: the task up to the last dot of its base name, which may be the first letter: `.bashrc` gives nothing."""
    dot = path.rfind(b".")
    return path[:dot] if dot > path.rfind(b"/") else path


def base_name(path: bytes) -> bytes:
    """`{/}`: what is behind the last slash; nothing where the task ends with one."""
    return path[path.rfind(b"/") + 1 :]


def directory(path: bytes) -> bytes:
    """`{//}`: what dirname(1) prints."""
    above = path.rstrip(b"/").rpartition(b"/")[0].rstrip(b"/")
    return above or (b"/" if path.startswith(b"/") else b".")


_FORMS: dict[str, Callable[[bytes], bytes]] = {
    "{.}": without_extension,
    "{/}": base_name,
    "{//}": directory,
    "{/.}": lambda path: without_extension(base_name(path)),
}


class Template:
    """The arguments of a command, parsed once and filled for each task."""

    def __init__(self, arguments: list[str], placeholder: str = WHOLE) -> None:
        forms = _FORMS | {placeholder: lambda body: body}
        pattern = finder(placeholder)
        self._arguments = [os.fsencode(argument) for argument in arguments]
        self._filled: list[tuple[int, list[bytes | Callable[[bytes], bytes]]]] = []
        """Which arguments hold placeholders, and the pieces of each."""
        for place, argument in enumerate(arguments):
            pieces = [forms.get(piece) or os.fsencode(piece) for piece in pattern.split(argument) if piece]
            if any(callable(piece) for piece in pieces):
                self._filled.append((place, pieces))

    @property
    def takes_body(self) -> bool:
        return bool(self._filled)

    def fill(self, body: bytes) -> list[bytes]:
        arguments = self._arguments.copy()
        for place, pieces in self._filled:
            arguments[place] = b"".join([piece if isinstance(piece, bytes) else piece(body) for piece in pieces])
        return arguments


def finder(placeholder: str) -> re.Pattern[str]:
    """Return what finds placeholders in an argument, as its only group; of two in one place the longer one."""
    names = sorted({*_FORMS, placeholder}, key=len, reverse=True)
    return re.compile("(" + "|".join(map(re.escape, names)) + ")")
