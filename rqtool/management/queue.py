"""What is asked and known about queues, as plain data. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rqtool.dropping import drops

Row = dict[str, Any]
"""An object of the management API's."""

_MARKER = ".rqtool.new"
_RETRY = ".retry."
QUARANTINE = ".quarantine"
_RETURNING = (".returned", QUARANTINE)
_ASIDE = (".dead", *_RETURNING)
"""Behind a queue's name: rqtool's marker of one that is new, and where tasks go that were delivered before."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue under rabbitmqctl's own names. None: the API does not say.

    `auto_delete`: it goes with its last consumer; `exclusive`: with the connection that declared it. Messages go too.
    `delays`: it keeps messages for a time and then passes them on; nobody is meant to consume it. `drops`: those of its
    arguments and of its policy that may drop messages.
    """

    vhost: str
    name: str
    messages_ready: int | None
    messages_unacknowledged: int | None
    consumers: int | None
    state: str | None
    type: str | None
    durable: bool | None
    exclusive: bool | None = None
    delays: bool = False
    messages: int | None = None
    auto_delete: bool | None = None
    drops: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return self.vhost, self.name

    @property
    def leaving(self) -> int:
        """Messages that a quorum queue dead-letters and whose new place has not confirmed them: in no other figure."""
        return max(0, (self.messages or 0) - (self.messages_ready or 0) - (self.messages_unacknowledged or 0))


def read_queue(row: Row) -> Queue:
    """Read a row of the API's lists of queues."""
    arguments, policy = (_table(row.get(name)) for name in ("arguments", "effective_policy_definition"))
    kind = _word(row.get("type"))
    return Queue(
        vhost=str(row.get("vhost", "")),
        name=str(row.get("name", "")),
        messages_ready=count_of(row.get("messages_ready")),
        messages_unacknowledged=count_of(row.get("messages_unacknowledged")),
        consumers=count_of(row.get("consumers")),
        state=_word(row.get("state")),
        type=kind,
        durable=_truth(row.get("durable")),
        exclusive=_truth(row.get("exclusive")),
        delays={"x-message-ttl", "x-dead-letter-exchange"} <= arguments.keys(),
        messages=count_of(row.get("messages")),
        auto_delete=_truth(row.get("auto_delete")),
        drops=tuple(drops({**policy, **arguments}, kind)),
    )


def completed(live: Sequence[Queue], reported: Sequence[Queue]) -> list[Queue]:
    """What queues say now, with what they `reported` last: their policies, their consumers, and whether a 0 is one.

    A quorum queue says 0 until it has reported for the first time after a start of its node, though it may be full
    (RabbitMQ 3.10: for 6 s): that is not known. A queue that is in `reported` alone can't be asked yet (4.3, in the
    first second): nothing of it is known.
    """
    said = {queue.key: queue for queue in reported}
    asked = {queue.key for queue in live}
    queues = [_completed(queue, said.get(queue.key)) for queue in live]
    queues += [_unknown(queue) for key, queue in said.items() if key not in asked]
    return sorted(queues, key=lambda queue: queue.key)


def _completed(queue: Queue, said: Queue | None) -> Queue:
    if said is not None:
        queue = replace(queue, consumers=said.consumers, drops=queue.drops or said.drops)
    silent = said is None or said.messages is None
    return _unknown(queue) if queue.type == "quorum" and silent and not queue.messages else queue


def _unknown(queue: Queue) -> Queue:
    return replace(queue, messages=None, messages_ready=None, messages_unacknowledged=None)


def with_consumers(queues: Sequence[Queue], numbers: Mapping[tuple[str, str], int]) -> list[Queue]:
    """With the number of their consumers. The workers of a queue take from its quarantine too, without a consumer."""

    def number(queue: Queue) -> int:
        home = (queue.vhost, queue.name.removesuffix(QUARANTINE))
        return numbers.get(queue.key, 0) + (numbers.get(home, 0) if home != queue.key else 0)

    return [replace(queue, consumers=number(queue)) for queue in queues]


def shown(queues: Sequence[Queue]) -> list[Queue]:
    """Without those that rqtool needs beside a queue and that have nothing to tell: its marker of a new queue, and the
    places for tasks that failed, came back or are given up, while these are known to be empty.
    """
    keys = {queue.key for queue in queues}

    def beside(queue: Queue, suffix: str) -> bool:
        return queue.name.endswith(suffix) and (queue.vhost, queue.name.removesuffix(suffix)) in keys

    def waits(queue: Queue) -> bool:
        return queue.delays and (queue.vhost, queue.name.rpartition(_RETRY)[0]) in keys

    return [
        queue
        for queue in queues
        if not beside(queue, _MARKER)
        and not (queue.messages == 0 and (any(beside(queue, suffix) for suffix in _ASIDE) or waits(queue)))
    ]


def named(queues: Sequence[Queue], names: Collection[str]) -> list[Queue]:
    """Those with these names, and what came back of their tasks, while there is some."""

    def came_back(queue: Queue) -> bool:
        return bool(queue.messages) and any(
            queue.name.endswith(suffix) and queue.name.removesuffix(suffix) in names for suffix in _RETURNING
        )

    return [queue for queue in queues if queue.name in names or came_back(queue)]


def count_of(value: object) -> int | None:
    """Fields can be absent, "undefined" or []."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value != "undefined" else None
