"""What rqtool writes on each message."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pika

from rqtool import headers
from rqtool.broker import fields
from rqtool.broker.window import Message

APP_ID = "rqtool"
_PERSISTENT, _TRANSIENT = 2, 1
_AROUND_HEADERS = 8 + 12 + 4
"""Bytes: what encloses a frame; class, weight and size of the body; the length of the table."""


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


def copied(original: pika.BasicProperties, body: bytes, new_headers: Mapping[str, Any], frame: int) -> Message:
    """Return a copy of a task to be published again: persistent, with other headers, and told apart from all others.

    What is left out: `expiration`, since it would end the task in a queue where it is to wait; `user_id`, which the
    broker checks against whoever publishes; the largest headers, where all don't fit into a frame of `frame` bytes.
    """
    copy = uuid.uuid4().hex
    properties = pika.BasicProperties(  # type: ignore[no-untyped-call]
        app_id=original.app_id,
        content_encoding=original.content_encoding,
        content_type=original.content_type,
        correlation_id=original.correlation_id,
        delivery_mode=_PERSISTENT,
        message_id=original.message_id,
        priority=original.priority,
        reply_to=original.reply_to,
        timestamp=original.timestamp,
        type=original.type,
    )
    others = b"".join(properties.encode())  # type: ignore[no-untyped-call]
    properties.headers = _fitting(dict(new_headers) | {headers.COPY: copy}, frame - _AROUND_HEADERS - len(others))
    return Message(0, copy, body, properties)


def _fitting(table: dict[str, Any], room: int) -> dict[str, Any]:
    """Return what of the headers fits into `room` bytes. Ours are the last to be left out: they count the attempts.

    The properties of a message are one frame; the broker ends the connection over a larger one (AMQP 0-9-1, 4.2.6), and
    a task whose copy it never takes would keep a worker from all others.
    """
    sizes = {name: fields.size({name: value}) for name, value in table.items()}
    excess = sum(sizes.values()) - room
    for name in sorted(sizes, key=lambda name: (name.startswith(headers.OWN_PREFIX), -sizes[name])):
        if excess <= 0:
            break
        excess -= sizes[name]
        del table[name]
    return table


def token(properties: pika.BasicProperties) -> str | None:
    """What a message is recognized by when the broker returns it: a copy's own mark, else the message id."""
    return headers.text(properties.headers or {}, headers.COPY) or properties.message_id
