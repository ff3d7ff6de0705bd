"""What `rqtool work --call` calls."""

from __future__ import annotations

from bench.stamps import tick


def nothing(body: bytes) -> None:  # noqa: ARG001
    """The smallest of all tasks: being counted."""
    tick()
