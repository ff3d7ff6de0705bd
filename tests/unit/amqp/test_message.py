"""The properties of the messages that `send` makes."""

from __future__ import annotations

import uuid

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp.message import Envelope, Sealer


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


def test_each_second_has_its_timestamp(monkeypatch: pytest.MonkeyPatch) -> None:
    sealer = Sealer(Envelope())
    times = []
    for now in (1_700_000_000.2, 1_700_000_000.9, 1_700_000_001.0):
        monkeypatch.setattr("time.time", lambda now=now: now)
        properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
        properties.decode(sealer.seal(0, b"").properties)  # type: ignore[no-untyped-call]
        times.append(properties.timestamp)
    assert times == [1_700_000_000, 1_700_000_000, 1_700_000_001]


def test_ids_are_unique_over_runs() -> None:
    first, second = Sealer(Envelope()), Sealer(Envelope())
    assert len({sealer.seal(n, b"").token for sealer in (first, second) for n in range(1000)}) == 2000
