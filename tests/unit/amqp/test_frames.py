"""Publishes as they are written: byte for byte what pika would write."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from unittest.mock import patch

import pika
import pika.frame
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp import tables as fields
from rqtool.amqp.frames import Publishes
from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.window import Message

fields.install()

FRAME = 4096


def encoded(publishes: Publishes, message: Message) -> bytes:
    pieces: list[bytes] = []
    size = publishes.encode(message, pieces)
    data = b"".join(pieces)
    assert len(data) == size
    return data


def decoded(data: bytes) -> Iterator[pika.frame.Frame]:
    while data:
        size, frame = pika.frame.decode_frame(data)
        assert isinstance(frame, pika.frame.Frame)
        data = data[size:]
        yield frame


@given(st.integers(0, 3 * FRAME), st.text(min_size=1, max_size=50), st.integers(1, 65535))
def test_the_frames_that_pika_writes(size: int, queue: str, channel: int) -> None:
    body = bytes(n % 256 for n in range(size))
    message = Sealer(Envelope(headers={"k": "v"})).seal(0, body)
    data = encoded(Publishes(queue, channel, FRAME), message)
    method, header, *rest = decoded(data)
    assert isinstance(method, pika.frame.Method)
    assert isinstance(header, pika.frame.Header)
    assert (method.method.routing_key, method.method.exchange, method.method.mandatory) == (queue, "", True)
    assert b"".join(frame.fragment for frame in rest if isinstance(frame, pika.frame.Body)) == body
    assert all(len(frame.marshal()) <= FRAME for frame in rest)
    assert b"".join(frame.marshal() for frame in (method, header, *rest)) == data


def test_frames_that_just_fit() -> None:
    for size, frames in ((0, 2), (FRAME - 8, 3), (FRAME - 7, 4)):
        data = encoded(Publishes("q", 1, FRAME), Message(0, "id", b"x" * size, b"\0\0"))
        assert len(list(decoded(data))) == frames


@given(
    st.builds(
        Envelope,
        transient=st.booleans(),
        priority=st.none() | st.integers(0, 255),
        headers=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3),
        content_type=st.none() | st.text(max_size=9),
        ttl=st.none() | st.floats(0, 1e6),
    ),
    st.integers(0, 16**12 - 1),
)
def test_an_envelope(envelope: Envelope, position: int) -> None:
    message = Sealer(envelope).seal(position, b"body")
    properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
    properties.decode(message.properties)  # type: ignore[no-untyped-call]
    assert properties.message_id == message.token
    assert uuid.UUID(message.token).version == 4
    assert properties.app_id == "rqtool"
    assert properties.delivery_mode == (1 if envelope.transient else 2)
    assert (properties.headers or {}) == envelope.headers
    assert (properties.content_type or None) == (envelope.content_type or None)
    assert properties.priority == envelope.priority
    assert properties.expiration == (None if envelope.ttl is None else str(round(envelope.ttl * 1000)))


def test_each_second_has_its_timestamp() -> None:
    sealer = Sealer(Envelope())
    times = []
    for now in (1_700_000_000.2, 1_700_000_000.9, 1_700_000_001.0):
        with patch("time.time", return_value=now):
            properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
            properties.decode(sealer.seal(0, b"").properties)  # type: ignore[no-untyped-call]
            times.append(properties.timestamp)
    assert times == [1_700_000_000, 1_700_000_000, 1_700_000_001]


def test_ids_are_unique_over_runs() -> None:
    first, second = Sealer(Envelope()), Sealer(Envelope())
    assert len({sealer.seal(n, b"").token for sealer in (first, second) for n in range(1000)}) == 2000
