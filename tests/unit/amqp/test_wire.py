"""Frames as they are written and read: byte for byte what pika makes of them, wherever the network cuts the stream."""

from __future__ import annotations

from collections.abc import Iterator

import pika
import pika.amqp_object
import pika.frame
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp.message import Envelope, Sealer
from rqtool.amqp.window import Message
from rqtool.amqp.wire import FrameReader, PublishEncoder, RawDelivery

CHANNELS = {1, 3}
FRAME = 4096


def frames(stream: bytes) -> Iterator[pika.frame.Frame]:
    """The frames that pika reads."""
    while stream:
        size, frame = pika.frame.decode_frame(stream)
        assert isinstance(frame, pika.frame.Frame)
        stream = stream[size:]
        yield frame


def encoded(queue: str, channel: int, message: Message) -> bytes:
    pieces: list[bytes] = []
    size = PublishEncoder(queue, channel, FRAME).encode(message, pieces)
    data = b"".join(pieces)
    assert len(data) == size
    return data


@given(st.integers(0, 3 * FRAME), st.text(min_size=1, max_size=50), st.integers(1, 65535))
def test_publishes_as_pika_writes_them(size: int, queue: str, channel: int) -> None:
    """A method frame, a header, and the body in as many frames as it needs."""
    body = bytes(n % 256 for n in range(size))
    data = encoded(queue, channel, Sealer(Envelope(headers={"k": "v"})).seal(0, body))
    method, header, *rest = frames(data)
    assert isinstance(method, pika.frame.Method)
    assert isinstance(header, pika.frame.Header)
    assert (method.method.routing_key, method.method.exchange, method.method.mandatory) == (queue, "", True)
    assert b"".join(frame.fragment for frame in rest if isinstance(frame, pika.frame.Body)) == body
    assert all(len(frame.marshal()) <= FRAME for frame in rest)
    assert b"".join(frame.marshal() for frame in (method, header, *rest)) == data


@pytest.mark.parametrize(("size", "count"), [(0, 2), (FRAME - 8, 3), (FRAME - 7, 4)])
def test_a_body_that_just_fits(size: int, count: int) -> None:
    """An empty body has no frame; one byte too many makes a second one."""
    assert len(list(frames(encoded("q", 1, Message(0, "id", b"x" * size, b"\0\0"))))) == count


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
    reader, start = FrameReader(CHANNELS), 0
    items: list[RawDelivery | pika.frame.Frame] = []
    while start < len(stream):
        for cut in cuts:
            items += reader.feed(stream[start : start + cut])
            start += cut
    assert [line for item in items for line in described(item)] == [
        line for frame in frames(stream) for line in described(frame)
    ]
    assert all(item.channel in CHANNELS for item in items if isinstance(item, RawDelivery))


def described(item: RawDelivery | pika.frame.Frame) -> list[object]:
    """What an item says, frame by frame."""
    if isinstance(item, RawDelivery):
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
    [arrived] = FrameReader({1}).feed(data)
    assert isinstance(arrived, RawDelivery)
    assert (arrived.channel, arrived.tag, arrived.redelivered, arrived.body) == (1, 5, True, b"x" * size)
