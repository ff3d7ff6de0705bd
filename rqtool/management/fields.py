"""Fields of the management API's objects. Any of them can be absent, "undefined" or []. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Row = Mapping[str, Any]
"""An object of the management API."""


def at(row: object, *path: str) -> object:
    """The value below these keys; None where there is none."""
    for key in path:
        row = row.get(key) if isinstance(row, Mapping) else None
    return row


def number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text(value: object) -> str | None:
    return value if isinstance(value, str) and value not in ("", "undefined", "unknown") else None


def flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def table(value: object) -> Row:
    return value if isinstance(value, Mapping) else {}
