"""Giving held messages back: the connections of those who forgot them are closed, and the broker delivers them again.

https://www.rabbitmq.com/docs/confirms#automatic-requeueing
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import quote

from rqtool.errors import AccessRefused, RqtoolError
from rqtool.management.api import Management
from rqtool.management.queue import Queue, Row
from rqtool.queues.attribution import held_by
from rqtool.queues.diagnosis import Diagnosis
from rqtool.queues.holders import Client, Holder
from rqtool.queues.snapshot import look

FIGURES_SECONDS = 10.0
"""How long the broker may take to show that messages are ready again: the totals of a quorum queue come every 5 s."""
POLL = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A connection to close, with all its channels. `held`: messages of the queue that come back; `elsewhere`: of other
    queues, by name; `busy`: as many of either, by the queue's name, are with consumers that are no suspects.
    """

    client: Client
    held: int
    elsewhere: dict[str, int]
    busy: dict[str, int]

    @property
    def suspect(self) -> bool:
        """Whether everything that it holds was forgotten, as far as can be seen."""
        return not self.busy


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be closed. `others` hold messages of the queue too, and stay."""

    diagnosis: Diagnosis
    targets: Sequence[Target]
    others: Sequence[Holder]
    unseen: str


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
        """Say who would be closed.

        Raises RqtoolError where there is no such queue or holder, or where messages would be deleted by it.
        """
        plan = self._plan()
        holding = [each for each in plan.diagnosis.sight.holders if each.held]
        missing = [name for name in self._names if not any(name in _names(each) for each in holding)]
        if missing:
            raise RqtoolError(
                f"Nobody called {missing[0]!r} holds messages of {self._queue!r}", "See: rqtool queues --holders"
            )
        return plan

    def _plan(self) -> Plan:
        seen = look(self._api, self._vhost, self._stuck_after, datetime.now().astimezone())
        diagnosis = next((each for each in seen.diagnoses if each.queue.name == self._queue), None)
        if diagnosis is None:
            raise RqtoolError(f"There is no queue {self._queue!r} here", "See the names with: rqtool queues")
        holding = [each for each in diagnosis.sight.holders if each.held]
        chosen = [each for each in holding if self._is_meant(each, diagnosis)]
        clients = {each.client.connection: each.client for each in chosen}
        self._refuse_deletion(seen.diagnoses, clients)
        targets = [target_of(client, diagnosis, seen.diagnoses) for client in clients.values()]
        others = [each for each in holding if each.client.connection not in clients]
        return Plan(diagnosis, targets, others, seen.unseen)

    def carry_out(self, plan: Plan) -> Released:
        """Close what was planned and is still to blame, and wait until the messages are back. Whoever acknowledged
        after all, or went, is left out.

        Raises AccessRefused, Unreachable; RqtoolError where the queue is gone, or would go with its messages.
        """
        agreed = {target.client.connection for target in plan.targets}
        now = self._plan()
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

    def _refuse_deletion(self, diagnoses: Sequence[Diagnosis], closing: Collection[str]) -> None:
        """Raise RqtoolError where a queue with messages would go with these connections.

        https://www.rabbitmq.com/docs/queues#properties: an auto-delete queue goes with its last consumer (one that
        never had any stays), an exclusive one with its connection.
        """
        mortal = [each for each in diagnoses if each.queue.exclusive or each.queue.auto_delete]
        if not closing or not mortal:
            return
        # Those that hold nothing count as well.
        query = {"columns": "queue.name,channel_details.connection_name"}
        rows = self._api.rows(f"/api/consumers/{quote(self._vhost, safe='')}", query) or []
        consuming = [(_get(row, "queue", "name"), _get(row, "channel_details", "connection_name")) for row in rows]
        for each in mortal:
            connections = {connection for queue, connection in consuming if queue == each.queue.name}
            holding = {holder.client.connection for holder in each.sight.holders if holder.held and each.sight.held}
            if would_be_deleted(each, connections, holding, closing):
                name = each.queue.name
                if each.queue.exclusive:
                    raise RqtoolError(
                        f"Closing that connection would delete the queue {name!r} with its messages: it is exclusive",
                        "Nobody else can get them; only that program can acknowledge or return them",
                    )
                raise RqtoolError(
                    f"Closing its last consumer would delete the queue {name!r} with its messages: it is auto-delete",
                    f"Start another consumer of {name!r} first, for instance: rqtool work",
                )

    def _await_return(self, closed: Sequence[Target], before: Queue) -> Released:
        held = sum(target.held for target in closed)
        deadline = time.monotonic() + FIGURES_SECONDS
        while True:
            queue = next((each for each in self._api.queues(self._vhost) if each.name == self._queue), None)
            if queue is None:
                names = ", ".join(target.client.described for target in closed) or "nobody"
                raise RqtoolError(
                    f"The queue {self._queue!r} is gone, deleted by somebody; closed {names}", "See: rqtool queues"
                )
            back = (queue.messages_ready or 0) >= (before.messages_ready or 0) + held
            gone = (queue.messages_unacknowledged or 0) <= (before.messages_unacknowledged or 0) - held
            if back or gone or time.monotonic() > deadline:
                return Released(closed, queue, seen=back or gone)
            time.sleep(POLL)


def target_of(client: Client, diagnosis: Diagnosis, diagnoses: Sequence[Diagnosis]) -> Target:
    """All that a connection holds of any queue: closing it ends all its channels. A shared channel counts once for each
    queue, and for no more than that queue has out.
    """
    held: dict[str, int] = {}
    busy: dict[str, int] = {}
    for each in diagnoses:
        mine = [holder for holder in each.sight.holders if holder.client.connection == client.connection]
        free = [holder for holder in mine if holder not in each.suspects]
        for found, holders in ((held, mine), (busy, free)):
            if count := min(each.sight.held, held_by(holders)):
                found[each.queue.name] = count
    return Target(client, held.pop(diagnosis.queue.name, 0), held, busy)


def would_be_deleted(
    diagnosis: Diagnosis, consuming: Collection[str], holding: Collection[str], closing: Collection[str]
) -> bool:
    """Whether a queue that has messages, or may have some, goes when the connections in `closing` do; `consuming`,
    `holding`: those that have consumers or messages of it.
    """
    if diagnosis.queue.messages_ready == 0 and not diagnosis.sight.held:
        return False
    if diagnosis.queue.exclusive:
        return bool({*consuming, *holding} & set(closing))
    return bool(diagnosis.queue.auto_delete and consuming and set(consuming) <= set(closing))


def _get(row: Row, *path: str) -> str:
    value: object = row
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, str) else ""


def _names(holder: Holder) -> set[str]:
    client = holder.client
    return {name for name in (client.name, client.address, client.connection) if name}
