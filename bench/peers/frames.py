"""AMQP 0-9-1 on a plain socket: a handshake, and publishing what was encoded beforehand, with confirms.

No client can send faster than this in the same window; Python's own work is a few system calls per hundred messages.
"""

from __future__ import annotations

import select
import socket
import struct
import time
import uuid
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate
from typing import Any

import pika
from pika import frame, spec

from bench.peers.confirms import WINDOW_BYTES, WINDOW_MESSAGES, Confirms
from rqtool.endpoint.urls import parse_broker_urls

_CHUNK = 256 * 1024
_HEAD = struct.Struct(">BHI")
_ANSWER = struct.Struct(">HHQB")
_AROUND = _HEAD.size + 1
_ID = b"?" * 36


class Wire:
    """An open connection with one channel, number 1. `server` is what the broker says of itself."""

    def __init__(self, url: str) -> None:
        [at] = parse_broker_urls(url)
        self._socket = socket.create_connection((at.host, at.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._unread = b""
        self._socket.sendall(frame.ProtocolHeader().marshal())
        self.server: dict[str, Any] = self._answer().server_properties
        login = f"\0{at.user}\0{at.password}"
        tune = self._call(0, spec.Connection.StartOk({}, "PLAIN", login, "en_US"))
        self._send(0, spec.Connection.TuneOk(tune.channel_max, tune.frame_max, 0))
        self._call(0, spec.Connection.Open("/"))
        self._call(1, spec.Channel.Open())

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self._call(0, spec.Connection.Close(200, "", 0, 0))
        self._socket.close()

    def publish(self, frames: bytes, ends: list[int]) -> None:
        """Send messages, the n-th of which ends at `ends[n]`, and return when all are confirmed.

        Raises RuntimeError where the broker answers anything but acks.
        """
        self._call(1, spec.Confirm.Select())
        confirms, view, sent = Confirms(len(ends)), memoryview(frames), 0
        while confirms.settled < len(ends):
            most = ends[min(confirms.settled + WINDOW_MESSAGES, len(ends)) - 1]
            if confirms.settled:
                most = min(most, ends[confirms.settled - 1] + WINDOW_BYTES)
            wants = [self._socket] if sent < most else []
            readable, writable, _ = select.select([self._socket], wants, [])
            if writable:
                sent += self._socket.send(view[sent : min(most, sent + _CHUNK)], socket.MSG_DONTWAIT)
            if readable:
                self._unread = count_acks(self._unread + self._received(), confirms)

    def _call(self, channel: int, method: Any) -> Any:
        self._send(channel, method)
        return self._answer()

    def _send(self, channel: int, method: Any) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _answer(self) -> Any:
        while True:
            size, answer = _decoded(self._unread)
            self._unread = self._unread[size:]
            if answer is not None:
                return answer.method
            self._unread += self._received()

    def _received(self) -> bytes:
        received = self._socket.recv(_CHUNK)
        if not received:
            raise RuntimeError("the broker closed the connection")
        return received


def _decoded(received: bytes) -> tuple[int, Any]:
    size, answer = frame.decode_frame(received)
    return size, answer


def count_acks(received: bytes, confirms: Confirms) -> bytes:
    """Count the acks in what was received, and return what is left of it: the beginning of a frame."""
    at = 0
    while len(received) - at >= _HEAD.size:
        _, _, size = _HEAD.unpack_from(received, at)
        if len(received) - at < size + _AROUND:
            break
        class_id, method_id, tag, multiple = _ANSWER.unpack_from(received, at + _HEAD.size)
        if (class_id << 16 | method_id) != spec.Basic.Ack.INDEX:
            raise RuntimeError(f"the broker answered with method {method_id} of class {class_id}")
        confirms.ack(tag, multiple=bool(multiple))
        at += size + _AROUND
    return received[at:]


def encoded(queue: str, bodies: Iterable[bytes]) -> tuple[bytes, list[int]]:
    """Return the frames of persistent messages to a queue, with the properties that rqtool gives them, and their ends.

    Each body fits into one frame.
    """
    method = frame.Method(1, spec.Basic.Publish(exchange="", routing_key=queue, mandatory=True)).marshal()
    messages = [
        method + _header(len(body)).replace(_ID, str(uuid.uuid4()).encode()) + frame.Body(1, body).marshal()
        for body in bodies
    ]
    return _joined(messages)


def copies(queue: str, body: bytes, original: pika.BasicProperties, own_id: str, count: int) -> tuple[bytes, list[int]]:
    """Return frames as `encoded` does: copies of a message, each with a UUID for `own_id`."""
    parts = [
        frame.Method(1, spec.Basic.Publish(exchange="", routing_key=queue, mandatory=True)),
        frame.Header(1, len(body), original),
        frame.Body(1, body),
    ]
    message = b"".join(part.marshal() for part in parts)
    return _joined([message.replace(own_id.encode(), str(uuid.uuid4()).encode()) for _ in range(count)])


def _joined(messages: list[bytes]) -> tuple[bytes, list[int]]:
    return b"".join(messages), list(accumulate(map(len, messages)))


@lru_cache
def _header(size: int) -> bytes:
    return bytes(frame.Header(1, size, properties(_ID.decode())).marshal())


def properties(message_id: str) -> pika.BasicProperties:
    """Return what rqtool writes on each message."""
    return pika.BasicProperties(app_id="rqtool", delivery_mode=2, message_id=message_id, timestamp=int(time.time()))
