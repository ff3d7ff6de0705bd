"""What rqtool writes on each message."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field

import pika

from rqtool.broker.window import Message

APP_ID = "rqtool"
_PERSISTENT, _TRANSIENT = 2, 1


@dataclass(frozen=True, slots=True)
class Envelope:
    """The properties that all tasks of one run share; `ttl` in seconds.

    Every message besides gets an id of its own and a timestamp: https://www.rabbitmq.com/docs/publishers#message-properties
    """

    transient: bool = False
    priority: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str | None = None
    ttl: float | None = None

    def seal(self, position: int, body: bytes) -> Message:
        message_id = str(uuid.uuid4())
        properties = pika.BasicProperties(  # type: ignore[no-untyped-call]
            app_id=APP_ID,
            content_type=self.content_type,
            delivery_mode=_TRANSIENT if self.transient else _PERSISTENT,
            expiration=None if self.ttl is None else str(round(self.ttl * 1000)),
            headers=self.headers or None,
            message_id=message_id,
            priority=self.priority,
            timestamp=int(time.time()),
        )
        return Message(position, message_id, body, properties)
