"""The benchmark's own AMQP frames: what pika reads of them, and what is read of the broker's acks."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

import pika
import pytest
from pika import frame, spec

from bench.peers.confirms import Confirms
from bench.peers.frames import copies, count_acks, encoded


def _messages(frames: bytes, ends: list[int]) -> list[tuple[Any, pika.BasicProperties, bytes]]:
    """What each message's three frames say."""
    found = []
    for start, end in pairwise([0, *ends]):
        rest, parts = frames[start:end], []
        while rest:
            size, part = frame.decode_frame(rest)
            rest = rest[size:]
            parts.append(part)
        method, header, body = parts
        assert isinstance(method, frame.Method)
        assert isinstance(header, frame.Header)
        assert isinstance(body, frame.Body)
        assert header.body_size == len(body.fragment)
        found.append((method.method, header.properties, body.fragment))
    return found


def test_messages_are_encoded_as_rqtool_sends_them() -> None:
    """Mandatory, persistent, each with an id of its own."""
    messages = _messages(*encoded("letters", [b"a", b"bcd", b"e"]))
    assert [body for _, _, body in messages] == [b"a", b"bcd", b"e"]
    assert {(method.routing_key, method.exchange, method.mandatory) for method, _, _ in messages} == {
        ("letters", "", True)
    }
    assert {(properties.delivery_mode, properties.app_id) for _, properties, _ in messages} == {(2, "rqtool")}
    assert len({uuid.UUID(properties.message_id) for _, properties, _ in messages}) == 3


def test_copies_have_ids_of_their_own() -> None:
    """In the properties and in the body alike, and nothing else differs."""
    own = str(uuid.uuid4())
    original = pika.BasicProperties(correlation_id=own, headers={"id": own, "kind": "x"})  # type: ignore[no-untyped-call]
    messages = _messages(*copies("letters", f"<{own}>".encode(), original, own, 2))
    ids = [str(properties.correlation_id) for _, properties, _ in messages]
    assert len({own, *ids}) == 3
    assert [body for _, _, body in messages] == [f"<{new}>".encode() for new in ids]
    assert [properties.headers for _, properties, _ in messages] == [{"id": new, "kind": "x"} for new in ids]


def _ack(tag: int, *, multiple: bool = False) -> bytes:
    ack = spec.Basic.Ack(delivery_tag=tag, multiple=multiple)  # type: ignore[no-untyped-call]
    return bytes(frame.Method(1, ack).marshal())


def test_acks_come_in_pieces() -> None:
    """The beginning of a frame waits for its end."""
    confirms = Confirms(10)
    received = _ack(2) + _ack(5, multiple=True) + _ack(7)
    left = count_acks(received[:-3], confirms)
    assert confirms.settled == 5
    assert count_acks(left + received[-3:], confirms) == b""
    assert confirms.settled == 6


def test_anything_but_an_ack_ends_it() -> None:
    """A nack is no rate."""
    nack = spec.Basic.Nack(delivery_tag=1)  # type: ignore[no-untyped-call]
    with pytest.raises(RuntimeError, match="method 120 of class 60"):
        count_acks(bytes(frame.Method(1, nack).marshal()), Confirms(1))
