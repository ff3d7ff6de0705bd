"""Messages as no client library writes them: properties made of bytes, as the protocol allows them."""

from __future__ import annotations

import struct

import pika

HEADERS, MESSAGE_ID = 1 << 13, 1 << 7
"""The flags of the properties used here, in the order in which they come: AMQP 0-9-1, class basic."""


class Raw(pika.BasicProperties):
    """Properties that a plain pika sends as they are."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._encoded = encoded

    def encode(self) -> list[bytes]:
        return [self._encoded]


def properties(table: bytes = b"", message_id: bytes = b"") -> Raw:
    """Headers from the entries of their table, and a message id where one is given."""
    flags = HEADERS | (MESSAGE_ID if message_id else 0)
    return Raw(struct.pack(">H", flags) + long(table) + (short(message_id) if message_id else b""))


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def long(content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + content


def header(name: bytes, value: bytes) -> bytes:
    """An entry of a table; the value begins with its type."""
    return short(name) + value


def timestamp(seconds: int) -> bytes:
    return b"T" + struct.pack(">Q", seconds)


def nested(depth: int, kind: bytes) -> bytes:
    """Tables (F) or arrays (A) within each other."""
    value = b"V"
    for _ in range(depth):
        value = kind + long(header(b"k", value) if kind == b"F" else value)
    return value
