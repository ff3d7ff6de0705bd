"""What a snapshot asks the management API for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote

from rqtool.management.api import ROWS, Management
from rqtool.management.fields import Row
from rqtool.management.queue import Queue, read_queue
from rqtool.queues.snapshot import take_snapshot
from rqtool.topology import belongs

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
    """A management API with these rows; `asked`: the names by which queues were asked for, None for all of them;
    `detailed`: the names of the channels whose details were asked for.
    """

    def __init__(self, queues: list[Row], channels: list[Row], consumers: Sequence[Row] = ()) -> None:
        super().__init__([])
        self._lists: dict[str, list[Row]] = {"queues": queues, "channels": channels, "consumers": [*consumers]}
        self.asked: list[set[str] | None] = []
        self.detailed: set[str] = set()

    def rows(self, path: str, query: Mapping[str, str]) -> list[Row]:
        return next((self._lists[part] for part in path.split("/") if part in self._lists), [])

    def details(self, listed: str, paths: Iterable[str], query: Mapping[str, str], rows: int = ROWS) -> list[Row]:
        kind = next((part for part in listed.split("/") if part in self._lists), "")
        names = {unquote(path.split("/")[-1]) for path in paths}
        self.detailed |= names if kind == "channels" else set()
        return [row for row in self._lists.get(kind, []) if row["name"] in names]

    def completed(
        self,
        vhost: str | None = None,
        names: Collection[str] | None = None,
        *,
        with_consumers: bool = True,
        with_ages: bool = True,
    ) -> list[Queue]:
        self.asked.append(None if names is None else set(names))
        queues = sorted(map(read_queue, self._lists["queues"]), key=lambda queue: queue.name)
        return [queue for queue in queues if names is None or belongs(queue.name, names)]

    def tags(self) -> frozenset[str]:
        return frozenset({"monitoring"})

    def remembers(self) -> float:
        return 3600.0


def test_a_named_queue_alone_is_asked_for() -> None:
    """With what is beside it: not thousands of others."""
    api = Answers([queue("q", 0), queue("r")], [])
    [found] = take_snapshot(api, "/", 60.0, NOW, ["q"]).diagnoses
    assert found.queue.name == "q"
    assert api.asked == [{"q"}]


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
    assert api.asked == [{"q"}, None]


def consumer(channel: str, queue: str) -> Row:
    return {"queue": {"vhost": "/", "name": queue}, "consumer_tag": "t", "channel_details": {"name": channel}}


def test_holders_of_other_queues_are_not_asked_for() -> None:
    """Each channel has a consumer, which tells of what queue its messages are."""
    channels: list[Row] = [{**getter(), "name": name} for name in ("mine", "other")]
    consumers = [consumer("mine", "q"), consumer("other", "r")]
    for name in ("q", "q.quarantine"):  # a worker of q takes tasks from both
        api = Answers([queue("q"), queue("q.quarantine"), queue("r")], channels, consumers)
        assert take_snapshot(api, "/", 60.0, NOW, [name]).diagnoses
        assert api.detailed == {"mine"}
    api = Answers([queue("q"), queue("r")], [*channels, getter()], consumers)
    take_snapshot(api, "/", 60.0, NOW, ["q"])
    assert api.detailed == {"mine", "other", "c (1)"}


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


def test_the_dead_queue_of_a_named_one() -> None:
    """It says something if it is not empty, or is asked for by its own name."""

    def with_dead(held: int, *patterns: str) -> list[str]:
        api = Answers([queue("q", 0), queue("q.dead", held), queue("r.dead")], [])
        return [each.queue.name for each in take_snapshot(api, "/", 60.0, NOW, patterns, with_dead=True).diagnoses]

    assert with_dead(0, "q") == with_dead(0, "q*", "q") == ["q"]
    assert with_dead(3, "q") == with_dead(3, "[q]") == with_dead(0, "q", "q.dead") == ["q", "q.dead"]


def test_the_name_of_a_queue_is_no_glob() -> None:
    """Even if it looks like one."""
    queues = [queue(name, 0) for name in ("a*", "ab", "[red]x", "rx")]
    assert found(Answers(queues, []), "a*", "[red]x") == ["[red]x", "a*"]


def test_a_glob_reads_the_list_once() -> None:
    """However many queues it matches."""
    queues = [queue(f"q{n}", 0) for n in range(600)]
    api = Answers(queues, [])
    assert len(found(api, "q*")) == 600
    assert api.asked == [None]
