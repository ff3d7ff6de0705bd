"""A snapshot of queues as one line and an exit code for Nagios, Icinga and compatible monitors. Pure.

https://www.monitoring-plugins.org/doc/guidelines.html: only a value greater than a threshold exceeds it.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from rqtool.durations import about, format_duration
from rqtool.queues.diagnosis import HEALTHY, STUCK, VERDICTS, Diagnosis, Verdict, also
from rqtool.queues.shown import selects, unmatched
from rqtool.text import plural, printable
from rqtool.topology import DEAD


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
READY, HELD = "oldest_ready", "longest_held"


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The highest figure that is still OK, by metric, for all queues together. No entry: no limit. `age` is in seconds,
    and applies to each message.
    """

    warn: Mapping[str, float] = field(default_factory=dict)
    crit: Mapping[str, float] = field(default_factory=dict)

    @property
    def ages(self) -> list[float]:
        """The limits of age that there are."""
        return [limits["age"] for limits in (self.warn, self.crit) if "age" in limits]

    def judge(self, metric: str, value: float) -> tuple[Status, float]:
        """The status, and the limit that the value exceeds: the CRITICAL one if it exceeds both; infinity: none."""
        for status, limits in ((Status.CRITICAL, self.crit), (Status.WARNING, self.warn)):
            if value > limits.get(metric, math.inf):
                return status, limits[metric]
        return Status.OK, math.inf


@dataclass(frozen=True, slots=True)
class Age:
    """`seconds` None: unknown. `at_least`: it may be more, because the broker does not remember longer."""

    metric: str
    seconds: float | None
    text: str
    at_least: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """The result. `performance`: the figures for Nagios. `figures`: the same, None for unknown. `queues`: the queues
    that were checked.
    """

    status: Status
    text: str
    performance: str = ""
    figures: Mapping[str, float | None] = field(default_factory=dict)
    queues: Sequence[Diagnosis] = ()

    @property
    def line(self) -> str:
        """All that is printed. Its first | ends the text for people."""
        line = f"RQTOOL {self.status.name}: {printable(self.text).replace('|', '/')}"
        return f"{line} | {self.performance}" if self.performance else line


def check(
    diagnoses: Sequence[Diagnosis],
    thresholds: Thresholds,
    names: Collection[str],
    unseen: str,
    hint: Callable[[str], str] = lambda _: "",
) -> Check:
    """Judge a snapshot. `names`: the requested names and globs, or empty for all; `diagnoses` may include the queues of
    their returned tasks, which count as they do, and their dead queues, which count only as dead. `unseen`: what could
    not be seen, or empty. `hint`: returns what to add to the name of a queue that does not exist.
    """
    beside = [each for each in diagnoses if names and _is_dead(each) and not selects(names, each.queue.name)]
    keys = {each.queue.key for each in beside}
    asked = [each for each in diagnoses if each.queue.key not in keys]
    waiting = [each for each in asked if _has_work(each)]
    values = {
        "ready": sum(each.queue.ready for each in waiting),
        "held": sum(each.queue.held for each in asked),
        "stuck": sum(each.stuck for each in asked),
        "dead": sum(each.queue.ready for each in diagnoses if _is_dead(each)),
    }
    judged = {metric: thresholds.judge(metric, value) for metric, value in values.items()}
    limited = {metric: status for metric, (status, _) in judged.items()}
    troubles = [
        (status, f"{values[metric]:,} {metric}, more than the limit of {limit:,.0f}{_most(metric, counted)}")
        for (status, limit), metric, counted in ((judged["ready"], "ready", waiting), (judged["held"], "held", asked))
        if status
    ]
    worst_first = sorted(asked, key=lambda each: VERDICTS.index(each.verdict))
    alike: defaultdict[tuple[Status, str, str], list[str]] = defaultdict(list)
    for each in worst_first:
        if text := _trouble(each):  # each forgotten ack gets its own entry
            alike[_status(each, limited), text, each.queue.name if each.stuck else ""].append(each.queue.name)
    troubles += [(status, f"{first}: {text}{also(others)}") for (status, text, _), (first, *others) in alike.items()]
    ages = [age for each in asked if thresholds.ages for age in ages_of(each)]
    troubles += [found for age in ages if (found := _judge_age(age, thresholds))[0]]
    noted = [each for each in beside if each.queue.ready or each.verdict not in HEALTHY]
    troubles += [(_status(each, limited), f"{each.queue.name}: {each.reason}") for each in noted]
    missing = sorted(unmatched(names, [each.queue.name for each in asked]))
    troubles += [(Status.UNKNOWN, f"there is no queue {name!r}{hint(name)}") for name in missing]
    if unseen and values["held"] and not values["stuck"]:
        troubles.append((Status.UNKNOWN, unseen))
    status = max([*limited.values(), *(status for status, _ in troubles)], key=_SEVERITY.index)
    texts = [text for _, text in sorted(troubles, key=lambda trouble: -_SEVERITY.index(trouble[0]))]
    shown = texts[:MOST_NAMED] + ([f"and {len(texts) - MOST_NAMED} more"] if len(texts) > MOST_NAMED else [])
    unsure = {"ready", "held", "dead"} if any(each.queue.messages_ready is None for each in diagnoses) else set()
    figures: dict[str, float | None] = {m: None if m in unsure else value for m, value in values.items()}
    counts = [f"{'?' if figure is None else f'{figure:,}'} {metric}" for metric, figure in figures.items()]
    performance = [_performance(m, "U" if value is None else str(value), m, thresholds) for m, value in figures.items()]
    for metric in (READY, HELD) if thresholds.ages else ():
        known = [age.seconds for age in ages if age.metric == metric]
        known += [None] if metric == HELD and unseen and values["held"] else []
        seconds = None if unsure or None in known else max((each for each in known if each is not None), default=0.0)
        figures[f"{metric}_seconds"] = seconds
        counts.append(f"{metric.replace('_', ' ')} {'?' if seconds is None else about(seconds)}")
        performance.append(_performance(metric, "U" if seconds is None else f"{seconds:.0f}s", "age", thresholds))
    text = ". ".join([*shown, ", ".join([plural(len(asked), "queue"), *counts])])
    return Check(status, text, " ".join(performance), figures, diagnoses)


