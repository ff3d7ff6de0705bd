"""The queues beside NAME, and what all of them are declared with."""

from __future__ import annotations

import pytest

from rqtool.errors import UsageError
from rqtool.topology import (
    UNREACHED_LIMIT,
    Arguments,
    Destination,
    Kind,
    QueueType,
    at_home,
    check_sibling_names,
    dead,
    dead_queue,
    delaying,
    homes,
    kind_beside,
    new_marker,
    quarantine,
    queue_arguments,
    returned,
    sibling_arguments,
    sibling_queues,
    spare,
    waiting,
)


def test_a_plain_queue_is_declared_as_the_tutorial_does() -> None:
    """Without --type there are no arguments: whoever declares a durable queue shares it."""
    assert queue_arguments("q", None) == {}


def test_a_classic_queue_has_its_type_and_nothing_else() -> None:
    """--type classic asks for the type alone."""
    assert queue_arguments("q", "classic") == {"x-queue-type": "classic"}


def test_a_quorum_queue_drops_nothing_silently() -> None:
    """What the broker gives up goes to the dead queue, at least once, and not before an explicit limit."""
    assert queue_arguments("q", "quorum") == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": UNREACHED_LIMIT,
    }


def test_the_dead_queue_is_named_after_its_queue() -> None:
    """NAME.dead is a contract."""
    assert dead_queue("task_queue") == "task_queue.dead"
    assert dead("task_queue") == Destination("task_queue.dead", "task_queue", None)


@pytest.mark.parametrize("delay", ["10s", "0.5m", "started-not"])
def test_a_wait_queue_is_named_after_its_queue_and_delay(delay: str) -> None:
    """NAME.retry.DELAY is a contract: workers with the same delay share it."""
    assert waiting("task_queue", delay, 30.0) == Destination(f"task_queue.retry.{delay}", "task_queue", 30.0)


@pytest.mark.parametrize("kind", [None, "classic", "quorum"])
@pytest.mark.parametrize("place", [returned("q"), quarantine("q")])
def test_what_came_back_is_counted(kind: QueueType | None, place: Destination) -> None:
    """In quorum queues, whatever the main queue is, since only they count returns; what they give up stays."""
    assert sibling_arguments(place, kind) == queue_arguments("q", "quorum")


def test_home_is_the_queue_itself() -> None:
    """Where a task is to be begun it does not wait."""
    assert at_home("task_queue") == Destination("task_queue", "task_queue", None)


WAITING = {"x-message-ttl": 90_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
SAFE = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish", "x-delivery-limit": 100_000}


@pytest.mark.parametrize(
    ("kind", "wait", "arguments"),
    [
        (None, None, {}),
        (None, 90.0, {"x-queue-type": "quorum"} | WAITING | SAFE),
        ("classic", None, {"x-queue-type": "classic"}),
        ("classic", 90.0, {"x-queue-type": "quorum"} | WAITING | SAFE),
        ("quorum", None, {"x-queue-type": "quorum", "x-delivery-limit": 100_000}),
        ("quorum", 90.0, {"x-queue-type": "quorum"} | WAITING | SAFE),
    ],
)
def test_what_places_are_declared_with(kind: QueueType | None, wait: float | None, arguments: Arguments) -> None:
    """A dead queue is what its queue is; a wait queue sends home after its time, and is one that waits for confirms."""
    place = Destination("q.retry.90s", "q", wait)
    for _ in range(2):
        assert sibling_arguments(place, kind) == arguments


@pytest.mark.parametrize("kind", [None, "classic", "quorum"])
@pytest.mark.parametrize("place", [dead("q"), returned("q"), quarantine("q"), waiting("q", "1s", 1.0)])
def test_no_place_vanishes(kind: QueueType | None, place: Destination) -> None:
    """A queue that expires takes the tasks in it along."""
    assert "x-expires" not in sibling_arguments(place, kind)


@pytest.mark.parametrize(
    ("seconds", "milliseconds"),
    [(0.0, 0), (0.1 * 3, 300), (0.2, 200), (0.0004, 0), (0.0006, 1), (2.01, 2010), (30 * 24 * 3600.0, 2_592_000_000)],
)
def test_the_wait_is_whole_milliseconds(seconds: float, milliseconds: int) -> None:
    """Rounded, not cut, and an integer whatever it was computed from: all workers have to declare the same."""
    ttl = sibling_arguments(waiting("q", "x", seconds), None)["x-message-ttl"]
    assert ttl == milliseconds
    assert type(ttl) is int


class TestSiblingNames:
    """Names are short strings in AMQP: 255 bytes."""

    @pytest.mark.parametrize(
        ("delays", "suffix"),
        [
            ([], ".rqtool.new"),
            (["1s", "10s", "1m"], ".rqtool.new"),
            (["1s", "0.123456789s"], ".retry.0.123456789s"),
            (["0.123456789s", "1s"], ".retry.0.123456789s"),
        ],
    )
    @pytest.mark.parametrize("letter", ["q", "ü", "€", "🐇"])
    def test_the_longest_one_fits_or_is_refused(self, letter: str, delays: list[str], suffix: str) -> None:
        """The longest of them decides, in bytes; the error says how long the queue's name may be."""
        most = 255 - len(suffix)
        wide = len(letter.encode())
        fitting = letter * (most // wide) + "q" * (most % wide)
        waits = [(delay, 1.0) for delay in delays]
        check_sibling_names(fitting, sibling_queues(fitting, waits))
        with pytest.raises(UsageError, match=rf"leaves no room .*such as '.*{suffix[-9:]}'.* at most {most} bytes"):
            check_sibling_names(f"{fitting}q", sibling_queues(f"{fitting}q", waits))

    def test_every_name_that_was_not_refused_fits(self) -> None:
        """The dead queue's too."""
        queue = "q" * (255 - len(quarantine("").name))
        places = sibling_queues(queue, [("720h", 1)])
        check_sibling_names(queue, places)
        for place in places:
            assert len(place.name.encode()) <= 255

    def test_delays_are_measured_in_bytes_too(self) -> None:
        """Digits of other scripts are digits, and have more bytes than characters."""
        queue = "q" * (255 - len(".quarantine"))
        with pytest.raises(UsageError):
            check_sibling_names(queue, sibling_queues(queue, [("٢٣٤٢٣s", 1)]))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("q", []),
        ("q.dead", [("q", "dead")]),
        ("q.returned", [("q", "returned")]),
        ("q.rqtool.new", [("q", "new")]),
        ("q.retry.0.5s.2", [("q", "retry")]),
        ("q.retry.", []),
        ("q.delay.0.5", [("q", "delay")]),
        ("q.delay.reports", []),
        ("q.retry.x.delay.0.5", [("q.retry.x", "delay"), ("q", "retry")]),
        ("q.dead.dead", [("q.dead", "dead")]),
        ("q.returned\n", []),
    ],
)
def test_a_name_tells_what_it_may_be_beside(name: str, found: list[tuple[str, Kind]]) -> None:
    assert list(homes(name)) == found
    assert all(kind_beside(home, name) == kind for home, kind in found)
    assert kind_beside("p", name) is None


def test_each_place_is_told_by_its_name() -> None:
    places = [*sibling_queues("q", [("1s", 1.0)]), spare(waiting("q", "1s", 1.0)), delaying("q", 1, 5, 320.0)]
    kinds = [kind_beside("q", name) for name in (*(place.name for place in places), new_marker("q"))]
    assert kinds == ["dead", "returned", "quarantine", "retry", "retry", "delay", "new"]
