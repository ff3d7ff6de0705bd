"""An exception of the user's code, told in a line and in full, without the frames that are rqtool's own."""

from __future__ import annotations

import os
import traceback

import rqtool

_OURS = os.path.dirname(rqtool.__file__) + os.sep
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep
_LONGEST_LINE = 500


def one_line(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_LINE]


class Story:
    """What there is to tell of an exception. Its own str() may fail, as the user's code may in any other way."""

    def __init__(self, error: BaseException) -> None:
        self._name = type(error).__qualname__
        self._told = traceback.TracebackException.from_exception(error)
        left = [self._told]
        while left:
            told = left.pop()
            told.stack[:] = [frame for frame in told.stack if not frame.filename.startswith(_OURS)]
            left += [other for other in (told.__cause__, told.__context__, *(told.exceptions or ())) if other]

    def line(self) -> str:
        """`ValueError: bad (tasks.py:12)`."""
        text = one_line(str(self._told))
        return f"{self._name}: {text}{self.place()}" if text else f"{self._name}{self.place()}"

    def place(self) -> str:
        """Return ` (tasks.py:12)`: the innermost line that the user wrote, rather than one of a library it calls."""
        installed = [frame for frame in self._told.stack if "-packages" in frame.filename]
        written = [
            frame
            for frame in self._told.stack
            if frame not in installed and not frame.filename.startswith((_STANDARD_LIBRARY, "<frozen "))
        ]
        frames = written or installed
        return f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""

    def full(self) -> str:
        return "".join(self._told.format())
