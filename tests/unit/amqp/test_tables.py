"""Properties as other programs write them: read whatever they hold, and written again as they came."""

from __future__ import annotations

import math
import struct
from datetime import UTC, datetime
from typing import Any

import pika
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp import tables as fields
from rqtool.amqp.headers import COPY
from rqtool.amqp.message import copied
from tests.foreign import Raw, header, long, nested, properties, timestamp

fields.install()

SCALARS = st.one_of(
    st.binary(max_size=9).map(lambda value: b"S" + long(value)),
    st.binary(max_size=9).map(lambda value: b"x" + long(value)),
    st.integers(0, 2**64 - 1).map(timestamp),
    st.floats(width=64).map(lambda value: b"d" + struct.pack(">d", value)),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: b"I" + struct.pack(">i", value)),
    st.just(b"V"),
    st.booleans().map(lambda value: b"t" + bytes([value])),
)
NAMES = st.binary(max_size=9)
VALUES = st.recursive(
    SCALARS,
    lambda values: st.one_of(
        st.lists(values, max_size=3).map(lambda inner: b"A" + long(b"".join(inner))),
        st.dictionaries(NAMES, values, max_size=3).map(lambda inner: b"F" + long(_table(inner))),
    ),
)


def _table(entries: dict[bytes, bytes]) -> bytes:
    return b"".join(header(name, value) for name, value in entries.items())


def _read(raw: Raw) -> pika.BasicProperties:
    found = pika.BasicProperties()  # type: ignore[no-untyped-call]
    found.decode(raw.encode()[0])  # type: ignore[no-untyped-call]
    return found


def _value(encoded: bytes) -> Any:
    return (_read(properties(header(b"n", encoded))).headers or {})["n"]


@given(st.dictionaries(NAMES, VALUES, max_size=4), st.binary(min_size=1, max_size=255))
def test_what_is_read_is_written_as_it_was(table: dict[bytes, bytes], message_id: bytes) -> None:
    """Bit by bit, whatever the types, and though names, texts and ids are no UTF-8; and those are always text."""
    raw = properties(_table(table), message_id)
    found = _read(raw)
    assert isinstance(found.message_id, str)
    assert all(isinstance(name, str) for name in found.headers or {})
    assert b"".join(found.encode()) == raw.encode()[0]  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", [b"F", b"A"])
@pytest.mark.parametrize("depth", [1, fields.DEEPEST, fields.DEEPEST + 1, 900, 12_000])
def test_depth_has_no_limit(kind: bytes, depth: int) -> None:
    """Far beyond what recursion can read or write; the first layers can be looked into."""
    raw = properties(header(b"n", nested(depth, kind)))
    found = _read(raw)
    assert b"".join(found.encode()) == raw.encode()[0]  # type: ignore[no-untyped-call]
    value, layers = (found.headers or {})["n"], 0
    while isinstance(value, dict | list):
        value, layers = (value["k"] if isinstance(value, dict) else value[0]), layers + 1
    assert layers == min(depth, fields.DEEPEST)


def test_values_are_what_they_mean() -> None:
    """Fractions are not cut off, and a timestamp is a date where there is such a date."""
    assert _value(b"d" + struct.pack(">d", -1.5)) == -1.5
    assert _value(b"f" + struct.pack(">f", 0.25)) == 0.25
    assert math.isnan(_value(b"d" + struct.pack(">d", math.nan)))
    assert _value(timestamp(253_402_300_799)) == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert _value(timestamp(253_402_300_800)) == fields.RawValue(timestamp(253_402_300_800))
    assert _value(b"S" + long("€".encode())) == "€"
    assert _value(b"S" + long(b"\xff")) == "\udcff"
    assert _value(b"A" + long(b"t\1V")) == [True, None]


@given(st.dictionaries(st.text("abc\xff", max_size=5), st.text(max_size=40), max_size=8), st.integers(300, 600))
def test_a_copy_fits_into_a_frame(sent: dict[str, str], frame: int) -> None:
    """The sender's largest headers are left out first, no more of them than need be, and never what counts attempts."""
    original = pika.BasicProperties(message_id="m" * 50, content_type="c" * 50)  # type: ignore[no-untyped-call]
    properties = pika.BasicProperties()  # type: ignore[no-untyped-call]
    properties.decode(copied(original, b"body", sent | {"x-rqtool-attempts": 2}, frame).properties)  # type: ignore[no-untyped-call]

    def size() -> int:
        return 8 + 12 + len(b"".join(properties.encode()))  # type: ignore[no-untyped-call]

    assert size() <= frame
    assert properties.headers["x-rqtool-attempts"] == 2
    assert COPY in properties.headers
    left_out = {name: value for name, value in sent.items() if name not in properties.headers}
    if left_out:
        smallest = min(left_out, key=lambda name: fields.size({name: left_out[name]}))
        assert all(
            fields.size({name: sent[name]}) <= fields.size({smallest: sent[smallest]})
            for name in sent
            if name not in left_out
        )
        properties.headers[smallest] = sent[smallest]
        assert size() > frame
