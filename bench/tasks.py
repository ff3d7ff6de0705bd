"""What `rqtool work --call` calls."""

from __future__ import annotations

from bench import stamps


def nothing(body: bytes) -> None:  # noqa: ARG001
    """The smallest of all tasks: being counted."""
    stamps.tick()


def delay(body: bytes) -> None:
    """Note how long the task was on its way."""
    stamps.delay(body)
