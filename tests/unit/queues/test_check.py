"""A snapshot as a line for Nagios."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rqtool.management.client import Client
from rqtool.management.queue import Queue
from rqtool.management.samples import Sample
from rqtool.queues.check import Check, Status, Thresholds, check
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder

DEFAULT = Thresholds({"dead": 0}, {"stuck": 0})


def queue(name: str = "q", ready: int = 0, held: int = 0, consumers: int = 1, stuck: bool = False) -> Diagnosis:
    counter = tuple(Sample(10_000.0 - 5 * n, held if stuck or n < 2 else 0) for n in range(100))
    holder = Holder("/", name, "c", Client("c", "billing|import"), Deliveries(held, counter), "tag")
    figures = Queue("/", name, ready, held, consumers, "running", "classic", True, False)
    clock = Clock(10_000.0, datetime(2026, 1, 1, 14, 0, tzinfo=UTC))
    return Diagnosis(figures, Deliveries(0), [holder], Basis(60.0, clock))


def test_the_codes_of_plug_ins() -> None:
    """As Nagios has them."""
    assert [(status.name, int(status)) for status in Status] == [
        ("OK", 0), ("WARNING", 1), ("CRITICAL", 2), ("UNKNOWN", 3),
    ]  # fmt: skip


def test_all_is_well() -> None:
    """Figures, and performance data with the limits that there are."""
    found = check([queue(ready=3), queue("r", held=2)], DEFAULT, [], "")
    assert found.status is Status.OK
    assert found.line == (
        "RQTOOL OK: 2 queues, 3 ready, 2 held, 0 stuck, 0 dead | ready=3;;;0 held=2;;;0 stuck=0;;0;0 dead=0;0;;0"
    )


def test_a_forgotten_ack_is_critical() -> None:
    """The name is in the line, without the sign that ends the text."""
    found = check([queue("r", ready=1), queue(held=2, stuck=True)], DEFAULT, [], "")
    assert found.status is Status.CRITICAL
    assert found.line.startswith("RQTOOL CRITICAL: q: 2 held for over 8 min by billing/import: no ack since 13:51. 2 q")
    assert found.line.count("|") == 1


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (queue("q.dead", ready=1, consumers=0), Status.WARNING),
        (queue(ready=1, consumers=0), Status.WARNING),
        (queue(ready=10), Status.OK),
        (queue(ready=11), Status.WARNING),
        (queue(ready=21), Status.CRITICAL),
        (queue(held=5), Status.OK),
        (queue(held=6), Status.WARNING),
    ],
)
def test_thresholds(seen: Diagnosis, status: Status) -> None:
    """More than the limit, not as much as it."""
    limits = Thresholds({"ready": 10, "held": 5, "dead": 0}, {"ready": 20, "stuck": 0})
    assert check([seen], limits, [], "").status == status


def test_a_stream_has_no_backlog() -> None:
    """It keeps what was consumed, so its messages exceed no limit."""
    stream = replace(queue().queue, type="stream", messages_ready=10)
    found = check([queue("r", ready=1), replace(queue(), queue=stream)], Thresholds({"ready": 1}), [], "")
    assert (found.status, found.figures["ready"]) == (Status.OK, 1)


def test_the_limit_that_is_exceeded_is_named_first() -> None:
    """A trouble that has been there all along does not stand in front of what is new."""
    limits = Thresholds({"ready": 10}, {"ready": 20})
    found = check([queue(ready=15, consumers=0)], limits, [], "")
    assert found.line.startswith("RQTOOL WARNING: 15 ready, more than the limit of 10. ")
    assert "more than the limit of 20. " in check([queue(ready=21)], limits, [], "").line


def test_a_forgotten_ack_comes_before_old_messages() -> None:
    """It may be why they are old, and of those there may be many."""
    old = queue("a", ready=3)
    seen = [replace(old, queue=replace(old.queue, head_timestamp=1_000_000_000)), queue("b", held=2, stuck=True)]
    text = check(seen, Thresholds({}, {"stuck": 0, "age": 60}), [], "").text
    assert text.index("b: 2 held") < text.index("a: 3 ready, the oldest was sent")


def test_the_queue_with_the_most_is_named() -> None:
    """Where several are counted together, the one to look at."""
    seen = [queue("a", ready=3), queue("b", ready=12), queue("b.dead", ready=500)]
    assert check(seen, Thresholds({"ready": 10}, {}), [], "").line.startswith(
        "RQTOOL WARNING: 15 ready, more than the limit of 10 (12 of them in b). "
    )


def test_the_worst_comes_first() -> None:
    """Of all troubles, a limit that is passed, a missing queue and dead letters included."""
    seen = [queue("a", ready=1, consumers=0), queue("b", held=2, stuck=True), queue("c.dead", ready=1, consumers=0)]
    found = check(seen, replace(DEFAULT, warn={"ready": 0, "dead": 0}), ["?", "z", "c.dead"], "")
    texts = ["b: 2 held", "1 ready, more than", "c.dead: dead letters", "a: no consumers", "there is no queue 'z'"]
    at = [found.text.index(text) for text in texts]
    assert at == sorted(at)
    tolerant = check(seen, Thresholds({}, {"dead": 0}), [], "")
    assert tolerant.line.startswith("RQTOOL CRITICAL: c.dead: ")
    assert tolerant.text.index("a: no consumers") < tolerant.text.index("b: 2 held")


def test_every_trouble_of_a_queue_counts() -> None:
    """A queue that is not durable is a WARNING, though its forgotten ack comes first and is tolerated here."""
    seen = queue(ready=1, held=1, stuck=True)
    found = check([replace(seen, queue=replace(seen.queue, durable=False))], Thresholds(), [], "")
    assert found.status is Status.WARNING
    assert "; not durable, a restart of the broker deletes it, with its messages. " in found.line


def test_the_dead_of_a_named_queue() -> None:
    """They count for it, and nothing else of that queue does."""
    found = check([queue("q", ready=4), queue("q.dead", ready=3, consumers=0)], DEFAULT, ["q"], "")
    assert found.status == Status.WARNING
    assert found.line == (
        "RQTOOL WARNING: q.dead: 3 tasks of 'q' were given up. 1 queue, 4 ready, 0 held, 0 stuck, 3 dead | "
        "ready=4;;;0 held=0;;;0 stuck=0;;0;0 dead=3;0;;0"
    )


def test_the_returned_tasks_of_a_named_queue() -> None:
    """They are its tasks: where nobody takes them, all is not well because the queue itself is empty."""
    seen = [queue("q"), queue("q.returned", ready=3, consumers=0)]
    found = check(seen, replace(DEFAULT, crit={"ready": 2}), ["q"], "")
    assert found.line == (
        "RQTOOL CRITICAL: 3 ready, more than the limit of 2 (3 of them in q.returned). "
        "q.returned: no consumers, 3 ready, and nobody consumes. 2 queues, 3 ready, 0 held, 0 stuck, 0 dead | "
        "ready=3;;2;0 held=0;;;0 stuck=0;;;0 dead=0;0;;0"
    )
    assert check(seen, DEFAULT, ["q"], "").status is Status.WARNING


@pytest.mark.parametrize(("state", "status"), [("down", Status.CRITICAL), ("running", Status.UNKNOWN)])
def test_a_dead_queue_without_figures(state: str, status: Status) -> None:
    """How many tasks of a named queue are dead is not known, so all is not well."""
    clock = Clock(None, datetime.now(UTC))
    figures = Queue("/", "q.dead", None, None, 0, state, "quorum", True)
    found = check([queue("q"), Diagnosis(figures, Deliveries(0), [], Basis(60.0, clock))], DEFAULT, ["q"], "")
    assert found.status is status
    assert f"{status.name}: q.dead: " in found.line
    assert " dead=U;" in found.line


def test_a_queue_that_is_not_there() -> None:
    """Unknown; but what is known to be bad weighs more."""
    assert check([], DEFAULT, ["q"], "").status is Status.UNKNOWN
    assert "there is no queue 'q'" in check([], DEFAULT, ["q"], "").line
    assert check([queue("r", held=1, stuck=True)], DEFAULT, ["q", "r"], "").status == Status.CRITICAL


def test_what_cannot_be_seen_is_not_all_right() -> None:
    """Held messages that can't be judged are unknown; where none are held it does not matter."""
    assert check([queue(held=1)], DEFAULT, [], "The broker keeps no statistics").status == Status.UNKNOWN
    assert check([queue(ready=1)], DEFAULT, [], "The broker keeps no statistics").status == Status.OK


