"""What closing a connection would do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from rqtool.management.client import Client
from rqtool.management.queue import Queue
from rqtool.management.samples import Sample
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder
from rqtool.queues.release import Plan, Target, target_of, would_be_deleted
from rqtool.queues.release_report import announced, nothing

CLIENT = Client("c", "billing-import")
QUEUE = Queue("/", "q", 0, 9, 1, "running", "classic", True, False)


BASIS = Basis(60.0, Clock(1000.0, datetime(2026, 1, 1, tzinfo=UTC)))


def holder(channel: str, held: int, client: Client = CLIENT, tag: str = "tag", *, stuck: bool = False) -> Holder:
    delivered = tuple(Sample(1000.0 - 5 * n, held) for n in range(60)) if stuck else ()
    return Holder("/", "q", channel, client, Deliveries(held, delivered), tag)


def diagnosis(queue: Queue, *holders: Holder) -> Diagnosis:
    return Diagnosis(queue, Deliveries(0), holders, BASIS)


def test_every_channel_of_the_connection_counts() -> None:
    """Those at work too, counted apart from the suspects; other connections stay."""
    stuck, busy = holder("c (1)", 2, stuck=True), holder("c (2)", 3)
    other = holder("d (1)", 4, Client("d"))
    seen = diagnosis(QUEUE, stuck, busy, other)
    assert target_of(CLIENT, seen, [seen]) == Target(CLIENT, 5, {}, {"q": 3})


def test_who_stays_is_told_by_what_it_does() -> None:
    """Those that forgot an ack are not called at work."""
    stuck, forgetful = holder("c (1)", 2, stuck=True), holder("d (1)", 3, Client("d"), stuck=True)
    seen = diagnosis(QUEUE, stuck, forgetful, holder("e (1)", 4, Client("e")))
    _, *stay = announced(Plan(seen, [target_of(CLIENT, seen, [seen])], ""))
    assert stay == [
        "1 connection with a forgotten ack will stay; without --holder all go",
        "1 connection at work on that queue will stay",
    ]


def test_channels_of_another_queue_add_up() -> None:
    """Each counts; a shared one once for each of its queues, and for no more than the queue has out."""
    here = diagnosis(QUEUE, holder("c (1)", 2, stuck=True))
    there = diagnosis(replace(QUEUE, name="r"), holder("c (2)", 3), holder("c (3)", 4), holder("c (3)", 4, tag="too"))
    little = diagnosis(replace(QUEUE, name="s", messages_unacknowledged=1), holder("c (4)", 6))
    empty = diagnosis(replace(QUEUE, name="t", messages_unacknowledged=0), holder("c (4)", 6))
    found = target_of(CLIENT, here, [here, there, little, empty])
    assert (found.held, found.elsewhere, found.busy) == (2, {"r": 7, "s": 1}, {"r": 7, "s": 1})
    assert not target_of(CLIENT, here, [here]).busy


@pytest.mark.parametrize(
    ("change", "consuming", "deleted"),
    [
        ({}, {"c"}, False),
        ({"auto_delete": True}, {"c"}, True),
        ({"auto_delete": True}, {"c", "other"}, False),
        ({"auto_delete": True}, set(), False),
        ({"auto_delete": True}, {"other"}, False),
        ({"auto_delete": True, "messages_unacknowledged": 0, "messages_ready": 1}, {"c"}, True),
        ({"auto_delete": True, "messages_unacknowledged": 0}, {"c"}, False),
        ({"auto_delete": True, "messages_unacknowledged": None, "messages_ready": None}, {"c"}, True),
        ({"exclusive": True}, set(), True),
        ({"exclusive": True, "messages_unacknowledged": 0}, {"c"}, False),
    ],
)
def test_queues_that_would_go(change: dict[str, object], consuming: set[str], deleted: bool) -> None:
    """An auto-delete queue with its last consumer, an exclusive one with its connection; an empty one loses nothing."""
    seen = diagnosis(replace(QUEUE, **change), holder("c (1)", 1))  # type: ignore[arg-type]
    assert would_be_deleted(seen, consuming, {"c"}) is deleted


@pytest.mark.parametrize(("held", "them"), [(1, "it"), (2, "them")])
def test_nobody_is_known_to_have_forgotten(held: int, them: str) -> None:
    said = nothing(Plan(Diagnosis(replace(QUEUE, messages_unacknowledged=held), Deliveries(held), [], BASIS), [], ""))
    assert said.startswith(f"{held} of 'q' held, and nobody is known to have forgotten {them} for over 1m ")
