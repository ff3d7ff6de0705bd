"""What a snapshot asks the management API for."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from rqtool.management.api import Management, below
from rqtool.management.fields import Row
from rqtool.management.queue import Queue, read_queue
from rqtool.queues.snapshot import take_snapshot

NOW = datetime(2026, 1, 1, 14, 0, tzinfo=UTC)


def queue(name: str, held: int = 3) -> Row:
    return {
        "vhost": "/", "name": name, "messages": held, "messages_ready": 0, "messages_unacknowledged": held,
        "type": "classic", "state": "running", "durable": True, "consumers": 0,
    }  # fmt: skip


def getter(held: int = 3) -> Row:
    """A channel without a consumer that has held messages for five minutes."""
    delivered = [{"timestamp": 1_000_000 - 5000 * n, "sample": held} for n in range(60)]
    return {
        "name": "c (1)", "vhost": "/", "messages_unacknowledged": held, "connection_details": {"name": "c"},
        "message_stats": {"get_details": {"samples": delivered}},
    }  # fmt: skip


class Answers(Management):
    """A management API with these rows; `asked`: the paths and names of the requests for lists."""

    def __init__(self, queues: list[Row], channels: list[Row]) -> None:
        super().__init__([])
        self._lists: dict[str, list[Row]] = {"queues": queues, "channels": channels}
        self.asked: list[tuple[str, set[str] | None]] = []

    def rows(self, path: str, query: Mapping[str, str], names: Collection[str] | None = None) -> list[Row]:
        self.asked.append((path, None if names is None else set(names)))
        kind = next((part for part in path.split("/") if part in self._lists), "")
        return [row for row in self._lists.get(kind, []) if names is None or row["name"] in names]

    def matching(self, vhost: str, pattern: str) -> list[Queue]:
        self.asked.append((f"/api/queues{below(vhost)}", {pattern}))
        return [row for row in map(read_queue, self._lists["queues"]) if re.fullmatch(pattern, row.name)]

    def tags(self) -> frozenset[str]:
        return frozenset({"monitoring"})

    def remembers(self) -> float:
        return 3600.0

    def asked_of_queues(self) -> list[Any]:
        return [names for path, names in self.asked if path == "/api/queues/%2F"]


def test_a_named_queue_alone_is_asked_for() -> None:
    """And those for its tasks that came back, or wait: not thousands of others."""
    api = Answers([queue("q", 0), queue("r")], [])
    [found] = take_snapshot(api, "/", 60.0, NOW, ["q"]).diagnoses
    assert found.queue.name == "q"
    waits = r"(?:q)\.(?:retry|delay)\..+"
    assert api.asked_of_queues() == [{waits}, *2 * [{"q", "q.returned", "q.quarantine"}]]


def test_the_only_possible_queue_of_a_getter_is_found_by_name_too() -> None:
    """All others hold nothing that is unexplained."""
    [found] = take_snapshot(Answers([queue("q"), queue("r", 0)], [getter()]), "/", 60.0, NOW, ["q"]).diagnoses
    assert found.verdict == "forgotten ack?"
    assert [holder.channel for holder in found.suspects] == ["c (1)"]


def test_a_getter_may_hold_messages_of_a_queue_that_was_not_asked_for() -> None:
    """It is not accused for the named one, so the others are asked for."""
    api = Answers([queue("q"), queue("r")], [getter()])
    [found] = take_snapshot(api, "/", 60.0, NOW, ["q"]).diagnoses
    assert found.holders == []
    assert None in api.asked_of_queues()


def found(api: Answers, *patterns: str) -> list[str]:
    return [each.queue.name for each in take_snapshot(api, "/", 60.0, NOW, patterns).diagnoses]


MAILS = [queue(name, 0) for name in ("mail.a", "mail.b", "mail.b.dead", "mail.b.rqtool.new", "other")]


def test_a_glob() -> None:
    """It finds what it matches, without what the list of all hides; and names may stand beside it."""
    assert found(Answers(MAILS, []), "mail.*") == ["mail.a", "mail.b"]
    assert found(Answers(MAILS, []), "m?il.[!b]", "other") == ["mail.a", "other"]
    assert found(Answers(MAILS, []), "mail.b.dead", "mail.*") == ["mail.a", "mail.b", "mail.b.dead"]
    assert found(Answers(MAILS, []), "*.dead") == ["mail.b.dead"]
    assert found(Answers(MAILS, []), "x*") == []


def test_the_name_of_a_queue_is_no_glob() -> None:
    """Even if it looks like one."""
    queues = [queue(name, 0) for name in ("a*", "ab", "[red]x", "rx")]
    assert found(Answers(queues, []), "a*", "[red]x") == ["[red]x", "a*"]


def test_a_glob_that_matches_many_queues_asks_once() -> None:
    """By name it would take many requests."""
    queues = [queue(f"q{n}", 0) for n in range(600)]
    api = Answers(queues, [])
    assert len(found(api, "q*")) == 600
    assert api.asked_of_queues() == [None, None, None]
