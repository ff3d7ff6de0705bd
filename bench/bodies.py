"""The tasks that everybody sends and works off."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

LONG = 10_000
"""Bytes."""


def short(count: int) -> Iterator[bytes]:
    """Lines as a shell would send them, 38 bytes each, without their ends."""
    return (b"a task of some length, number %08d" % number for number in range(count))


def long(count: int) -> Iterator[bytes]:
    """Lines of LONG bytes."""
    return ((b"%08d " % number).ljust(LONG, b"x") for number in range(count))


def write(path: Path, bodies: Iterator[bytes]) -> Path:
    """Write one task per line."""
    with path.open("wb") as file:
        file.writelines(body + b"\n" for body in bodies)
    return path


def read(path: Path, count: int) -> list[bytes]:
    """Return the first `count` tasks of a file."""
    with path.open("rb") as file:
        return [line.rstrip(b"\n") for line, _ in zip(file, range(count), strict=False)]
