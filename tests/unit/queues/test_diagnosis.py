"""Figures → verdicts, without a broker."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from rqtool.management.client import Client
from rqtool.management.queue import Key, Queue
from rqtool.management.samples import LAG, Sample, Samples
from rqtool.queues.attribution import attribute
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder

NOW = datetime(2026, 11, 25, 14, 14, 0, tzinfo=UTC)
BROKER_NOW = 5_000_000.0
CLOCK = Clock(BROKER_NOW, NOW)
QUEUE = Queue("/", "q", 0, 3, 1, "running", "classic", True, False)
BILLING = Client("c", "billing-import", "web-3", 4242, "10.0.0.7:53366")
OURS = Client("r", "rqtool work (web-3, pid 9)", "web-3", 9, "10.0.0.7:1", rqtool="work", runs="convert.sh")


def since(seconds: float, total: int, before: int = 0) -> Samples:
    """A counter that rose from `before` to `total` so many seconds ago; by 5 s, over an hour."""
    return tuple(Sample(BROKER_NOW - 5 * n, total if 5 * n <= seconds else before) for n in range(720))


def flow(held: int, seconds: float, acked: Samples = ()) -> Deliveries:
    return Deliveries(held, since(seconds, held + (acked[0].value if acked else 0)), acked)


def holder(held: int = 3, seconds: float = 720.0, client: Client = BILLING, **more: object) -> Holder:
    found = Holder("/", "q", f"channel of {client.connection}", client, flow(held, seconds), "tag", 0)
    return replace(found, **more)  # type: ignore[arg-type]


def judged(queue: Queue = QUEUE, *holders: Holder, of_queue: Deliveries | None = None, sees: bool = True) -> Diagnosis:
    return Diagnosis(queue, of_queue or Deliveries(0), holders, Basis(60.0, CLOCK, sees_all=sees))


def together(queues: list[Queue], histories: dict[Key, Deliveries], holders: list[Holder]) -> list[Diagnosis]:
    """The diagnoses of queues whose holders must be found first."""
    by_queue = attribute(queues, histories, holders)
    basis = Basis(60.0, CLOCK)
    return [Diagnosis(each, histories.get(each.key, Deliveries(0)), by_queue[each.key], basis) for each in queues]


def verdict(queue: Queue = QUEUE, *holders: Holder) -> str:
    return judged(queue, *holders).verdict


class TestHeld:
    """Work in progress, or a forgotten ack."""

    @pytest.mark.parametrize("kind", ["classic", "quorum"])
    def test_a_forgotten_ack_has_a_name_and_a_time(self, kind: str) -> None:
        """How many, for how long, by whom, since when."""
        found = judged(replace(QUEUE, type=kind), holder())
        assert (found.verdict, found.stuck) == ("forgotten ack?", 3)
        assert found.reason == "3 held for 12 min by billing-import (10.0.0.7:53366, pid 4242): no ack since 14:02"

    def test_a_fresh_delivery_is_work(self) -> None:
        """Nobody is accused before the time is over."""
        found = judged(QUEUE, holder(seconds=30.0))
        assert (found.verdict, found.stuck) == ("working", 0)
        assert found.reason == "3 held for 30 s by billing-import (10.0.0.7:53366, pid 4242)"

    def test_a_slow_and_steady_one_is_at_work(self) -> None:
        """It took its messages long ago and acks one now and then."""
        slow = holder(deliveries=Deliveries(3, since(700, 10), since(50, 7, 6)))
        found = judged(QUEUE, slow)
        assert (found.verdict, found.stuck) == ("working", 0)
        assert found.reason.endswith("last ack 14:13")

    def test_a_long_task_of_ours_is_work(self) -> None:
        """However long; and what it merely prefetched behind it."""
        found = judged(QUEUE, holder(client=OURS))
        assert (found.verdict, found.stuck) == ("working", 0)
        assert "rqtool work (web-3, pid 9) running convert.sh" in found.reason

    def test_a_paused_worker_of_ours(self) -> None:
        """It would be heard; some seconds of silence prove nothing."""
        assert verdict(QUEUE, holder(seconds=80.0, client=replace(OURS, silent_seconds=26.0))) == "working"
        found = judged(QUEUE, holder(seconds=80.0, client=replace(OURS, silent_seconds=65.0)))
        assert found.verdict == "forgotten ack?"
        assert found.reason.endswith(", nor anything else for 1 min: paused, or hung?")

    def test_the_guilty_one_among_many(self) -> None:
        """Acks of others on the same queue excuse nobody, and nobody else is named."""
        other = holder(2, 10.0, Client("d", "healthy"))
        found = judged(replace(QUEUE, messages_unacknowledged=5, consumers=2), other, holder())
        assert (found.verdict, found.stuck, found.suspects) == ("forgotten ack?", 3, [holder()])
        assert "healthy" not in found.reason
        assert [finding.verdict for finding in found.findings] == ["forgotten ack?", "working"]

    def test_many_suspects_are_counted(self) -> None:
        """Three are named, the rest is a number."""
        crowd = [holder(1, 720.0, Client(f"c{n}", f"name-{n}")) for n in range(5)]
        found = judged(replace(QUEUE, messages_unacknowledged=5, consumers=5), *crowd)
        assert found.stuck == 5
        assert "name-2" in found.reason
        assert found.reason.endswith("; and 2 more")
        assert "more" not in judged(replace(QUEUE, messages_unacknowledged=3), *crowd[:3]).reason

    def test_a_crowd_at_work(self) -> None:
        """The one with the oldest message is named; the others are counted by their channels."""
        work = holder(1, 10.0)
        assert "more" not in judged(QUEUE, work, replace(work, consumer_tag="another")).reason
        found = judged(QUEUE, work, holder(1, 30.0, Client("d", "slow")), replace(work, channel="another"))
        assert found.reason == "1 held for 30 s by slow; and 2 more"

    def test_a_shared_channel(self) -> None:
        """Says that its figure is of the channel, and names no more than the queue has out."""
        queue = replace(QUEUE, messages_unacknowledged=2)
        assert judged(queue, holder(5, 10.0, shared=True)).reason.startswith("2 held for 10 s by")
        found = judged(queue, holder(5, shared=True))
        assert found.stuck == 2
        assert found.reason.endswith("(one of several consumers on its channel, which holds 5)")

    def test_an_hour_is_all_that_is_known(self) -> None:
        """What was there at the beginning of the history is older than that."""
        assert "3 held for over 59 min by" in judged(QUEUE, holder(seconds=4000.0)).reason

    def test_nothing_out_means_nothing_forgotten(self) -> None:
        """The live figure wins against statistics that are seconds old."""
        found = judged(replace(QUEUE, messages_unacknowledged=0), holder())
        assert (found.verdict, found.stuck) == ("ok", 0)

    def test_without_statistics_nobody_is_accused(self) -> None:
        """And it is said why."""
        found = judged(QUEUE)
        assert (found.verdict, found.reason) == (
            "working",
            "3 held; by whom and since when is not known",
        )


class TestNobodyKnown:
    """The queue's own history says that something is held, and the holder can't be seen."""

    def test_with_few_rights(self) -> None:
        """It may be a long task, and that is said."""
        found = judged(QUEUE, of_queue=flow(3, 720.0), sees=False)
        assert (found.verdict, found.stuck) == ("forgotten ack?", 3)
        assert found.reason == (
            "3 held for 12 min: no ack since 14:02; by whom, or whether it is a long task, only a user tagged "
            "monitoring sees"
        )

    def test_what_those_in_sight_hold_accuses_nobody_else(self) -> None:
        """Our own long task explains all of it."""
        assert judged(QUEUE, holder(client=OURS), of_queue=flow(3, 720.0), sees=False).verdict == "working"

    def test_no_more_than_are_held_now(self) -> None:
        """The live figure wins against a history that is seconds old."""
        assert judged(replace(QUEUE, messages_unacknowledged=2), of_queue=flow(3, 720.0)).stuck == 2

    def test_fresh_messages_beside_old_work(self) -> None:
        """Two that came just now, with figures of the channel that are still those of before."""
        queue = replace(QUEUE, messages_unacknowledged=5)
        history = Deliveries(5, tuple(Sample(BROKER_NOW - 5 * n, 5 if n < 2 else 3) for n in range(100)))
        assert judged(queue, holder(client=OURS), of_queue=history).stuck == 0


class TestStarved:
    """Ready messages that nobody can take."""

    FULL = replace(QUEUE, messages_ready=7)

    def test_a_full_prefetch(self) -> None:
        """Everybody is full and stuck."""
        found = judged(self.FULL, holder(prefetch=3))
        assert found.verdict == "starved"
        assert found.reason == (
            "7 ready reach nobody, the prefetch is full: 3 held for 12 min by billing-import (10.0.0.7:53366, "
            "pid 4242): no ack since 14:02"
        )

    @pytest.mark.parametrize(
        ("queue", "more", "expected"),
        [
            (replace(FULL, messages_ready=0), {"prefetch": 3}, "forgotten ack?"),
            (FULL, {"prefetch": 4}, "forgotten ack?"),
            (FULL, {"prefetch": 0}, "forgotten ack?"),
            (replace(FULL, consumers=2), {"prefetch": 3}, "forgotten ack?"),
            (FULL, {"prefetch": 3, "seconds": 30.0}, "working"),
            (FULL, {"prefetch": 3, "client": OURS}, "working"),
        ],
        ids=["nothing waits", "room", "no limit", "another has room", "fresh", "a long task of ours"],
    )
    def test_what_does_not_starve(self, queue: Queue, more: dict[str, object], expected: str) -> None:
        """A backlog before busy workers is what queues are for."""
        assert verdict(queue, holder(**more)) == expected  # type: ignore[arg-type]


class TestQueues:
    """Verdicts that need no holder."""

    @pytest.mark.parametrize(
        ("queue", "expected"),
        [
            (Queue("/", "q", 0, 0, 0, "running", "classic", True), "ok"),
            (Queue("/", "q", 5, 0, 1, "running", "classic", True), "ok"),
            (Queue("/", "q", None, None, None, None, None, None), "unknown"),
            (Queue("/", "q", None, None, 0, "down", "classic", True), "down"),
            (Queue("/", "q", 0, 0, 1, "running", "classic", True, drops=("x-max-length=5",)), "may drop tasks"),
            (Queue("/", "q", 0, 0, 1, "running", "classic", True, True, drops=("x-expires=5",)), "ok"),
            (Queue("/", "q", 5, 0, 0, "running", "classic", True), "no consumers"),
            (Queue("/", "q", 5, 0, None, "running", "classic", True), "ok"),
            (Queue("/", "q.retry.10s", 5, 0, 0, "running", "classic", True, False, delays=True), "ok"),
            (Queue("/", "events", 5, 0, 0, "running", "stream", True), "ok"),
            (Queue("/", "q.dead", 5, 0, 0, "running", "classic", True), "dead letters"),
            (Queue("/", "q.dead", 5, 0, None, "running", "classic", True), "dead letters"),
            (Queue("/", "q.dead", 0, 0, 0, "running", "classic", True), "ok"),
            (Queue("/", "q.dead", 5, 0, 1, "running", "classic", True), "ok"),
            (Queue("/", "q", 0, 0, 1, "running", "classic", False), "not durable"),
            (Queue("/", "amq.gen-x", 0, 0, 1, "running", "classic", False, True), "ok"),
        ],
    )
    def test_verdicts(self, queue: Queue, expected: str) -> None:
        """Wait queues and streams have no consumers by design; an exclusive queue ends with its connection anyway."""
        assert verdict(queue) == expected

    def test_settings_that_may_drop_are_named(self) -> None:
        """All of them, whether the queue's own or a policy's."""
        found = judged(
            Queue("/", "q", 0, 0, 1, "running", "classic", True, drops=("x-expires=5", "policy max-length=1"))
        )
        assert found.reason == "x-expires=5, policy max-length=1: what was confirmed may be gone unprocessed"

    @pytest.mark.parametrize(("stalled", "expected"), [(230.0, "ok"), (500.0, "down")])
    def test_what_is_due_and_never_passed_on(self, stalled: float, expected: str) -> None:
        """RabbitMQ tries again after three minutes; later it needs an operator."""
        queue = replace(QUEUE, messages=5, messages_unacknowledged=0, leader="rabbit@b", type="quorum", delays=True)
        found = Diagnosis(queue, Deliveries(0), [], Basis(60.0, CLOCK), stalled)
        assert found.verdict == expected
        what = "5 due, and none was passed on for 8 min: restart node rabbit@b"
        assert expected == "ok" or found.reason == f"{what}, unless the next queue is full, missing or down"

    def test_the_worst_comes_first(self) -> None:
        """And the others are kept."""
        found = judged(replace(QUEUE, durable=False, messages_ready=2, consumers=0), holder(consumer_tag=None))
        assert [each.verdict for each in found.findings] == ["forgotten ack?", "not durable"]

    @pytest.mark.parametrize("seconds", [None, 2.0, 720.0])
    def test_held_messages_have_a_consumer(self, seconds: float | None) -> None:
        """The API lists a consumer seconds after its messages, and never one that polls."""
        holders = [] if seconds is None else [holder(2, seconds, consumer_tag=None)]
        found = judged(Queue("/", "q", 3, 2, 0, "running", "classic", True), *holders)
        assert "no consumers" not in {finding.verdict for finding in found.findings}


class TestTogether:
    """Whose messages a holder's are, where the API does not say."""

    def test_basic_get_where_only_one_queue_is_possible(self) -> None:
        """The channel's messages are attributed to the only queue with unexplained ones."""
        getter = holder(3, consumer_tag=None, queue=None)
        other = Queue("/", "other", 0, 0, 0, "running", "classic", True)
        [found, rest] = together([replace(QUEUE, consumers=0), other], {}, [getter])
        assert [each.client.name for each in found.holders] == ["billing-import"]
        assert rest.holders == []
        reason = found.reason
        assert reason.endswith("no ack since 14:02 (it has no consumer: basic.get, or cancelled)")

    def test_basic_get_where_two_queues_are_possible(self) -> None:
        """Two queues have as many unexplained: neither names it."""
        getter = holder(3, consumer_tag=None, queue=None)
        queues = [replace(QUEUE, name=name, consumers=0) for name in ("a", "b")]
        assert [found.holders for found in together(queues, {}, [getter])] == [[], []]

    def test_a_getter_beside_the_only_consumer(self) -> None:
        """What the queue has out is not all the consumer's: each is shown with its own."""
        queue = replace(QUEUE, messages_unacknowledged=5)
        worker = holder(2, 10.0)
        getter = holder(3, client=Client("g", "getter"), consumer_tag=None, queue=None)
        [found] = together([queue], {("/", "q"): flow(5, 720.0)}, [worker, getter])
        assert [(each.client.name, each.held) for each in found.holders] == [("billing-import", 2), ("getter", 3)]
        assert (found.verdict, found.stuck) == ("forgotten ack?", 3)
        assert found.reason.startswith("3 held for 12 min by getter")

    def test_a_getter_whose_queue_is_not_known(self) -> None:
        """It may be this one: what the queue has out is attributed to nobody else."""
        queues = [replace(QUEUE, name=name, messages_unacknowledged=5) for name in ("q", "r")]
        consumers = [replace(holder(2, 10.0, channel=f"c ({name})"), queue=name) for name in ("q", "r")]
        getter = holder(3, client=Client("g", "getter"), consumer_tag=None, queue=None)
        flows = {("/", name): flow(5, 720.0) for name in ("q", "r")}
        diagnoses = together(queues, flows, [*consumers, getter])
        assert [[each.held for each in found.holders] for found in diagnoses] == [[2], [2]]

    def test_a_getter_is_not_blamed_for_a_late_figure(self) -> None:
        """A queue with less left over is not its queue; nor is it taken for a queue's idle consumer."""
        getter = holder(3, client=Client("g", "getter"), consumer_tag=None, queue=None)
        late = replace(QUEUE, messages_unacknowledged=3)
        [found] = together([late], {}, [holder(2, 10.0), getter])
        assert [each.client.name for each in found.holders] == ["billing-import"]
        fresh = replace(flow(3, 720.0), released=BROKER_NOW - 10)
        [found] = together([QUEUE], {("/", "q"): fresh}, [getter])
        assert found.suspects == found.holders

    def test_acks_of_another_queue_excuse_nobody(self) -> None:
        """Two queues on one channel: one is acknowledged, the other one is forgotten, and its own history says so."""
        busy = Deliveries(5, since(720, 100), since(10, 95, 90))
        sharing = [holder(queue=name, deliveries=busy, channel="c (1)", shared=True) for name in ("q", "r")]
        queues = [QUEUE, replace(QUEUE, name="r", messages_unacknowledged=2)]
        flows = {("/", "q"): flow(3, 720.0), ("/", "r"): Deliveries(2, since(720, 97), since(10, 95, 90))}
        found = together(queues, flows, sharing)
        assert [(each.verdict, each.stuck) for each in found] == [("forgotten ack?", 3), ("working", 0)]
        assert "3 held for 12 min by billing-import" in found[0].reason
        assert found[0].reason.endswith("no ack since 14:02 (one of several consumers on its channel, which holds 5)")
        assert found[1].reason.endswith("last ack 14:13")

    def test_acks_on_a_shared_channel_are_not_shown_as_those_of_a_queue(self) -> None:
        """Where the queue has other consumers too."""
        busy = Deliveries(5, since(720, 100), since(10, 95, 90))
        shared, other = holder(deliveries=busy, shared=True), holder(0, channel="d")
        [found] = together([replace(QUEUE, consumers=2)], {("/", "q"): flow(3, 20.0)}, [shared, other])
        assert "last ack" not in found.reason

    def test_a_task_that_came_again_is_work_of_its_worker(self) -> None:
        """It is taken out of the queue beside, where no consumer is."""
        started = replace(QUEUE, name="q.retry.started", consumers=0, messages_unacknowledged=1)
        diagnoses = together(
            [replace(QUEUE, messages_unacknowledged=0), started],
            {("/", "q.retry.started"): flow(1, 720.0)},
            [holder(1, client=OURS)],
        )
        assert [found.verdict for found in diagnoses] == ["ok", "working"]

    def test_a_reject_of_the_only_consumer_counts_as_life(self) -> None:
        """The queue's length fell, and nobody else can have done it."""
        history = replace(flow(3, 720.0), released=BROKER_NOW - 10)
        for consumers, expected in ((1, "working"), (2, "forgotten ack?")):
            queue = replace(QUEUE, consumers=consumers)
            [found] = together([queue], {("/", "q"): history}, [holder()])
            assert found.verdict == expected


