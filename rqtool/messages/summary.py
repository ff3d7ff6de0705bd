"""The dead tasks of a queue, summed up. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from rqtool.messages.listing import DeadTask, iso, seconds_since, short_age
from rqtool.text import SHOWN, printable

SAMPLE = 100
"""How many tasks of a queue are read, the oldest ones: reading all would take long."""
REASONS = 3
SUMMARY_COLUMNS = ("queue", "tasks", "oldest", "reasons", "sampled")


@dataclass(frozen=True, slots=True)
class Summary:
    """The number of `tasks` in a dead queue. From the `sampled` oldest ones come the time at which the first one
    `failed_at` (None: unknown), and the most frequent reasons with their counts.
    """

    queue: str
    tasks: int
    sampled: int
    failed_at: datetime | None
    reasons: Sequence[tuple[str, int]]

    @property
    def why(self) -> str:
        return ", ".join(f"{reason} ({number:,})" for reason, number in self.reasons)

    def age(self, now: datetime) -> str:
        return short_age(seconds_since(self.failed_at, now))


def sum_up(queue: str, tasks: int, sample: Sequence[DeadTask]) -> Summary:
    reasons = Counter(task.reason[:SHOWN] or "unknown" for task in sample)
    failed_at = min((task.failed_at for task in sample if task.failed_at), default=None)
    return Summary(queue, tasks, len(sample), failed_at, reasons.most_common(REASONS))


def summaries_as_lines(summaries: Sequence[Summary], now: datetime) -> str:
    """Return a line per queue, after a header line."""
    rows = [(each.queue, str(each.tasks), each.age(now), each.why, str(each.sampled)) for each in summaries]
    return "".join("\t".join(map(printable, row)) + "\n" for row in (SUMMARY_COLUMNS, *rows))


def summaries_as_json(summaries: Sequence[Summary], now: datetime) -> str:
    """Return an array with an object per queue."""
    objects = [
        {
            "queue": each.queue,
            "tasks": each.tasks,
            "oldest_failed_at": iso(each.failed_at),
            "oldest_age_seconds": seconds_since(each.failed_at, now),
            "reasons": [{"reason": reason, "tasks": number} for reason, number in each.reasons],
            "sampled": each.sampled,
        }
        for each in summaries
    ]
    return json.dumps(objects) + "\n"
