"""For the tests of parsers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from rqtool.errors import UsageError

T = TypeVar("T")


def value_or_refusal(parse: Callable[[str], T], text: str) -> T | str:
    """What a parser makes of a text, or what its error says; any other error fails the test."""
    try:
        return parse(text)
    except UsageError as refused:
        return str(refused)
