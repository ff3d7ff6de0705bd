"""Queues and holders for programs."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from rqtool.errors import UsageError
from rqtool.management.client import Client
from rqtool.management.queue import Queue
from rqtool.management.samples import Sample
from rqtool.queues.columns import HOLDER_COLUMNS, QUEUE_COLUMNS, SORT_KEYS, choose, holder_rows, ordered, printed, tsv
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder

CLOCK = Clock(10_000.0, datetime(2026, 1, 1, 14, 0, tzinfo=UTC))
TASKS = Queue("/", "task_queue", 3, 0, 1, "running", "classic", True)
UNKNOWN = Queue("a\tb", "\x1b[31mred\n\ttab\u202e", None, None, None, None, None, None)
HEADER = "name\tmessages_ready\tmessages_unacknowledged\tconsumers\tstate\ttype\tverdict\treason"
HOLDER_HEADER = "queue\tclient\thost\tpid\taddress\tprefetch\theld\tsince\tverdict"


def judged(queue: Queue, *holders: Holder) -> Diagnosis:
    return Diagnosis(queue, Deliveries(0), holders, Basis(60.0, CLOCK))


def held(name: str = "billing", seconds: float = 300, **more: int | bool) -> Holder:
    counter = tuple(Sample(10_000.0 - 5 * n, 2 if 5 * n <= seconds else 0) for n in range(120))
    client = Client(f"connection of {name}", name, "web-3", 4242, "10.0.0.7:5", "guest", "pika")
    return Holder("/", "task_queue", name, client, Deliveries(2, counter), "tag", **more)  # type: ignore[arg-type]


def queue_lines(diagnoses: list[Diagnosis], *, vhosts: bool = False) -> list[str]:
    return printed(QUEUE_COLUMNS, diagnoses, json=False, vhosts=vhosts).split("\n")


def holder_lines(diagnoses: list[Diagnosis], *, vhosts: bool = False) -> list[str]:
    return printed(HOLDER_COLUMNS, holder_rows(diagnoses), json=False, vhosts=vhosts).split("\n")


def queue_json(diagnoses: list[Diagnosis]) -> Any:
    return json.loads(printed(QUEUE_COLUMNS, diagnoses, json=True, vhosts=False))


HELD = judged(Queue("/", "task_queue", 3, 2, 1, "running", "classic", True), held())


def test_a_line_for_each_queue_below_one_header() -> None:
    """Tab-separated, under rabbitmqctl's own names, in the order given; a zero is a figure; then the verdict."""
    line = "task_queue\t3\t0\t1\trunning\tclassic\tok\t3 ready"
    assert queue_lines([judged(TASKS)]) == [HEADER, line]


def test_without_queues_there_is_the_header() -> None:
    """An empty list is a header line and an empty array."""
    assert queue_lines([]) == [HEADER]
    assert queue_json([]) == []
    assert holder_lines([]) == [HOLDER_HEADER]
    assert json.loads(printed(HOLDER_COLUMNS, [], json=True, vhosts=False)) == []


def test_the_vhost_is_the_last_column() -> None:
    """With several vhosts each line names its own, after the columns that are always there."""
    header, line = queue_lines([judged(TASKS)], vhosts=True)
    assert (header, line.split("\t")[-1]) == (f"{HEADER}\tvhost", "/")
    header, line = holder_lines([HELD], vhosts=True)
    assert (header, line.split("\t")[-1]) == (f"{HOLDER_HEADER}\tvhost", "/")


def test_what_is_not_known_is_an_empty_field() -> None:
    """Neither a word nor a zero, and the fields keep their places."""
    _, line = queue_lines([judged(UNKNOWN)])
    assert line.split("\t")[1:] == ["", "", "", "", "", "unknown", "the API has no figures for it (yet)"]


def test_names_cannot_break_a_line() -> None:
    """Tabs, line ends and escape sequences in names are spelled out, those of clients too."""
    _, line = queue_lines([judged(UNKNOWN)], vhosts=True)
    fields = line.split("\t")
    assert (fields[0], fields[-1], len(fields)) == (r"\x1b[31mred\n\ttab\u202e", r"a\tb", 9)
    diagnosis = judged(HELD.queue, held("\x1b[2J\tx\n"))
    for lines in (queue_lines([diagnosis]), holder_lines([diagnosis])):
        _, line = lines
        assert r"\x1b[2J\tx\n" in line
        assert line.replace("\t", "").isprintable()


