"""The broker's stream, cut wherever the network cuts it: nothing lost, nothing changed, all in order."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pika.amqp_object
import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp.reading import Arrived, Reader

CHANNELS = {1, 3}


def content(channel: int, tag: int, redelivered: bool, body: bytes, cut: int, *, got: bool = False) -> bytes:
    """A delivery, or the answer to basic.get, in body frames of at most `cut` bytes."""
    method: pika.amqp_object.Method
    if got:
        method = pika.spec.Basic.GetOk(tag, redelivered, "", "q", 0)  # type: ignore[no-untyped-call]
    else:
        method = pika.spec.Basic.Deliver("ctag1." + "x" * (tag % 50), tag, redelivered, "", "q")  # type: ignore[no-untyped-call]
    properties = pika.BasicProperties(message_id=str(tag), headers={"k": str(tag)})  # type: ignore[no-untyped-call]
    parts = [pika.frame.Method(channel, method), pika.frame.Header(channel, len(body), properties)]
    parts += [pika.frame.Body(channel, body[start : start + cut]) for start in range(0, len(body), cut)]
    return b"".join(frame.marshal() for frame in parts)


PIECES = st.one_of(
    st.tuples(
        st.integers(1, 4),
        st.integers(1, 2**63),
        st.booleans(),
        st.binary(max_size=300),
        st.sampled_from([100, 400]),
        st.booleans(),
    ),
    st.sampled_from(["heartbeat", "ack", "close"]),
)


def other(kind: str) -> bytes:
    if kind == "heartbeat":
        return pika.frame.Heartbeat().marshal()
    if kind == "ack":
        return pika.frame.Method(1, pika.spec.Basic.Ack(7, True)).marshal()  # type: ignore[no-untyped-call]
    return pika.frame.Method(2, pika.spec.Channel.Close(404, "gone", 0, 0)).marshal()  # type: ignore[no-untyped-call]


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(1, 400), min_size=1))
def test_as_pika_reads_it(pieces: list[str | tuple[int, int, bool, bytes, int, bool]], cuts: list[int]) -> None:
    """However it is cut, and whatever stands between: what pika would make of it, in the same order."""
    stream = b"".join(other(piece) if isinstance(piece, str) else content(*piece[:5], got=piece[5]) for piece in pieces)
    reader, start = Reader(CHANNELS), 0
    items: list[Arrived | pika.frame.Frame] = []
    while start < len(stream):
        for cut in cuts:
            items += reader.feed(stream[start : start + cut])
            start += cut
    assert [line for item in items for line in told(item)] == [line for frame in frames(stream) for line in told(frame)]
    assert all(item.channel in CHANNELS for item in items if isinstance(item, Arrived))


def frames(stream: bytes) -> Iterator[pika.frame.Frame]:
    while stream:
        size, frame = pika.frame.decode_frame(stream)
        assert isinstance(frame, pika.frame.Frame)
        stream = stream[size:]
        yield frame


def told(item: Arrived | pika.frame.Frame) -> list[object]:
    """What an item says, frame by frame."""
    if isinstance(item, Arrived):
        properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
        properties.decode(item.properties)  # type: ignore[no-untyped-call]
        said: list[object] = [
            (item.channel, item.tag, item.redelivered),
            pika.frame.Header(item.channel, len(item.body), properties).marshal(),
        ]
        return said + ([pika.frame.Body(item.channel, item.body).marshal()] if item.body else [])
    if isinstance(item, pika.frame.Method) and isinstance(item.method, pika.spec.Basic.Deliver):
        return [(item.channel_number, item.method.delivery_tag, item.method.redelivered)]
    return [item.marshal()]


@pytest.mark.parametrize("size", [0, 1, 4000])
def test_a_whole_delivery_is_read_at_once(size: int) -> None:
    data = content(1, 5, True, b"x" * size, 5000)
    [arrived] = Reader({1}).feed(data)
    assert isinstance(arrived, Arrived)
    assert (arrived.channel, arrived.tag, arrived.redelivered, arrived.body) == (1, 5, True, b"x" * size)