def test_a_queue_whose_node_is_down() -> None:
    """Its figures are not known, nobody says that it is empty, and it is no little matter."""
    queue = Queue("/", "q", None, None, 0, "down", "classic", True)
    seen = Diagnosis(queue, Deliveries(0), [], Basis(60.0, Clock(None, datetime.now(UTC))))
    found = check([seen], DEFAULT, [], "")
    assert found.status is Status.CRITICAL
    assert "q: down, out of reach with all that is in it (state down)" in found.line


def test_what_is_not_known_is_not_empty() -> None:
    """Neither a verdict nor a figure says that all is well; but what is known to be bad weighs more."""
    clock = Clock(None, datetime.now(UTC))
    new = Diagnosis(Queue("/", "new", None, None, 0, "running", "quorum", True), Deliveries(0), [], Basis(60.0, clock))
    found = check([new, queue(ready=3)], DEFAULT, [], "")
    assert found.line == (
        "RQTOOL UNKNOWN: new: unknown, the API has no figures for it (yet). 2 queues, ? ready, ? held, 0 stuck, "
        "? dead | ready=U;;;0 held=U;;;0 stuck=0;;0;0 dead=U;0;;0"
    )
    assert check([new, queue(ready=3, consumers=0)], DEFAULT, [], "").status is Status.WARNING
    aged = check([new], replace(DEFAULT, warn={**DEFAULT.warn, "age": 60.0}), [], "")
    assert "oldest ready ?, longest held ? | " in aged.line


