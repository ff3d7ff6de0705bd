"""What goes into a queue that was made a moment ago is there after a `kill -9` of the broker.

    pytest tests/faults/test_new_queues.py --kills 50

RabbitMQ writes new queues down a second or more later than what is in them (bench/new_queues.py measures it).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

import pytest
from pika.exceptions import ChannelClosedByBroker

from rqtool.topology import Destination, quarantine, returned, sibling_arguments
from tests.faults.conftest import Arena, settle_account
from tests.tools import Running, Vhost, eventually

NAMES = {kind: [f"{kind}.{n}" for n in range(6)] for kind in ("classic", "quorum")}
LONG = "10m"
"""A pause that no restart outlasts: what waits is still where it waited when it is counted."""
RECOVERY = 25.0
"""Seconds: a quorum queue shows nothing before it has a leader again."""

pytestmark = pytest.mark.timeout(0)  # --kills says how long it takes; whatever is waited for has a deadline


@pytest.fixture
def kills(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--kills"))


def queues(kill: int) -> Iterator[tuple[str, str]]:
    """Kind and name of those for one kill; a name is also the one task that its queue gets."""
    for kind, names in NAMES.items():
        for name in names:
            yield kind, f"{kill}.{name}"


def send(arena: Arena, names: Iterable[tuple[str, str]]) -> dict[str, Running]:
    """A sender for each, all at once."""
    return {
        name: arena.rqtool.start("send", "-q", name, "--type", kind, "--quiet", name, name=f"send.{name}")
        for kind, name in names
    }


def kill_soon(arena: Arena, programs: Mapping[str, Running], is_safe: Callable[[Running], bool]) -> set[str]:
    """Kill all nodes up to a second after one of the programs said that its task is safe; returns whose task was."""

    def safe() -> set[str]:
        return {name for name, program in programs.items() if is_safe(program)}

    share = random.randint(1, len(programs))
    eventually(lambda: len(safe()) >= share, 120)
    # The queue's age at the kill is what is tried here; on a busy machine it is old enough before its program ends.
    time.sleep(random.choice([0.0, random.random()]))
    arena.kill(*arena.broker.running())
    return safe()


def bodies(vhost: Vhost, queue: str) -> list[bytes]:
    """What is in a queue now; nothing where it is gone."""
    try:
        return vhost.bodies(queue)
    except ChannelClosedByBroker:
        return []


def collect(arena: Arena, names: Iterable[str], siblings: Iterable[str] = ("",)) -> list[bytes]:
    """Take what is in the queues and those beside them, until each has shown something or will not any more."""
    empty, found = set(names), list[bytes]()

    def nothing_missing() -> bool:
        for name in sorted(empty):
            here = [body for sibling in siblings for body in bodies(arena.vhost, name + sibling)]
            found.extend(here)
            if here:
                empty.remove(name)
        return not empty

    deadline = time.monotonic() + RECOVERY
    while not nothing_missing() and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def settle(confirmed: Iterable[str], queued: Iterable[bytes], sent: Iterable[str], what: str) -> None:
    tasks, copies = {name.encode() for name in confirmed}, list(queued)
    lost = tasks - set(copies)
    print(f"{what}: {len(tasks)} tasks called safe, {len(lost)} of them lost")
    # A sender that lost its connection sends again, and a worker moves again what it could not settle.
    settle_account(tasks, queued=copies, sent=[name.encode() for name in sent], most_duplicates=len(copies))


def test_sent_to_a_new_queue(arena: Arena, kills: int) -> None:
    """`send` ends with 0, the broker is killed within a second: the task is in the queue that it made."""
    sent, confirmed, queued = set[str](), set[str](), list[bytes]()
    for kill in range(kills):
        senders = send(arena, queues(kill))
        sent |= set(senders)
        kill_soon(arena, senders, lambda sender: sender.process.poll() == 0)
        arena.restart()
        # Those that were at it go on, and may succeed now.
        confirmed |= {name for name, sender in senders.items() if sender.wait(120).code == 0}
        queued += collect(arena, senders)
    settle(confirmed, queued, sent, "sent to a new queue")


@pytest.mark.parametrize(
    ("delays", "sibling", "said"),
    [(LONG, f".retry.{LONG}", "attempt 2 follows"), ("none", ".dead", "was given up")],
    ids=["wait queue", "dead queue"],
)
def test_moved_to_a_new_queue(arena: Arena, kills: int, delays: str, sibling: str, said: str) -> None:
    """A worker says that a failed task waits for its next attempt, or is dead; the broker is killed within a second:
    the task is there.
    """
    sent, confirmed, queued = set[str](), set[str](), list[bytes]()
    for kill in range(kills):
        senders = send(arena, queues(kill))
        assert {sender.wait(120).code for sender in senders.values()} == {0}
        sent |= set(senders)
    # All that it knows is written down then: these queues are old ones.
    arena.broker.stop()
    arena.restart()
    for kill in range(kills):
        workers = {
            name: arena.rqtool.start("work", "-q", name, "--retry-delays", delays, "--", "false", name=f"work.{name}")
            for _, name in queues(kill)
        }
        confirmed |= kill_soon(arena, workers, lambda worker: said in worker.stderr + worker.stdout)
        for worker in workers.values():
            worker.kill()
        arena.restart()
        # A kill flags what a classic queue holds: the workers of the next kills move it to .returned first.
        queued += collect(arena, workers, ("", ".returned", ".quarantine", sibling))
    # A task that was not moved yet is no less safe: it is in the queue where it was.
    settle(sent, queued, sent, f"moved to a new {sibling}; {len(confirmed)} of them said to be there")


@pytest.mark.parametrize("lost", [returned("orphan"), quarantine("orphan")], ids=["returned", "quarantine"])
def test_a_queue_for_suspects_that_lost_its_leader(arena: Arena, lost: Destination) -> None:
    """RabbitMQ up to 4.0 is killed a moment after it made the queue, and never answers for it again: a task that comes
    back from two workers that died is done all the same.
    """
    arena.rqtool.environment["RQTOOL_QUEUE"] = "orphan"
    assert arena.rqtool("send", "task").code == 0
    with arena.vhost.channel() as channel:
        channel.queue_declare(lost.name, durable=True, arguments=sibling_arguments(lost, None))
    arena.kill(*arena.broker.running())
    arena.restart()
    log = arena.rqtool.cwd / "log"
    for death in range(2):
        worker = arena.rqtool.start("work", "--", "sh", "-c", "cat >> log; while [ ! -e over ]; do sleep 0.05; done")
        eventually(lambda death=death: log.exists() and len(log.read_bytes()) > 4 * death, 90)  # type: ignore[misc]
        worker.kill()
    (arena.rqtool.cwd / "over").touch()
    ended = arena.rqtool.start("work", "--drain", "--", "sh", "-c", "cat >> log").wait(150)
    assert ended.code == 0, ended
    assert log.read_text() == 3 * "task"
    assert arena.vhost.figures("orphan") == (0, 0)
