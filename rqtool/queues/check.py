"""A snapshot of queues as one line and an exit code for Nagios, Icinga and compatible monitors. Pure.

https://www.monitoring-plugins.org/doc/guidelines.html: a threshold is passed by what is greater than it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from rqtool.queues.diagnosis import STUCK, VERDICTS, Diagnosis, Verdict
from rqtool.text import plural, printable


class Status(IntEnum):
    """The exit code of a plug-in."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_SEVERITY = (Status.OK, Status.UNKNOWN, Status.WARNING, Status.CRITICAL)
"""From good to bad: a known problem is worse than an unknown."""
_STATUS: dict[Verdict, Status] = {
    "down": Status.CRITICAL,
    "may drop tasks": Status.WARNING,
    "not durable": Status.WARNING,
    "no consumers": Status.WARNING,
    "unknown": Status.UNKNOWN,
}
"""Other verdicts count by their figures."""
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The highest figure that is still OK, by metric; for all queues together. No entry: no limit."""

    warn: Mapping[str, int] = field(default_factory=dict)
    crit: Mapping[str, int] = field(default_factory=dict)

    def status(self, metric: str, value: int) -> Status:
        if value > self.crit.get(metric, math.inf):
            return Status.CRITICAL
        return Status.WARNING if value > self.warn.get(metric, math.inf) else Status.OK


@dataclass(frozen=True, slots=True)
class Check:
    """The result. `performance`: the figures for machines."""

    status: Status
    text: str
    performance: str = ""

    @property
    def line(self) -> str:
        """All that is printed. Its first | ends the text for people."""
        line = f"RQTOOL {self.status.name}: {printable(self.text).replace('|', '/')}"
        return f"{line} | {self.performance}" if self.performance else line


def check(diagnoses: Sequence[Diagnosis], thresholds: Thresholds, names: Collection[str], unseen: str) -> Check:
    """Judge a snapshot. `names`: the queues asked for, or empty for all; `diagnoses` may include their dead queues
    too, which count as dead alone. `unseen`: what could not be seen, or empty.
    """
    asked = [each for each in diagnoses if not names or each.queue.name in names]
    dead = [each for each in diagnoses if each.queue.name.endswith(".dead")]
    values = {
        "ready": sum(each.queue.ready for each in asked if each not in dead),
        "held": sum(each.queue.held for each in asked),
        "stuck": sum(each.stuck for each in asked),
        "dead": sum(each.queue.ready for each in dead),
    }
    statuses = [thresholds.status(metric, value) for metric, value in values.items()]
    worst_first = sorted(asked, key=lambda each: VERDICTS.index(each.verdict))
    texts = [text for each in worst_first if (text := _trouble(each))]
    texts += [f"{each.queue.name}: {each.reason}" for each in dead if each.queue.ready and each not in asked]
    statuses += [_STATUS.get(finding.verdict, Status.OK) for each in asked for finding in each.findings]
    for name in sorted(set(names) - {each.queue.name for each in asked}):
        statuses.append(Status.UNKNOWN)
        texts.append(f"there is no queue {name!r}")
    if unseen and values["held"] and not values["stuck"]:
        statuses.append(Status.UNKNOWN)
        texts.append(unseen)
    status = max(statuses, key=_SEVERITY.index)
    shown = texts[:MOST_NAMED] + ([f"and {len(texts) - MOST_NAMED} more"] if len(texts) > MOST_NAMED else [])
    unsure = {"ready", "held", "dead"} if any(each.queue.messages_ready is None for each in diagnoses) else set()
    figures = {metric: None if metric in unsure else value for metric, value in values.items()}
    counts = [f"{'?' if figure is None else f'{figure:,}'} {metric}" for metric, figure in figures.items()]
    text = ". ".join([*shown, ", ".join([plural(len(asked), "queue"), *counts])])
    return Check(status, text, _performance(figures, thresholds))


def _trouble(diagnosis: Diagnosis) -> str:
    troubles = [
        each.reason if each.verdict in STUCK else f"{each.verdict}, {each.reason}"
        for each in diagnosis.findings
        if each.verdict not in ("ok", "working")
    ]
    return f"{diagnosis.queue.name}: {'; '.join(troubles)}" if troubles else ""


def _performance(figures: Mapping[str, int | None], thresholds: Thresholds) -> str:
    """U is an unknown figure."""
    return " ".join(
        f"{metric}={'U' if figure is None else figure};{thresholds.warn.get(metric, '')};"
        f"{thresholds.crit.get(metric, '')};0"
        for metric, figure in figures.items()
    )
