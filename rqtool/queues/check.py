"""A look at queues as one line and an exit code for Nagios, Icinga and whatever speaks their language. Pure.

https://www.monitoring-plugins.org/doc/guidelines.html: a threshold is passed by what is greater than it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from rqtool.queues.diagnosis import STUCK, VERDICTS, Diagnosis, Verdict
from rqtool.text import plural, printable

METRICS = ("ready", "held", "stuck", "dead")


class Status(IntEnum):
    """What a plug-in ends with."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_SEVERITY = (Status.OK, Status.UNKNOWN, Status.WARNING, Status.CRITICAL)
"""A known trouble is worse than something that could not be looked at."""
_WARNINGS: set[Verdict] = {"may drop tasks", "not durable", "no consumers"}
MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The highest figure that is still all right, by metric; for all queues together. No entry: no limit."""

    warn: Mapping[str, int] = field(default_factory=dict)
    crit: Mapping[str, int] = field(default_factory=dict)

    def status(self, metric: str, value: int) -> Status:
        if metric in self.crit and value > self.crit[metric]:
            return Status.CRITICAL
        if metric in self.warn and value > self.warn[metric]:
            return Status.WARNING
        return Status.OK


@dataclass(frozen=True, slots=True)
class Check:
    """The result: `line` is all that is printed."""

    status: Status
    line: str


def check(diagnoses: Sequence[Diagnosis], thresholds: Thresholds, names: Collection[str], unseen: str) -> Check:
    """Judge a look. `names`: the queues that were asked for, or empty for all; those beside them in which their dead
    tasks are may be among `diagnoses`, and count as dead alone. `unseen`: what could not be seen, or empty.
    """
    asked = [each for each in diagnoses if not names or each.queue.name in names]
    dead = [each for each in diagnoses if each.queue.name.endswith(".dead")]
    values = {
        "ready": sum(each.sight.ready for each in asked if each not in dead),
        "held": sum(each.sight.held for each in asked),
        "stuck": sum(each.stuck for each in asked),
        "dead": sum(each.sight.ready for each in dead),
    }
    statuses = [thresholds.status(metric, value) for metric, value in values.items()]
    worst_first = sorted(asked, key=lambda each: VERDICTS.index(each.verdict))
    texts = [text for each in worst_first if (text := _trouble(each))]
    texts += [f"{each.queue.name}: {each.reason}" for each in dead if each.sight.ready and each not in asked]
    if any(each.verdict == "down" for each in asked):
        statuses.append(Status.CRITICAL)
    found = {finding.verdict for each in asked for finding in each.findings}
    if found & _WARNINGS:
        statuses.append(Status.WARNING)
    if "unknown" in found:
        statuses.append(Status.UNKNOWN)
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
    return Check(status, _line(status, text, _performance(figures, thresholds)))


def unknown(why: str) -> Check:
    """Where there was nothing to look at."""
    return Check(Status.UNKNOWN, _line(Status.UNKNOWN, why, ""))


def _trouble(diagnosis: Diagnosis) -> str:
    troubles = [
        each.reason if each.verdict in STUCK else f"{each.verdict}, {each.reason}"
        for each in diagnosis.findings
        if each.verdict not in ("ok", "working")
    ]
    return f"{diagnosis.queue.name}: {'; '.join(troubles)}" if troubles else ""


def _line(status: Status, text: str, performance: str) -> str:
    # The first | ends the text for people.
    line = f"RQTOOL {status.name}: {printable(text).replace('|', '/')}"
    return f"{line} | {performance}" if performance else line


def _performance(figures: Mapping[str, int | None], thresholds: Thresholds) -> str:
    """U is a figure that is not known."""
    return " ".join(
        f"{metric}={'U' if figure is None else figure};{thresholds.warn.get(metric, '')};"
        f"{thresholds.crit.get(metric, '')};0"
        for metric, figure in figures.items()
    )