def test_the_clock() -> None:
    """The broker's times on our clock: hours of today, the day where it was another one."""
    assert CLOCK.hour(BROKER_NOW - 720) == "14:02"
    assert CLOCK.hour(BROKER_NOW - 86_400) == "Nov 24 14:14"
    assert CLOCK.local(BROKER_NOW - 60) == NOW - timedelta(seconds=60)
    assert (Clock(None, NOW).hour(5.0), CLOCK.local(None)) == ("", None)


class TestShortMemory:
    """The broker remembers less than is asked for: nobody is accused, and nobody is called fine."""

    def short(self, queue: Queue, *holders: Holder, remembers: float = 60.0) -> Diagnosis:
        return Diagnosis(queue, Deliveries(0), holders, Basis(60.0, CLOCK, remembers))

    def cut(self, flow: Deliveries) -> Deliveries:
        """As far as a minute goes."""
        return replace(flow, delivered=flow.delivered[:13], acked=flow.acked[:13])

    def test_who_settled_nothing_in_that_time(self) -> None:
        """It may have forgotten, or have a long task."""
        silent = holder(deliveries=self.cut(flow(3, 720.0)))
        found = self.short(QUEUE, silent)
        assert ([each.verdict for each in found.findings], found.stuck, found.is_undecided) == (["unknown"], 0, True)
        assert found.reason.startswith(
            "3 held for over 1 min by billing-import (10.0.0.7:53366, pid 4242): no ack since"
        )
        assert Diagnosis(QUEUE, Deliveries(0), [silent], Basis(50.0, CLOCK, 60.0)).verdict == "forgotten ack?"

    @pytest.mark.parametrize(("remembers", "is_enough"), [(60.0 + 2 * LAG, True), (59.9 + 2 * LAG, False)])
    def test_how_long_a_memory_is_enough(self, remembers: float, is_enough: bool) -> None:
        """The figures at both of its ends may be late."""
        assert Basis(60.0, CLOCK, remembers).is_enough is is_enough

    def test_who_is_seen_at_work(self) -> None:
        """An ack, a fresh delivery, and a worker of rqtool's that is heard, need no long memory."""
        for seen in (
            holder(deliveries=self.cut(flow(3, 720.0, since(20.0, 9, 8)))),
            holder(deliveries=self.cut(flow(3, 30.0))),
            holder(client=OURS, deliveries=self.cut(flow(3, 720.0))),
        ):
            found = self.short(QUEUE, seen)
            assert ([each.verdict for each in found.findings], found.is_undecided) == (["working"], False)

    def test_no_memory_at_all(self) -> None:
        """Without deliveries that are counted, or without statistics."""
        for holders in ([holder(deliveries=Deliveries(3))], []):
            found = self.short(QUEUE, *holders, remembers=0.0)
            assert (found.verdict, found.reason) == ("unknown", "3 held; by whom and since when is not known")
        assert self.short(replace(QUEUE, messages_unacknowledged=0), remembers=0.0).verdict == "ok"


def test_what_waits_is_not_known_yet() -> None:
    """The queue itself is fine, and nobody says that nothing waits."""
    empty = replace(QUEUE, messages_ready=0, messages_unacknowledged=0, waiting=None)
    found = judged(empty)
    assert (found.verdict, found.reason) == ("ok", "empty, how many wait for their time is not known yet")
