"""AMQP frames written and read in bulk, and pika's connection made to do so.

pika builds five objects for each publish and writes each frame by itself: 19 of the 23 µs that a short task cost its
sender. It builds four objects for each delivery and looks through a dozen callbacks: half of what a short task cost its
worker. Format: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2.

The only file that uses pika's private names: those of pika 1.4, to which pyproject.toml pins it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika
import pika.frame
from pika.adapters.asyncio_connection import AsyncioConnection, _AsyncioIOReference, _AsyncioIOServicesAdapter
from pika.channel import Channel

from rqtool.amqp.window import Message

_FRAME_END = pika.spec.FRAME_END
_END = bytes([_FRAME_END])
_FRAME_OVERHEAD = pika.spec.FRAME_HEADER_SIZE + pika.spec.FRAME_END_SIZE
_FRAME = struct.Struct(">BHI")
"""Type, channel, payload size: what each frame begins with."""
_METHOD = struct.Struct(">BHIHHB")
"""A frame up to its class and method; then the length of the consumer tag."""
_HEADER = struct.Struct(">BHIHHQ")
"""A content header up to its properties: the frame; class, weight, body size."""
_TAG = struct.Struct(">QB")
"""Delivery tag; redelivered."""
_BODY_AFTER = struct.Struct(">cBHI")
"""The end of the frame before, and a body frame up to its payload."""
_PIECE = 1 << 17
"""Bytes. pika copies the unwritten rest of a piece at each write."""
_BASIC = pika.spec.BasicProperties.INDEX
_DELIVER = (pika.spec.Basic.Deliver.INDEX >> 16, pika.spec.Basic.Deliver.INDEX & 0xFFFF)


class PublishEncoder:
    """Encodes publishes with a routing `key` (to the default exchange: a queue), mandatory, in frames of at most
    `frame_max` bytes.
    """

    def __init__(self, key: str, channel: int, frame_max: int, exchange: str = "") -> None:
        publish = pika.spec.Basic.Publish(exchange=exchange, routing_key=key, mandatory=True)  # type: ignore[no-untyped-call]
        self._method = pika.frame.Method(channel, publish).marshal()
        self._channel = channel
        self._longest = frame_max - _FRAME_OVERHEAD

    def encode(self, message: Message, pieces: list[bytes]) -> int:
        """Append the frames in pieces, to be joined once for many messages. Returns their size in bytes."""
        body, properties = message.body, message.properties
        size, longest = len(body), self._longest
        payload = _HEADER.size - _FRAME.size + len(properties)
        header = _HEADER.pack(pika.spec.FRAME_HEADER, self._channel, payload, _BASIC, 0, size)
        pieces += (self._method, header, properties)
        count = 0
        for start in range(0, size, longest):
            piece = body if size <= longest else body[start : start + longest]
            pieces += (_BODY_AFTER.pack(_END, pika.spec.FRAME_BODY, self._channel, len(piece)), piece)
            count += 1
        pieces.append(_END)
        return len(self._method) + len(header) + len(properties) + size + count * _BODY_AFTER.size + len(_END)


@dataclass(slots=True)
class RawDelivery:
    """A delivery on a channel; `properties` are still encoded: flags and values."""

    channel: int
    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class FrameReader:
    """Splits the broker's stream into frames. Decodes a delivery on one of `channels` at once if all its three frames
    are there. `channels` may change at any time.
    """

    def __init__(self, channels: Collection[int]) -> None:
        self._channels = channels
        self.incomplete = b""
        """Bytes read that are not a whole frame yet."""

    def feed(self, piece: bytes) -> Iterator[RawDelivery | pika.frame.Frame]:
        """Yield what is complete. Raises what `pika.frame.decode_frame` raises for malformed frames."""
        data = self.incomplete + piece
        start = 0
        self.incomplete = b""
        while start < len(data):
            delivered = self._delivery(data, start)
            if delivered is not None:
                start, delivery = delivered
                yield delivery
                continue
            rest = data[start:] if start else data
            size, frame = pika.frame.decode_frame(rest)
            if frame is None:
                self.incomplete = rest
                return
            start += size
            yield frame  # type: ignore[misc]

    def _delivery(self, data: bytes, start: int) -> tuple[int, RawDelivery] | None:
        """The whole delivery that begins at `start`, after the offset of its end; None if there is none."""
        if len(data) - start < _METHOD.size:
            return None
        kind, channel, size, *method, tag_size = _METHOD.unpack_from(data, start)
        if kind != pika.spec.FRAME_METHOD or tuple(method) != _DELIVER or channel not in self._channels:
            return None
        header = start + _FRAME.size + size + 1
        if len(data) < header + _HEADER.size:
            return None
        kind, header_channel, size, _, _, body_size = _HEADER.unpack_from(data, header)
        body = header + _FRAME.size + size + 1
        end = body + _FRAME.size + body_size + 1 if body_size else body
        if (kind, header_channel) != (pika.spec.FRAME_HEADER, channel) or len(data) < end:
            return None
        if body_size and _FRAME.unpack_from(data, body) != (pika.spec.FRAME_BODY, channel, body_size):
            return None  # in several frames
        if not data[header - 1] == data[body - 1] == data[end - 1] == _FRAME_END:
            return None
        tag, redelivered = _TAG.unpack_from(data, start + _METHOD.size + tag_size)
        properties = data[header + _HEADER.size : body - 1]
        return end, RawDelivery(channel, tag, bool(redelivered & 1), properties, data[body + _FRAME.size : end - 1])


class _Lookup(_AsyncioIOReference):
    """pika's, but once cancelled it calls nobody back: pika would go on to connect if it already had an address."""

    def __init__(self, future: asyncio.Future[Any], on_done: Callable[[Any], None]) -> None:
        self._is_cancelled = False
        super().__init__(future, lambda result: None if self._is_cancelled else on_done(result))

    def cancel(self) -> bool:
        self._is_cancelled = True
        return super().cancel()


