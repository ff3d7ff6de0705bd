"""The frames of publishes, encoded at once. Pure.

pika builds five objects for each message and writes each of its frames by itself: 19 of the 23 µs that a short task
cost its sender. Format: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct

import pika
import pika.frame

from rqtool.amqp.window import Message

_END = bytes([pika.spec.FRAME_END])
_AROUND = pika.spec.FRAME_HEADER_SIZE + pika.spec.FRAME_END_SIZE
_HEADER = struct.Struct(">BHIHHQ")
"""A content header up to its properties: type, channel, size of the frame; class, weight, size of the body."""
_BODY = struct.Struct(">cBHI")
"""The end of the frame before; type, channel, size of the frame."""
_IN_HEADER = _HEADER.size - pika.spec.FRAME_HEADER_SIZE
_CLASS = pika.spec.BasicProperties.INDEX


class Publishes:
    """Publishes to `queue` on `channel`: by the default exchange, mandatory, in frames of at most `frame` bytes."""

    def __init__(self, queue: str, channel: int, frame: int) -> None:
        publish = pika.spec.Basic.Publish(exchange="", routing_key=queue, mandatory=True)  # type: ignore[no-untyped-call]
        self._method = pika.frame.Method(channel, publish).marshal()
        self._channel = channel
        self._longest = frame - _AROUND

    def encode(self, message: Message, pieces: list[bytes]) -> int:
        """Add the frames in pieces, since a body is copied when all is written together. Returns the bytes."""
        body, properties = message.body, message.properties
        size, longest = len(body), self._longest
        in_header = _IN_HEADER + len(properties)
        header = _HEADER.pack(pika.spec.FRAME_HEADER, self._channel, in_header, _CLASS, 0, size)
        pieces += (self._method, header, properties)
        count = 0
        for start in range(0, size, longest):
            piece = body if size <= longest else body[start : start + longest]
            pieces += (_BODY.pack(_END, pika.spec.FRAME_BODY, self._channel, len(piece)), piece)
            count += 1
        pieces.append(_END)
        return len(self._method) + len(header) + len(properties) + size + count * _BODY.size + len(_END)
