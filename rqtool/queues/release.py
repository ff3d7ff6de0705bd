"""Returns held messages to their queue: closes the connections that forgot them, and the broker requeues them.

https://www.rabbitmq.com/docs/confirms#automatic-requeueing
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from rqtool.errors import AccessRefused, RqtoolError, Unreachable, no_queue
from rqtool.management.api import Management, below
from rqtool.management.client import Client
from rqtool.management.fields import at
from rqtool.management.queue import Queue
from rqtool.queues.diagnosis import OUT_OF_REACH, Diagnosis
from rqtool.queues.holders import held_by
from rqtool.queues.snapshot import Snapshot, take_snapshot
from rqtool.topology import ON_THEIR_WAY, kind_beside

FIGURES_SECONDS = 10.0
"""How long the broker may take to show the messages as ready: the totals of a quorum queue come every 5 s."""
POLL = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """A connection to close, with all its channels. `held`: messages of the queue that come back; `elsewhere`: of other
    queues, by name; `busy`: those of either that its consumers without suspicion hold, by the queue's name.
    """

    client: Client
    held: int
    elsewhere: dict[str, int]
    busy: dict[str, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """The connections to close. `unseen`: as in a snapshot."""

    diagnosis: Diagnosis
    targets: Sequence[Target]
    unseen: str


@dataclass(frozen=True, slots=True)
class Released:
    """The result. `closed` may be fewer than planned; closing them returned `held` messages. `beside`: the messages
    that workers have moved to other queues, by queue name. `seen`: the broker's figures show them.
    """

    closed: Sequence[Target]
    held: int
    queue: Queue
    beside: dict[str, int]
    seen: bool


class Release:
    """Releases the messages of one queue. `names`: close these clients, busy or not (client name, address or
    connection); empty: the suspects.
    """

    def __init__(self, api: Management, vhost: str, queue: str, names: Collection[str], stuck_after: float) -> None:
        self._api = api
        self._vhost = vhost
        self._queue = queue
        self._names = set(names)
        self._stuck_after = stuck_after

    def plan(self) -> Plan:
        """Return what would be closed. Raises RqtoolError if there is no such queue or holder, or if the broker would
        delete messages with it; Unreachable if the queue does not answer.
        """
        plan = self._plan()
        missing = self._names.difference(*(holder.client.names for holder in plan.diagnosis.holding))
        if missing:
            raise RqtoolError(
                f"Nobody called {min(missing)!r} holds messages of {self._queue!r}", "See: rqtool queues --holders"
            )
        return plan

    def carry_out(self, plan: Plan) -> Released:
        """Close those connections of the plan that still hold forgotten messages, and wait until the messages are back.
        Raises AccessRefused, Unreachable; RqtoolError if the queue is gone, or would be deleted.
        """
        agreed = {target.client.connection for target in plan.targets}
        now = self._plan()
        closed = [target for target in now.targets if target.client.connection in agreed]
        _, beside = self._look()
        for target in closed:
            reason = f"rqtool release: {target.held} of {self._queue} held without an ack"
            try:
                self._api.close_connection(target.client.connection, reason)
            except AccessRefused:
                raise AccessRefused(
                    f"This user may not close the connection of {target.client.described}",
                    "Use one with the tag administrator, or restart that program",
                ) from None
        return self._await_return(closed, now.diagnosis.queue, sum(beside.values()))

    def _plan(self) -> Plan:
        snapshot, diagnosis = self._diagnose()
        if diagnosis is None:  # perhaps an empty queue beside another one, which only shows when it is named
            snapshot, diagnosis = self._diagnose([self._queue])
            if diagnosis is None:
                raise no_queue(self._queue)
            return Plan(diagnosis, [], snapshot.unseen)
        if diagnosis.queue.state in OUT_OF_REACH or diagnosis.queue.messages_unacknowledged is None:
            what = f"Nobody can say who holds messages of {self._queue!r}: {diagnosis.reason}"
            raise Unreachable(what, "Try again when it answers")
        named = [holder for holder in diagnosis.holding if holder.client.names & self._names]
        chosen = named if self._names else diagnosis.suspects
        clients = {holder.client.connection: holder.client for holder in chosen}
        if clients:
            self._refuse_deletion(snapshot.diagnoses, clients)
        targets = [target_of(client, diagnosis, snapshot.diagnoses) for client in clients.values()]
        return Plan(diagnosis, targets, snapshot.unseen)

    def _diagnose(self, patterns: Sequence[str] | None = None) -> tuple[Snapshot, Diagnosis | None]:
        """Take a snapshot of these queues, or of all shown ones. Return it with the diagnosis of our queue."""
        snapshot = take_snapshot(self._api, self._vhost, self._stuck_after, datetime.now().astimezone(), patterns)
        return snapshot, next((each for each in snapshot.diagnoses if each.queue.name == self._queue), None)

    def _refuse_deletion(self, diagnoses: Sequence[Diagnosis], closing: Collection[str]) -> None:
        """Raise RqtoolError if closing these connections would make the broker delete a queue with messages.

        https://www.rabbitmq.com/docs/queues#properties: an auto-delete queue goes with its last consumer (one that
        never had any stays), an exclusive one with its connection.
        """
        mortal = [each for each in diagnoses if each.queue.exclusive or each.queue.auto_delete]
        if not mortal:
            return
        # A snapshot's holders are not enough: consumers that hold nothing count as well.
        query = {"columns": "queue.name,channel_details.connection_name"}
        rows = self._api.rows(f"/api/consumers{below(self._vhost)}", query) or []
        consuming = [(at(row, "queue", "name"), str(at(row, "channel_details", "connection_name"))) for row in rows]
        for each in mortal:
            name = each.queue.name
            connections = {connection for queue, connection in consuming if queue == name}
            if would_be_deleted(each, connections, set(closing)):
                if each.queue.exclusive:
                    raise RqtoolError(
                        f"Closing that connection would delete the queue {name!r} with its messages: it is exclusive",
                        "Nobody else can get them; only that program can acknowledge or return them",
                    )
                raise RqtoolError(
                    f"Closing its last consumer would delete the queue {name!r} with its messages: it is auto-delete",
                    f"Start another consumer of {name!r} first, for instance: rqtool work",
                )

    def _await_return(self, closed: Sequence[Target], before: Queue, before_beside: int) -> Released:
        held = sum(target.held for target in closed)
        deadline = time.monotonic() + FIGURES_SECONDS
        while True:
            queue, beside = self._look()
            if queue is None:
                names = ", ".join(target.client.described for target in closed) or "nobody"
                raise RqtoolError(f"The queue {self._queue!r} was deleted; closed {names}", "See: rqtool queues")
            seen = queue.ready + sum(beside.values()) >= before.ready + before_beside + held
            gone = not beside and queue.held <= before.held - held
            if seen or gone or time.monotonic() > deadline:
                return Released(closed, held, queue, {name: count for name, count in beside.items() if count}, seen)
            time.sleep(POLL)

    def _look(self) -> tuple[Queue | None, dict[str, int]]:
        """The queue, and how many messages are in those that workers move its messages to."""
        queues = {each.name: each for each in self._api.queues(self._vhost, [self._queue])}
        beside = (each for name, each in queues.items() if kind_beside(self._queue, name) in ON_THEIR_WAY)
        return queues.get(self._queue), {each.name: each.messages or 0 for each in beside}


def target_of(client: Client, diagnosis: Diagnosis, diagnoses: Sequence[Diagnosis]) -> Target:
    """All messages that a connection holds, of any queue, because closing it ends all its channels. A shared channel
    counts once for each queue, with at most the messages that the queue has out.
    """
    held: dict[str, int] = {}
    busy: dict[str, int] = {}
    for each in diagnoses:
        own = [holder for holder in each.holding if holder.client.connection == client.connection]
        for found, holders in ((held, own), (busy, [holder for holder in own if holder not in each.suspects])):
            if count := min(each.queue.held, held_by(holders)):
                found[each.queue.name] = count
    return Target(client, held.pop(diagnosis.queue.name, 0), held, busy)


def would_be_deleted(diagnosis: Diagnosis, consuming: set[str], closing: set[str]) -> bool:
    """Whether the broker deletes a queue that has messages, or may have some, when it closes the connections `closing`;
    `consuming`: those with a consumer of it.
    """
    queue = diagnosis.queue
    if queue.messages_ready == 0 and not queue.held:
        return False
    if queue.exclusive:
        return bool((consuming | {holder.client.connection for holder in diagnosis.holding}) & closing)
    return bool(queue.auto_delete and consuming and consuming <= closing)