def test_json_has_every_field_as_it_is() -> None:
    """Names are exact there, unknown is null, true is true, and the figures behind the verdict are there."""
    tasks, unknown = queue_json([HELD, judged(UNKNOWN)])
    holders = tasks.pop("holders")
    reason = "2 held for 5 min by billing (10.0.0.7:5, pid 4242): no ack since 13:55"
    assert tasks == {
        "vhost": "/", "name": "task_queue", "messages_ready": 3, "messages_unacknowledged": 2,
        "messages_waiting": 0, "consumers": 1, "state": "running", "type": "classic", "durable": True,
        "exclusive": None, "verdict": "forgotten ack?", "reason": reason,
        "findings": [{"verdict": "forgotten ack?", "reason": reason}], "stuck": 2,
        "stuck_after_seconds": 60.0, "held_since": "2026-01-01T13:55:00+00:00", "held_seconds": 300.0, "last_ack": None,
        "oldest_ready_seconds": None, "longest_held_seconds": 300.0,
    }  # fmt: skip
    assert holders == [
        {
            "queue": "task_queue", "vhost": "/", "client": "billing", "host": "web-3", "pid": 4242,
            "address": "10.0.0.7:5", "user": "guest", "product": "pika", "rqtool": None, "runs": None,
            "connection": "connection of billing", "channel": "billing", "consumer_tag": "tag", "prefetch": 0,
            "held": 2, "shared": False, "suspect": True, "held_since": "2026-01-01T13:55:00+00:00",
            "held_seconds": 300.0, "last_ack": None, "quiet_seconds": 295.0, "silent_seconds": 0.0,
        }
    ]  # fmt: skip
    assert UNKNOWN.name == unknown["name"]
    assert [unknown[key] for key in ("messages_ready", "consumers", "state", "durable")] == [None] * 4


def test_holders_line_by_line() -> None:
    """The suspects first, then those who hold longest; a shared channel says so."""
    queue = Queue("/", "task_queue", 0, 6, 3, "running", "classic", True)
    young, shared = held("young", 10), held("shared", 50, prefetch=5, shared=True)
    assert holder_lines([judged(queue, young, shared, held())]) == [
        HOLDER_HEADER,
        "task_queue\tbilling\tweb-3\t4242\t10.0.0.7:5\t0\t2\t2026-01-01T13:55:00+00:00\tforgotten ack?",
        "task_queue\tshared\tweb-3\t4242\t10.0.0.7:5\t5\t2 shared\t2026-01-01T13:59:10+00:00\tworking",
        "task_queue\tyoung\tweb-3\t4242\t10.0.0.7:5\t0\t2\t2026-01-01T13:59:50+00:00\tworking",
    ]


def test_chosen_columns() -> None:
    """In the order given, in TSV; those that are in JSON alone are written as there, and unknown is empty."""
    shown = choose("name, longest_held_seconds,durable,oldest_ready_seconds,findings")
    assert tsv(shown, [judged(TASKS)]).split("\n") == [
        "name\tlongest_held_seconds\tdurable\toldest_ready_seconds\tfindings",
        'task_queue\t\ttrue\t\t[{"verdict": "ok", "reason": "3 ready"}]',
    ]


@pytest.mark.parametrize("names", ["", "name,", "nmae", "name,name2"])
def test_a_column_that_does_not_exist(names: str) -> None:
    """The error lists those that do."""
    with pytest.raises(UsageError, match=r"There is no column .*messages_ready"):
        choose(names)


def test_the_order() -> None:
    """Names first to last, figures from the largest, verdicts from the worst; ties stay as they were."""
    queues = [
        judged(replace(TASKS, name="b", messages_ready=1)),
        judged(replace(TASKS, name="c", messages_ready=3)),
        judged(replace(TASKS, name="a", messages_ready=1, consumers=0)),
        replace(HELD, queue=replace(HELD.queue, name="d", messages_ready=None)),
    ]
    order = {by: "".join(each.queue.name for each in ordered(queues, by)) for by in SORT_KEYS}
    assert order == {"name": "abcd", "ready": "cbad", "unacknowledged": "dbca", "verdict": "dabc"}