def _is_dead(d: Diagnosis) -> bool:
    return d.queue.name.endswith(DEAD)


def _has_work(d: Diagnosis) -> bool:
    """Whether ready messages in this queue should be consumed soon."""
    return not (_is_dead(d) or d.queue.delays or d.queue.type == "stream")


def ages_of(d: Diagnosis) -> Iterator[Age]:
    """The ages of its oldest ready message, unless messages are meant to wait there, and of the one held longest."""
    queue = d.queue
    if queue.ready and _has_work(d):
        seconds = d.oldest_ready_seconds
        if seconds is not None:
            what = "the oldest message that is not done" if queue.held else f"{queue.ready:,} ready, the oldest"
            yield Age(READY, seconds, f"{queue.name}: {what} was sent {about(seconds)} ago")
        elif not queue.was_drained:
            why = "a quorum queue does not say" if queue.type == "quorum" else "no timestamp"
            yield Age(READY, None, f"{queue.name}: how old its {queue.ready:,} ready messages are is not known ({why})")
    if d.longest_held is not None:
        seconds, over = d.longest_held_seconds or 0.0, d.longest_held.exceeds_history
        holder = next((each for each in d.holding if each.deliveries is d.longest_held), None)
        by = f" by {holder.client.described}" if holder else ""
        text = f"{queue.name}: a message has been held for {'over ' if over else ''}{about(seconds)}{by}"
        yield Age(HELD, seconds, text, over)


def _most(metric: str, counted: Sequence[Diagnosis]) -> str:
    """Which of several queues has most of them."""
    if len(counted) < 2:
        return ""
    first = max((each.queue for each in counted), key=lambda queue: getattr(queue, metric))
    return f" ({getattr(first, metric):,} of them in {first.name})"


def _judge_age(age: Age, thresholds: Thresholds) -> tuple[Status, str]:
    """An age that may or may not be within a limit is UNKNOWN."""
    if age.seconds is None:
        return Status.UNKNOWN, age.text
    status, limit = thresholds.judge("age", age.seconds)
    if status:
        return status, f"{age.text}, more than the limit of {format_duration(limit)}"
    unsure = age.at_least and any(limit >= age.seconds for limit in thresholds.ages)
    return Status.UNKNOWN if unsure else Status.OK, age.text


def _status(diagnosis: Diagnosis, limited: Mapping[str, Status]) -> Status:
    """The worst of a queue's findings; `limited`: the status of each figure, over all queues."""
    by_figure = dict.fromkeys(STUCK, limited["stuck"]) | {"dead letters": limited["dead"]}
    found = [(_STATUS | by_figure).get(each.verdict, Status.OK) for each in diagnosis.findings]
    return max(found, key=_SEVERITY.index)


def _trouble(diagnosis: Diagnosis) -> str:
    troubles = [
        each.reason if each.verdict in STUCK else f"{each.verdict}, {each.reason}"
        for each in diagnosis.findings
        if each.verdict not in ("ok", "working")
    ]
    return "; ".join(troubles)


def _performance(metric: str, figure: str, limited: str, thresholds: Thresholds) -> str:
    """U is an unknown figure. `limited`: the metric whose limits count."""
    limits = (f"{each[limited]:.15g}" if limited in each else "" for each in (thresholds.warn, thresholds.crit))
    return f"{metric}={figure};{';'.join(limits)};0"
