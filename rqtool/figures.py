"""What is asked and known about queues, as plain data. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue under rabbitmqctl's own names. None: the API does not say.

    `auto_delete`: it goes with its last consumer; `exclusive`: with the connection that declared it. Messages go too.
    `delays`: it keeps messages for a time and then passes them on; nobody is meant to consume it.
    """

    vhost: str
    name: str
    messages_ready: int | None
    messages_unacknowledged: int | None
    consumers: int | None
    state: str | None
    type: str | None
    durable: bool | None
    exclusive: bool | None = None
    delays: bool = False
    messages: int | None = None
    auto_delete: bool | None = None

    @property
    def leaving(self) -> int:
        """Messages that a quorum queue dead-letters and whose new place has not confirmed them: in no other figure."""
        return max(0, (self.messages or 0) - (self.messages_ready or 0) - (self.messages_unacknowledged or 0))
