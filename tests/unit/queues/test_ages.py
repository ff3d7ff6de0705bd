"""How old messages are: what is known, what is not, and the limits of --check."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rqtool.management.client import Client
from rqtool.management.queue import Queue
from rqtool.management.samples import Sample
from rqtool.queues.check import Status, Thresholds, ages_of, check
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder

NOW = datetime(2026, 1, 1, 14, 0, tzinfo=UTC)
SENT = int(NOW.timestamp()) - 300
QUEUE = Queue("/", "q", 3, 0, 1, "running", "classic", True, head_timestamp=SENT)
FIVE_MINUTES, HOUR = 300.0, 3600.0


def judged(queue: Queue, *holders: Holder) -> Diagnosis:
    return Diagnosis(queue, Deliveries(0), holders, Basis(60.0, Clock(10_000.0, NOW)))


def held(seconds: float = FIVE_MINUTES, *, shared: bool = False, samples: int = 120) -> Diagnosis:
    """By a worker of rqtool, which is at work."""
    counter = tuple(Sample(10_000.0 - 5 * n, 1 if 5 * n <= seconds else 0) for n in range(samples))
    worker = Client("c", "rqtool work q on web-3", rqtool="work", runs="convert")
    holder = Holder("/", "q", "c", worker, Deliveries(1, counter), "tag", shared=shared)
    return judged(replace(QUEUE, messages_ready=0, messages_unacknowledged=1), holder)


@pytest.mark.parametrize(
    ("queue", "seconds"),
    [
        (QUEUE, FIVE_MINUTES),
        (replace(QUEUE, head_timestamp=None), None),
        (replace(QUEUE, messages_ready=0), None),
        (replace(QUEUE, messages_ready=None), None),
        (replace(QUEUE, head_timestamp=0), None),
        (replace(QUEUE, head_timestamp=SENT + 330), 0.0),
        (replace(QUEUE, head_timestamp=SENT * 1000), None),
    ],
)
def test_the_oldest_ready_message(queue: Queue, seconds: float | None) -> None:
    """By its timestamp, if a message is ready; a clock may be a little ahead, but milliseconds are no age."""
    assert judged(queue).oldest_ready_seconds == seconds


def test_the_longest_held_message() -> None:
    """What the history of a holder proves; on a shared channel it may be about another queue."""
    assert held().longest_held_seconds == FIVE_MINUTES
    assert held(shared=True).longest_held_seconds is None
    assert judged(QUEUE).longest_held_seconds is None


@pytest.mark.parametrize(
    ("seen", "age", "status"),
    [
        (judged(QUEUE), 299, Status.CRITICAL),
        (judged(QUEUE), 300, Status.OK),
        (held(), 299, Status.CRITICAL),
        (held(), 300, Status.OK),
        (held(HOUR), 590, Status.CRITICAL),
        (held(HOUR), 600, Status.UNKNOWN),
        (judged(replace(QUEUE, head_timestamp=None)), 600, Status.UNKNOWN),
        (judged(replace(QUEUE, head_timestamp=None, was_drained=True)), 600, Status.OK),
        (judged(replace(QUEUE, name="q.dead")), 1, Status.OK),
        (judged(replace(QUEUE, delays=True)), 1, Status.OK),
        (judged(replace(QUEUE, type="stream", head_timestamp=None)), 1, Status.OK),
    ],
)
def test_limits(seen: Diagnosis, age: float, status: Status) -> None:
    """What may be older than the limit is UNKNOWN. Messages that are meant to lie there are no trouble."""
    assert check([seen], Thresholds({}, {"age": age}), [], "").status is status


def test_the_line() -> None:
    """The age comes first, with the limit that it passes, and its figures last. Without a limit it is not there."""
    limits = Thresholds({"age": 60}, {"age": 600})
    seen = [judged(replace(QUEUE, name="r")), held(120)]
    assert check(seen, limits, [], "").line == (
        "RQTOOL WARNING: r: 3 ready, the oldest was sent 5 min ago, more than the limit of 1m. "
        "q: a message has been held for 2 min by rqtool work q on web-3 running convert, more than the limit of 1m. "
        "2 queues, 3 ready, 1 held, 0 stuck, 0 dead, oldest ready 5 min, longest held 2 min | "
        "ready=3;;;0 held=1;;;0 stuck=0;;;0 dead=0;;;0 oldest_ready=300s;60;600;0 longest_held=120s;60;600;0"
    )
    assert "more than the limit of 90s" in check(seen, Thresholds({"age": 60}, {"age": 90}), [], "").line
    assert "oldest" not in check(seen, Thresholds(), [], "").line


def test_large_limits_are_not_rounded() -> None:
    """12 days and a minute, and a million and one tasks, as a monitor reads them."""
    line = check([judged(QUEUE)], Thresholds({"age": 1_036_860.0, "ready": 1_000_001}, {"age": 0.5}), [], "").line
    assert " | ready=3;1000001;;0 " in line
    assert " oldest_ready=300s;1036860;0.5;0" in line


def test_what_is_not_known_is_said() -> None:
    """With the reason; and a figure that nobody knows is U."""
    queue = replace(QUEUE, type="quorum", head_timestamp=None)
    found = check([judged(queue)], Thresholds({"age": 60}, {}), [], "")
    assert "q: how old its 3 ready messages are is not known (a quorum queue does not say)" in found.line
    assert " oldest_ready=U;60;;0 longest_held=0s;" in found.line
    assert " longest_held=U;" in check([held()], Thresholds({"age": 60}, {}), [], "No statistics").line


def test_a_held_message_may_be_the_oldest() -> None:
    """The broker's timestamp is that of the oldest of both, so the words claim no more."""
    [age] = ages_of(judged(replace(QUEUE, messages_unacknowledged=1)))
    assert age.text == "q: the oldest message that is not done was sent 5 min ago"
