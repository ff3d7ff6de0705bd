"""What a run of `send` shows while it sends. Pure."""

from __future__ import annotations

from typing import Protocol

from rqtool.amqp.window import Message


class Display(Protocol):
    """Shows a run to the user."""

    def say(self, line: str) -> None:
        """Show a line for people."""

    def confirmed(self, messages: list[Message]) -> None:
        """Show that the broker has confirmed these. In the order of the input, over all calls."""

    @property
    def is_behind(self) -> bool:
        """Whether something was shown that has not been written."""

    async def catch_up(self) -> None:
        """Write it, however long its reader takes."""
