"""pika's connection, which writes frames that are encoded already, and reads deliveries at once."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel

from rqtool.amqp.reading import Arrived, Reader


def cancel(channel: Channel, consumer_tag: str, callback: Callable[..., None]) -> None:
    """Cancel a consumer, and have its callback get what still comes. pika's own way is to reject that: `_cancelled`."""
    channel.basic_cancel(consumer_tag, callback)
    channel._cancelled.discard(consumer_tag)


class Wire(AsyncioConnection):
    """`takers`: who gets the deliveries of a channel, by its number; without one they go pika's way.

    Uses what pika's adapters and its connection share: `_on_data_available`, `_process_frame`, `_transport` and
    `_output_marshaled_frames`, and the transport's `_sock` and `_on_socket_writable`, as they are in pika 1.4.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        self.takers: dict[int, Callable[[Arrived], None]] = {}
        self._reader = Reader(self.takers)
        super().__init__(*arguments, **more)

    def write(self, frames: bytes) -> None:
        """Write encoded frames, in order with what pika writes; into the socket at once, if that takes them."""
        transport: Any = self._transport
        if transport is None:
            return
        if not transport.get_write_buffer_size() and type(transport._sock) is socket.socket:  # no TLS
            with suppress(OSError):  # pika finds out by itself
                sent = transport._sock.send(frames)
                self.bytes_sent += sent
                frames = frames[sent:]
        if frames:
            self._output_marshaled_frames([frames])
            if transport.get_write_buffer_size():
                transport._on_socket_writable()

    def _on_data_available(self, data_in: bytes) -> None:
        self.bytes_received += len(data_in)  # by which pika sees that the broker lives
        for item in self._reader.feed(data_in):
            if isinstance(item, Arrived):
                self.takers[item.channel](item)
            else:
                self._process_frame(item)
            if self.is_closed:
                return
