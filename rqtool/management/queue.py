"""Queues as the management API describes them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rqtool.management.fields import Row, at, flag, number, table, text
from rqtool.topology import drops

Key = tuple[str, str]
"""Vhost and name of a queue."""


def key_of(row: object) -> Key:
    """The key of a queue, from a row that has its vhost and name."""
    return str(at(row, "vhost")), str(at(row, "name"))


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue under rabbitmqctl's own names. None: the API does not say.

    `auto_delete`: the broker deletes it with its last consumer; `exclusive`: with the connection that declared it.
    `delays`: it keeps messages for a time and then passes them on, so it needs no consumer. `drops`: the settings in
    its arguments and its policy that may drop messages. `ttl`: how many seconds its arguments keep a message.
    `waiting`: how many messages wait for their time in queues beside it. `leader`: a quorum queue's node.

    `head_timestamp`: the `timestamp` of the oldest message, ready or held, in seconds since 1970; only classic queues
    report it. `was_drained`: nothing was ready in the last report, so what is ready now is younger than that.
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
    head_timestamp: int | None = None
    was_drained: bool = False
    ttl: float | None = None
    waiting: int | None = 0
    leader: str | None = None

    @property
    def key(self) -> Key:
        return self.vhost, self.name

    @property
    def ready(self) -> int:
        """0 where it is not known."""
        return self.messages_ready or 0

    @property
    def held(self) -> int:
        """Delivered and not acknowledged; 0 where it is not known."""
        return self.messages_unacknowledged or 0

    @property
    def is_sure(self) -> bool:
        """Whether its live figures count: a quorum queue says 0 until its first report, though it may be full."""
        return bool(self.type != "quorum" or self.messages)

    @property
    def leaving(self) -> int:
        """Messages that a quorum queue is dead-lettering, until their next queue confirms them: in no other figure."""
        return max(0, (self.messages or 0) - self.ready - self.held)


def read_queue(row: Row) -> Queue:
    """Read a row of the API's lists of queues."""
    arguments, policy = (table(row.get(name)) for name in ("arguments", "effective_policy_definition"))
    kind = text(row.get("type"))
    return Queue(
        vhost=str(row.get("vhost", "")),
        name=str(row.get("name", "")),
        messages_ready=number(row.get("messages_ready")),
        messages_unacknowledged=number(row.get("messages_unacknowledged")),
        consumers=number(row.get("consumers")),
        state=_state(row),
        type=kind,
        durable=flag(row.get("durable")),
        exclusive=flag(row.get("exclusive")),
        delays={"x-message-ttl", "x-dead-letter-exchange"} <= arguments.keys(),
        messages=number(row.get("messages")),
        auto_delete=flag(row.get("auto_delete")),
        drops=tuple(drops({**policy, **arguments}, kind)),
        head_timestamp=number(row.get("head_message_timestamp")),
        ttl=None if (ttl := number(arguments.get("x-message-ttl"))) is None else ttl / 1000,
        leader=text(row.get("leader")),
    )


def _state(row: Row) -> str | None:
    """RabbitMQ 3.10 does not say `minority` of a quorum queue most of whose members are down, but lists those."""
    members, online = row.get("members"), row.get("online")
    if isinstance(members, list) and isinstance(online, list) and len(online) <= len(members) / 2 > 0:
        return "minority"
    return text(row.get("state"))


def completed(live: Sequence[Queue], reported: Sequence[Queue]) -> list[Queue]:
    """The `live` figures, with the policies, consumers and timestamps that the queues `reported` last.

    From the start of its node until its first report, a quorum queue says 0 although it may be full (RabbitMQ 3.10: for
    6 s), so its figures are unknown. So are those of a queue that is only in `reported`: it does not answer yet (4.3,
    in the first second).
    """
    reports = {queue.key: queue for queue in reported}
    queues = []
    for queue in live:
        report = reports.pop(queue.key, None)
        if report is not None:
            queue = replace(
                queue,
                consumers=report.consumers,
                drops=queue.drops or report.drops,
                head_timestamp=report.head_timestamp,
                was_drained=report.messages_ready == 0,
            )
        has_reported = report is not None and report.messages is not None
        queues.append(queue if has_reported or queue.is_sure else _unknown(queue))
    return sorted([*queues, *map(_unknown, reports.values())], key=lambda queue: queue.key)


def _unknown(queue: Queue) -> Queue:
    return replace(queue, messages=None, messages_ready=None, messages_unacknowledged=None)