class _IOServices(_AsyncioIOServicesAdapter):
    """pika's, but it reports a peer that resets the connection at once: pika raises that where nobody can catch it."""

    def _schedule_and_wrap_in_io_ref(self, coro: Any, on_done: Callable[[Any], None]) -> _Lookup:
        return _Lookup(asyncio.ensure_future(coro), on_done)

    def create_streaming_connection(
        self, protocol_factory: Any, sock: Any, on_done: Callable[[Any], None], *tls: Any, **more_tls: Any
    ) -> Any:
        try:
            return super().create_streaming_connection(protocol_factory, sock, on_done, *tls, **more_tls)
        except ValueError:
            error = ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            return self.call_later(0, partial(on_done, error))


class PikaConnection(AsyncioConnection):
    """pika's connection, with bulk writes and `on_delivery`: channel number → the function that gets its deliveries.

    Deliveries on other channels, and those in several body frames, take pika's way.
    """

    def __init__(self, *arguments: Any, custom_ioloop: asyncio.AbstractEventLoop, **options: Any) -> None:
        self.on_delivery: dict[int, Callable[[RawDelivery], None]] = {}
        self._reader = FrameReader(self.on_delivery)
        options["custom_ioloop"] = _IOServices(custom_ioloop)
        super().__init__(*arguments, **options)

    @property
    def incomplete(self) -> bytes:
        """Bytes from the peer that are not a whole frame yet."""
        return self._reader.incomplete

    def write(self, frames: bytes) -> None:
        """Write encoded frames, in order with what pika writes; straight into the socket if that has room."""
        transport: Any = self._transport
        if transport is None:
            return
        if not transport.get_write_buffer_size() and type(transport._sock) is socket.socket:  # no TLS
            with suppress(OSError):  # pika finds out by itself
                sent = transport._sock.send(frames)
                self.bytes_sent += sent
                frames = frames[sent:]
        if frames:
            self._output_marshaled_frames([frames[at : at + _PIECE] for at in range(0, len(frames), _PIECE)])
            if transport.get_write_buffer_size():
                transport._on_socket_writable()

    def drop(self) -> None:
        """Close the socket without AMQP's handshake; does nothing if it is closed."""
        transport: Any = self._transport
        if transport is not None:
            transport.abort()

    def _on_connection_workflow_done(self, conn_or_exc: Any) -> None:
        # For an aborted handshake pika passes the class where it needs an instance, and fails over it.
        super()._on_connection_workflow_done(conn_or_exc() if isinstance(conn_or_exc, type) else conn_or_exc)

    def _on_data_available(self, data_in: bytes) -> None:
        self.bytes_received += len(data_in)  # pika's heartbeat check looks at it
        for item in self._reader.feed(data_in):
            if isinstance(item, RawDelivery):
                self.on_delivery[item.channel](item)
            else:
                self._process_frame(item)
            if self.is_closed:
                return


def cancel_consumer(channel: Channel, consumer_tag: str, callback: Callable[..., None]) -> None:
    """Cancel a consumer, which still gets the deliveries in flight; pika alone would reject them."""
    channel.basic_cancel(consumer_tag, callback)
    channel._cancelled.discard(consumer_tag)