def test_a_queue_that_may_drop_tasks() -> None:
    """It is a WARNING that names the setting."""
    figures = Queue("/", "q", 0, 0, 1, "running", "classic", True, drops=("policy max-length=5",))
    seen = Diagnosis(figures, Deliveries(0), [], Basis(60.0, Clock(None, datetime.now(UTC))))
    found = check([seen], DEFAULT, [], "")
    assert found.status is Status.WARNING
    assert "q: may drop tasks, policy max-length=5: " in found.line


def test_what_is_the_same_of_many_queues_is_said_once() -> None:
    """A policy for all of them hides no other trouble; the figures count each queue."""
    brief = [queue(f"b{n}", ready=1) for n in range(6)]
    brief = [replace(each, queue=replace(each.queue, drops=("policy expires=5",))) for each in brief]
    text = check([*brief, queue("z", ready=2, consumers=0)], DEFAULT, [], "").text
    assert text == (
        "b0: may drop tasks, policy expires=5: what was confirmed may be gone unprocessed "
        "(also b1, b2, b3 and 2 more). z: no consumers, 2 ready, and nobody consumes. "
        "7 queues, 8 ready, 0 held, 0 stuck, 0 dead"
    )


def test_nothing_could_be_asked() -> None:
    """An error is one line too."""
    assert Check(Status.UNKNOWN, "No broker.\n|").line == r"RQTOOL UNKNOWN: No broker.\n/"


def test_a_long_list_is_cut() -> None:
    """Five troubles, and how many more."""
    found = check([queue(f"q{n}", held=1, stuck=True) for n in range(9)], DEFAULT, [], "")
    assert found.line.count("no ack since") == 5
    assert ". and 4 more. 9 queues" in found.line
