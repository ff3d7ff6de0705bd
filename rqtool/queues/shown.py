"""Which queues are shown: those that were asked for, without those beside them that say nothing. Pure."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from rqtool.management.fields import Row
from rqtool.management.queue import Key, Queue, key_of
from rqtool.topology import WAITS, Kind, homes, new_marker, quarantine, with_returned

_WILD = re.compile(r"\*|\?|\[(?:!.|[^!])[^\]]*\]", re.DOTALL)
"""What fnmatch does not take literally."""


def with_consumers(queues: Sequence[Queue], consumers: Sequence[Row]) -> list[Queue]:
    """The queues with the number of their consumers. The workers of a queue poll its quarantine too."""
    counts = Counter(key_of(row.get("queue")) for row in consumers)
    counts.update({(vhost, quarantine(home).name): count for (vhost, home), count in counts.items()})
    return [replace(queue, consumers=counts[queue.key]) for queue in queues]


def shown(queues: Sequence[Queue]) -> list[Queue]:
    """Leave out the queues that rqtool keeps beside another one if they tell users nothing: the marker of a new queue,
    and empty queues for failed, delayed, returned or dead tasks. Also leave out a wait queue until its first report
    (until then the `waiting` of its queue is unknown), and the others while they are marked as new: the first worker of
    a queue must not raise an alarm.
    """
    keys = {queue.key for queue in queues}

    def says_nothing(queue: Queue, home: str, kind: Kind) -> bool:
        is_silent = _is_silent(queue) and (kind in WAITS or (queue.vhost, new_marker(home)) in keys)
        return kind == "new" or queue.messages == 0 or is_silent

    return [
        queue
        for queue in queues
        if not any(
            (queue.vhost, home) in keys and (queue.delays or kind not in WAITS) and says_nothing(queue, home, kind)
            for home, kind in homes(queue.name)
        )
    ]


def _is_silent(queue: Queue) -> bool:
    """Whether it has not reported yet, although it is not down."""
    return queue.messages_ready is None and queue.state in (None, "running")


def with_waiting(queues: Sequence[Queue]) -> list[Queue]:
    """The queues, each with the number of its delayed messages and those waiting for a retry."""
    keys = {queue.key for queue in queues}
    counts: defaultdict[Key, list[int | None]] = defaultdict(list)
    for queue in queues:
        if (home := _waits_for(queue, keys)) is not None:
            counts[home].append(queue.messages)
    known = {home: sum(filter(None, each)) for home, each in counts.items() if None not in each}
    return [replace(queue, waiting=known.get(queue.key) if queue.key in counts else 0) for queue in queues]


def _waits_for(queue: Queue, keys: Collection[Key]) -> Key | None:
    """The queue to which rqtool sends what waits in this one."""
    found = [(queue.vhost, home) for home, kind in homes(queue.name) if kind in WAITS] if queue.delays else []
    return next((key for key in found if key in keys), None)


def selects(patterns: Collection[str], name: str) -> bool:
    """Whether one of these names equals, or one of these globs matches, this name."""
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def unmatched(patterns: Collection[str], names: Collection[str]) -> list[str]:
    """The patterns that select none of these names."""
    return [pattern for pattern in dict.fromkeys(patterns) if not any(selects([pattern], name) for name in names)]


def is_glob(pattern: str) -> bool:
    return _WILD.search(pattern) is not None


def named(queues: Sequence[Queue], names: Collection[str]) -> list[Queue]:
    """The queues with these names, and those for tasks that came back unless they are empty."""
    family = with_returned(names)
    return [queue for queue in queues if queue.name in names or (queue.messages and queue.name in family)]
