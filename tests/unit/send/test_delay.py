"""Delays as sums of waits: the queues that a task passes, and what leads it from one to the next."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.errors import UsageError
from rqtool.send.delay import LONGEST, SHORTEST, Route, bindings, longest_name, route
from rqtool.topology import Arguments, sibling_arguments

LONGEST_TTL = 2**32 - 1
"""Milliseconds: the broker refuses more."""
delays = st.one_of(st.integers(SHORTEST, 200), st.integers(SHORTEST, LONGEST))


@pytest.mark.parametrize(
    ("seconds", "key", "waits"),
    [
        (1, "1", [1]),
        (63, "63", [63]),
        (64, "64", [64]),
        (65, "1.1", [64, 1]),
        (128, "1.64", [64, 64]),
        (300, "4.44", [256, 44]),
        (4096 + 1, "1.0.1", [4096, 1]),
        (86_400, "21.5.64", [86_016, 320, 64]),
        (3 * 64**3 + 5, "3.0.0.5", [786_432, 5]),
        (16 * 64**3, "15.63.63.64", [15 * 64**3, 63 * 4096, 63 * 64, 64]),
        (16 * 64**3 + 2, "1.0.0.0.2", [16 * 64**3, 2]),
        (LONGEST, "1.1.1.1.1.1.1.8.40.19.64", [16 * 64**3] * 7 + [8 * 64**3, 40 * 4096, 19 * 64, 64]),
    ],
)
def test_a_delay_is_a_sum_of_waits(seconds: int, key: str, waits: list[int]) -> None:
    """The longest first; the digits that are not 0 are the queues."""
    found = route("q", seconds)
    assert (found.key, [queue.wait for queue in found.queues]) == (key, waits)
    assert sum(waits) == seconds


def test_no_delay_is_the_queue_itself() -> None:
    """Through the default exchange, as without the option."""
    assert route("q", 0) == Route("q")


@given(delays)
def test_any_delay(seconds: int) -> None:
    """It waits exactly that long, never twice in one queue (the broker would take that for a cycle), and in no queue
    for longer than the broker can.
    """
    queues = route("q", seconds).queues
    assert sum(queue.wait or 0 for queue in queues) == seconds
    assert len({queue.name for queue in queues}) == len(queues)
    assert all(0 < 1000 * (queue.wait or 0) <= LONGEST_TTL for queue in queues)


@given(delays, delays)
def test_a_queue_holds_all_its_messages_equally_long(one: int, other: int) -> None:
    """Whatever the whole delay: nothing waits behind what expires later."""
    waits = {queue.name: queue for queue in route("q", one).queues}
    assert all(waits.get(queue.name, queue) == queue for queue in route("q", other).queues)


def matches(pattern: str, key: str) -> bool:
    """Whether a topic exchange would hand it on."""
    words = {"*": r"[^.]+", "#": ".*"}
    expression = r"\.".join(words.get(word, re.escape(word)) for word in pattern.split("."))
    return re.fullmatch(expression.replace(r".*\.", r"(?:.*\.)?"), key) is not None


def journey(start: Route, known: set[tuple[str, str, str]], places: dict[str, Arguments]) -> list[str]:
    """The queues that a broker leads a message through: each passes it on to its dead-letter exchange."""
    passed, exchange, key = [], start.exchange, start.key
    while exchange:
        [target] = {to for source, pattern, to in known if source == exchange and matches(pattern, key)}
        exchange = target
        if target in places:
            passed.append(target)
            exchange = str(places[target]["x-dead-letter-exchange"])
            key = str(places[target].get("x-dead-letter-routing-key", key))
    return [*passed, key]


@given(st.lists(delays, min_size=1, max_size=8))
def test_the_broker_finds_the_way(seconds: list[int]) -> None:
    """Whatever other delays have declared: one way, through these queues in this order, and home."""
    routes = [route("q", each) for each in seconds]
    known = {(each.source, each.pattern, each.target) for delay in seconds for each in bindings("q", delay)}
    places = {queue.name: sibling_arguments(queue, None) for each in routes for queue in each.queues}
    for each in routes:
        assert journey(each, known, places) == [*(queue.name for queue in each.queues), "q"]


few = st.integers(0, 2)
alike = st.builds(lambda a, b, c: a * 64**2 + b * 64 + c + 1, few, few, few)
"""Delays that share queues."""


@given(alike, alike)
def test_a_queue_is_never_there_without_its_bindings(one: int, other: int) -> None:
    """Those of its own level and of all below: whether a queue is new says it of them, too."""

    def needed(seconds: int, name: str) -> set[tuple[str, str, str]]:
        """What leads into this queue, and from its level down where digits are 0."""
        level = int(name.split(".")[2])
        return {
            (each.source, each.pattern, each.target)
            for each in bindings("q", seconds)
            if int(each.source.split(".")[2]) <= level and (each.target == name or each.pattern.startswith("#.0."))
        }

    for queue in set(route("q", one).queues) & set(route("q", other).queues):
        assert needed(one, queue.name) == needed(other, queue.name)


def test_a_name_must_leave_room() -> None:
    """For the longest name beside it."""
    assert longest_name("q" * 244) == "q" * 244 + ".delay.10.1"
    with pytest.raises(UsageError):
        longest_name("q" * 245)
