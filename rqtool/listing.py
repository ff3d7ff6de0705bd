"""Queues for programs: tab-separated, as rabbitmqctl prints them, and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from rqtool.text import printable

if TYPE_CHECKING:
    from rqtool.management import Queue

COLUMNS = ("name", "messages_ready", "messages_unacknowledged", "consumers", "state", "type")


def as_lines(queues: Sequence[Queue], *, vhosts: bool) -> Iterator[str]:
    """A header line, then a line per queue. An empty field: not known. Control characters in names are spelled out."""
    columns = (*COLUMNS, "vhost") if vhosts else COLUMNS
    yield "\t".join(columns)
    for queue in queues:
        values = asdict(queue)
        yield "\t".join("" if values[c] is None else printable(str(values[c])) for c in columns)


def as_json(queues: Sequence[Queue]) -> str:
    """An array with an object per queue, its keys those of `management.Queue`."""
    return json.dumps([asdict(queue) for queue in queues])
