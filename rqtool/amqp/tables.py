"""Decodes and encodes AMQP's tables and short strings so that everything that other programs write survives a copy.

pika 1.4 ends the connection over a timestamp after the year 9999, or over tables nested some hundred deep: the broker
would deliver that message again and again, and block everything behind it. pika also decodes 1.5 as 1, and text that is
not UTF-8 as bytes, which no later code expects. So its functions are replaced here.

Types of fields: https://www.rabbitmq.com/docs/amqp-0-9-1-errata#section_3
"""

from __future__ import annotations

import struct
from typing import Any

from pika import data

DEEPEST = 30
"""Levels of nested tables that are decoded: far below Python's recursion limit."""


class RawValue(bytes):
    """An encoded value with its type, which is not decoded and goes into copies unchanged."""


def install() -> None:
    """Replace pika's functions for all properties. Twice is harmless."""
    data.decode_table = _read_table
    data.decode_short_string = _read_short_string
    data.encode_value = _write_value
    data.as_bytes = _as_bytes  # type: ignore[attr-defined]


def size(table: dict[str, Any]) -> int:
    """The encoded size of the entries of a table, in bytes."""
    return data.encode_table([], table) - _LENGTH.size


_pika_reads_value, _pika_writes_value = data.decode_value, data.encode_value
_LENGTH = struct.Struct(">I")
_FLOATS = {b"f": struct.Struct(">f"), b"d": struct.Struct(">d")}


def _read_table(encoded: bytes, offset: int, depth: int = 0) -> tuple[dict[Any, Any], int]:
    end = _end(encoded, offset)
    offset += _LENGTH.size
    table = {}
    while offset < end:
        name, offset = _read_short_string(encoded, offset)
        table[name], offset = _read_value(encoded, offset, depth)
    return table, offset


def _read_array(encoded: bytes, offset: int, depth: int) -> tuple[list[Any], int]:
    end = _end(encoded, offset)
    offset += _LENGTH.size
    array = []
    while offset < end:
        value, offset = _read_value(encoded, offset, depth)
        array.append(value)
    return array, offset


def _read_value(encoded: bytes, offset: int, depth: int) -> tuple[Any, int]:
    kind, start = encoded[offset : offset + 1], offset + 1
    if kind in _FLOATS:
        return _FLOATS[kind].unpack_from(encoded, start)[0], start + _FLOATS[kind].size
    if kind == b"S":
        return _text(encoded[start + _LENGTH.size : _end(encoded, start)]), _end(encoded, start)
    if kind in (b"A", b"F"):
        if depth == DEEPEST:
            return RawValue(encoded[offset : _end(encoded, start)]), _end(encoded, start)
        return (_read_array if kind == b"A" else _read_table)(encoded, start, depth + 1)
    try:
        return _pika_reads_value(encoded, offset)
    except (ValueError, OverflowError, OSError):
        if kind != b"T":
            raise
        return RawValue(encoded[offset : start + 8]), start + 8


def _end(encoded: bytes, offset: int) -> int:
    """The end of a value whose length is at `offset`."""
    return offset + _LENGTH.size + int(_LENGTH.unpack_from(encoded, offset)[0])


def _read_short_string(encoded: bytes, offset: int) -> tuple[str, int]:
    end = offset + 1 + encoded[offset]
    return _text(encoded[offset + 1 : end]), end


def _text(encoded: bytes) -> str:
    """Bytes that are not UTF-8 become surrogates, as in Python's file names, and bytes again in a copy."""
    return encoded.decode("utf-8", "surrogateescape")


def _write_value(pieces: list[bytes], value: Any) -> int:
    if isinstance(value, RawValue):
        pieces.append(value)
        return len(value)
    if isinstance(value, float):
        pieces.append(b"d" + _FLOATS[b"d"].pack(value))
        return len(pieces[-1])
    return _pika_writes_value(pieces, value)


def _as_bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
