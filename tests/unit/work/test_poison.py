"""Which tasks may have killed their workers, which did, and how long that takes to find out."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.topology import Kind
from rqtool.work.poison import DEATHS, MOST_RETURNS, MOST_STARTS, Step, next_step

MOST_DELIVERIES = 10
"""What users are promised."""

SOURCES: tuple[Kind | None, ...] = (None, "returned", "quarantine")


@pytest.mark.parametrize(
    ("source", "redelivered", "returns", "starts", "step"),
    [
        (None, False, 0, 0, Step.RUN),
        (None, True, 0, 0, Step.TO_RETURNED),
        (None, True, 7, 0, Step.TO_RETURNED),
        (None, False, 0, 3, Step.TO_RETURNED),
        (None, True, 0, 3, Step.TO_RETURNED),
        ("returned", False, 0, 0, Step.RUN),
        # RabbitMQ 4.3 flags what a worker has given back, and does not count it.
        ("returned", True, 0, 0, Step.RUN),
        ("returned", True, 1, 0, Step.TO_QUARANTINE),
        ("returned", True, 30, 0, Step.TO_QUARANTINE),
        ("quarantine", False, 0, 0, Step.RUN),
        ("quarantine", False, 0, 2, Step.RUN),
        ("quarantine", True, 1, 0, Step.TO_QUARANTINE),
        ("quarantine", True, 1, 1, Step.TO_QUARANTINE),
        ("quarantine", True, 1, 2, Step.TO_DEAD),
        ("quarantine", True, 3, 0, Step.TO_QUARANTINE),
    ],
)
def test_the_rule(source: Kind | None, redelivered: bool, returns: int, starts: int, step: Step) -> None:
    """Each row is one line of the module's docstring."""
    assert next_step(source, redelivered=redelivered, returns=returns, starts=starts) is step


@dataclass
class Message:
    """A task in a model of the broker."""

    name: str
    made: int = 0
    returns: int = 0
    starts: int = 0
    redelivered: bool = False


class Broker:
    """Three queues, and the workers of one user, which die together: as the broker and rqtool treat them."""

    def __init__(self, names: list[str]) -> None:
        self.queues = {source: deque[Message]() for source in SOURCES}
        self.queues[None].extend(Message(name) for name in names)
        self.dead: list[str] = []
        self.done: list[str] = []
        self.deliveries = dict.fromkeys(names, 0)
        self.deaths_while_begun = dict.fromkeys(names, 0)
        self.time = 0
        self.known: list[int] = []
        """The crashes that its workers know of."""

    def deliver(self, source: Kind | None, most: int) -> list[Message]:
        """Take deliveries, move those that are to move, and return those that are to run."""
        run: list[Message] = []
        self.time += 1
        for _ in range(min(most, len(self.queues[source]))):
            message = self.queues[source].popleft()
            self.deliveries[message.name] += 1
            returns = max(0, message.returns - sum(message.made < crash for crash in self.known))
            match next_step(source, redelivered=message.redelivered, returns=returns, starts=message.starts):
                case Step.RUN if source == "quarantine" and message.returns:
                    self.queues[source].append(Message(message.name, self.time, starts=message.starts))
                case Step.RUN:
                    run.append(message)
                case Step.TO_RETURNED:
                    self.queues["returned"].append(Message(message.name, self.time))
                case Step.TO_QUARANTINE:
                    starts = message.starts + (source == "quarantine")
                    self.queues["quarantine"].append(Message(message.name, self.time, starts=starts))
                case Step.TO_DEAD:
                    self.dead.append(message.name)
        return run

    def give_back(self, source: Kind | None, messages: list[Message]) -> None:
        """What a dead worker held, to where it stood."""
        for message in reversed(messages):
            message.redelivered = True
            message.returns += source is not None
            self.queues[source].appendleft(message)


def life(
    names: list[str], poison: set[str], jobs: int, prefetch: int, kills: list[bool], crashes: Sequence[str] = ()
) -> Broker:
    """Work until nothing is left. `kills`: whether each further worker is killed by something else as it begins;
    `crashes`: what else goes: the broker, or a host with both. Who begins after that knows of this crash alone.
    """
    broker, killed, crashed = Broker(names), iter(kills), iter(crashes)
    while any(broker.queues.values()):
        prefetches: dict[Kind | None, int] = {"returned": prefetch, None: prefetch, "quarantine": 1}
        for source, most in prefetches.items():
            held = broker.deliver(source, most)
            if (gone := next(crashed, "")) != "":
                broker.give_back(source, held)
                broker.time += 1
                broker.known = [*(broker.known if gone == "broker" else []), broker.time]
                continue
            dies = next(killed, False)
            while held and not (dies or poison & {message.name for message in held[:jobs]}):
                broker.done.append(held.pop(0).name)
            for message in held[:jobs]:
                broker.deaths_while_begun[message.name] += 1
            broker.give_back(source, held)
    return broker


@given(
    st.integers(1, 40),
    st.sets(st.integers(0, 39), max_size=3),
    st.integers(1, 25),
    st.integers(1, 50),
    st.lists(st.booleans(), max_size=60),
)
def test_who_is_given_up(count: int, poison: set[int], jobs: int, prefetch: int, kills: list[bool]) -> None:
    """All that kills its workers, and nothing that was not with five workers, begun each time, when they died."""
    names = [str(n) for n in range(count)]
    bad = {str(n) for n in poison if n < count}
    broker = life(names, bad, jobs, max(jobs, prefetch), kills)
    assert sorted(broker.done + broker.dead) == sorted(names)
    assert bad <= set(broker.dead)
    for name in broker.dead:
        assert broker.deaths_while_begun[name] >= MOST_STARTS


@given(st.integers(1, 40), st.integers(0, 39), st.integers(1, 25), st.integers(1, 50))
def test_poison_is_found_in_time(count: int, poison: int, jobs: int, prefetch: int) -> None:
    """A single one costs five workers, and is dead with its tenth delivery at the latest; all others are done."""
    names = [str(n) for n in range(count)]
    bad = names[poison % count]
    broker = life(names, {bad}, jobs, max(jobs, prefetch), [])
    assert broker.dead == [bad]
    assert broker.deaths_while_begun[bad] <= DEATHS == 1 + MOST_RETURNS + MOST_STARTS
    assert broker.deliveries[bad] <= MOST_DELIVERIES


@given(
    st.integers(1, 40),
    st.integers(1, 25),
    st.integers(1, 50),
    st.lists(st.sampled_from(["", "broker", "host"]), max_size=100),
    st.booleans(),
)
def test_crashes_of_the_broker(count: int, jobs: int, prefetch: int, crashes: list[str], poisoned: bool) -> None:
    """Nobody is blamed for them, and one that kills its workers is found in spite of them."""
    names = [str(n) for n in range(count)]
    bad = set(names[:1]) if poisoned else set[str]()
    broker = life(names, bad, jobs, max(jobs, prefetch), [], crashes)
    assert set(broker.dead) == bad
    assert all(broker.deaths_while_begun[name] <= DEATHS + len(crashes) for name in bad)


def test_nobody_is_blamed_for_thirty_kills_from_outside() -> None:
    """As long as there are others that the blame is shared with."""
    broker = life([str(n) for n in range(150)], set(), jobs=1, prefetch=100, kills=[True] * 30)
    assert broker.dead == []
