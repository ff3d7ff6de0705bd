"""What comes from the broker, cut into frames; small deliveries as a whole. Pure.

pika makes four objects of a delivery and looks through a dozen callbacks for it: half of what a short task cost its
worker. Here a delivery that is there with all its three frames is read at once; everything else goes pika's way.
Format: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import pika
import pika.frame

_END = pika.spec.FRAME_END
_METHOD = struct.Struct(">BHIHHB")
"""Type, channel, size of the frame; class, method; length of the consumer's tag."""
_TAG = struct.Struct(">QB")
"""Delivery tag; redelivered."""
_HEADER = struct.Struct(">BHIHHQ")
"""Type, channel, size of the frame; class, weight, size of the body."""
_BODY = struct.Struct(">BHI")
_DELIVER = (pika.spec.Basic.Deliver.INDEX >> 16, pika.spec.Basic.Deliver.INDEX & 0xFFFF)


@dataclass(slots=True)
class Arrived:
    """A delivery as it came on a channel; `properties` as they are written: flags and values."""

    channel: int
    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class Reader:
    """Puts the pieces of the stream together. Deliveries on `channels` are read at once; it may change at any time."""

    def __init__(self, channels: Collection[int]) -> None:
        self._channels = channels
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Arrived | pika.frame.Frame]:
        """Yield what is complete. Raises what pika.frame.decode_frame does for what is no frame."""
        data = self._rest + piece
        start = 0
        self._rest = b""
        while start < len(data):
            arrived = self._delivery(data, start)
            if arrived is not None:
                end, delivery = arrived
                yield delivery
                start = end
                continue
            rest = data[start:] if start else data
            size, frame = pika.frame.decode_frame(rest)
            if frame is None:
                self._rest = rest
                return
            start += size
            yield frame  # type: ignore[misc]

    def _delivery(self, data: bytes, start: int) -> tuple[int, Arrived] | None:
        """Where it ends, and the delivery; None where there is none, or not all of it."""
        if len(data) - start < _METHOD.size:
            return None
        kind, channel, size, *method, tag_size = _METHOD.unpack_from(data, start)
        if kind != pika.spec.FRAME_METHOD or tuple(method) != _DELIVER or channel not in self._channels:
            return None
        header = start + _BODY.size + size + 1
        if len(data) < header + _HEADER.size:
            return None
        kind, header_channel, size, _, _, body_size = _HEADER.unpack_from(data, header)
        body = header + _BODY.size + size + 1
        end = body + _BODY.size + body_size + 1 if body_size else body
        if (kind, header_channel) != (pika.spec.FRAME_HEADER, channel) or len(data) < end:
            return None
        if body_size and _BODY.unpack_from(data, body) != (pika.spec.FRAME_BODY, channel, body_size):
            return None  # in several frames
        if not data[header - 1] == data[body - 1] == data[end - 1] == _END:
            return None
        tag, redelivered = _TAG.unpack_from(data, start + _METHOD.size + tag_size)
        properties = data[header + _HEADER.size : body - 1]
        return end, Arrived(channel, tag, bool(redelivered & 1), properties, data[body + _BODY.size : end - 1])
