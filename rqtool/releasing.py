"""Giving held messages back: the connections of those who forgot them are closed, and the broker delivers them again.

https://www.rabbitmq.com/docs/confirms#automatic-requeueing
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from rqtool.diagnosis import Clock, Diagnosis
from rqtool.errors import AccessRefused, RqtoolError
from rqtool.figures import Queue
from rqtool.holders import Client, Holder
from rqtool.management import Management
from rqtool.observing import Look, look

FIGURES_SECONDS = 10.0
"""How long the broker may take to show that messages are ready again: the totals of a quorum queue come every 5 s."""
POLL = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A connection to close. `held`: messages of the queue that come back; `elsewhere`: of other queues, by name."""

    client: Client
    held: int
    elsewhere: dict[str, int]
    suspect: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be closed. `others` hold messages of the queue too, and stay."""

    diagnosis: Diagnosis
    clock: Clock
    targets: Sequence[Target]
    others: Sequence[Holder]
    unseen: str

    @property
    def held(self) -> int:
        return min(self.diagnosis.sight.held, sum(target.held for target in self.targets))


@dataclass(frozen=True, slots=True)
class Released:
    """What came of it; `closed` may be fewer than planned, where some did ack after all. `seen`: the broker's figures
    show that the messages are back.
    """

    closed: Sequence[Target]
    queue: Queue
    seen: bool

    @property
    def held(self) -> int:
        return sum(target.held for target in self.closed)


class Release:
    """Of one queue. `names`: close these, whoever they are (client name, address or connection); none: the suspects."""

    def __init__(self, api: Management, vhost: str, queue: str, names: Collection[str], stuck_after: float) -> None:
        self._api = api
        self._vhost = vhost
        self._queue = queue
        self._names = names
        self._stuck_after = stuck_after

    def plan(self) -> Plan:
        """Say who would be closed. Raises RqtoolError where there is no such queue or holder."""
        seen = look(self._api, self._vhost, self._stuck_after, datetime.now().astimezone())
        diagnosis = next((each for each in seen.diagnoses if each.queue.name == self._queue), None)
        if diagnosis is None:
            raise RqtoolError(f"There is no queue {self._queue!r} here", "See the names with: rqtool queues")
        holding = [each for each in diagnosis.sight.holders if each.held]
        chosen = [each for each in holding if self._is_meant(each, diagnosis)]
        missing = [name for name in self._names if not any(name in _names(each) for each in holding)]
        if missing:
            raise RqtoolError(
                f"Nobody called {missing[0]!r} holds messages of {self._queue!r}", "See: rqtool queues --holders"
            )
        connections = {each.client.connection: each for each in chosen}
        targets = [self._target(each, chosen, seen, diagnosis) for each in connections.values()]
        others = [each for each in holding if each.client.connection not in connections]
        return Plan(diagnosis, seen.clock, targets, others, seen.unseen)

    def carry_out(self, plan: Plan) -> Released:
        """Close what was planned and is still to blame, and wait until the messages are back.

        Raises AccessRefused, Unreachable.
        """
        agreed = {target.client.connection for target in plan.targets}
        now = self.plan()
        closed = [target for target in now.targets if target.client.connection in agreed]
        before = now.diagnosis.queue
        for target in closed:
            self._close(target)
        return self._await_return(closed, before)

    def _close(self, target: Target) -> None:
        try:
            self._api.close_connection(
                target.client.connection, f"rqtool release: {target.held} of {self._queue} held without an ack"
            )
        except AccessRefused:
            raise AccessRefused(
                f"This user may not close the connection of {target.client.described}",
                "Use one with the tag administrator, or restart that program",
            ) from None

    def _is_meant(self, holder: Holder, diagnosis: Diagnosis) -> bool:
        return bool(_names(holder) & set(self._names)) if self._names else holder in diagnosis.suspects

    def _target(self, holder: Holder, chosen: Sequence[Holder], seen: Look, diagnosis: Diagnosis) -> Target:
        connection = holder.client.connection
        here = {each.channel: each.held for each in chosen if each.client.connection == connection}
        elsewhere = {
            other.queue.name: min(each.held, other.sight.held)
            for other in seen.diagnoses
            for each in other.sight.holders
            if other is not diagnosis and each.client.connection == connection and each.held and other.sight.held
        }
        held = min(sum(here.values()), diagnosis.sight.held)
        return Target(holder.client, held, elsewhere, suspect=holder in diagnosis.suspects)

    def _await_return(self, closed: Sequence[Target], before: Queue) -> Released:
        held = sum(target.held for target in closed)
        deadline = time.monotonic() + FIGURES_SECONDS
        while True:
            queue = next(each for each in self._api.queues(self._vhost) if each.name == self._queue)
            back = (queue.messages_ready or 0) >= (before.messages_ready or 0) + held
            gone = (queue.messages_unacknowledged or 0) <= (before.messages_unacknowledged or 0) - held
            if back or gone or time.monotonic() > deadline:
                return Released(closed, queue, seen=back or gone)
            time.sleep(POLL)


def _names(holder: Holder) -> set[str]:
    client = holder.client
    return {name for name in (client.name, client.address, client.connection) if name}
