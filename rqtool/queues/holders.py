"""Who holds messages: consumers, channels and connections of the management API, joined. Pure.

https://www.rabbitmq.com/docs/consumers
"""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from rqtool.management.client import Client, read_address, read_client
from rqtool.management.fields import Row, at, number
from rqtool.management.queue import Key, key_of
from rqtool.management.samples import added, last_change, read_samples
from rqtool.queues.history import Deliveries


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer, or a channel without one, that may hold messages of `queue`.

    `queue` None: unknown, the channel has no consumer (any more). `held` is the channel's; `shared`: it has several
    consumers, and the API does not say which of them holds the messages. `prefetch` 0: no limit.

    `channel_held`: set where `deliveries` are the queue's and not the channel's, because all consumers of the queue are
    on that channel.
    """

    vhost: str
    queue: str | None
    channel: str
    client: Client
    deliveries: Deliveries
    consumer_tag: str | None = None
    prefetch: int = 0
    shared: bool = False
    channel_held: int | None = None

    @property
    def held(self) -> int:
        return self.deliveries.held if self.channel_held is None else self.channel_held

    @property
    def acks_are_its_own(self) -> bool:
        """Whether `deliveries` count its queue alone; acks on a shared channel may be for another queue."""
        return not self.shared or self.channel_held is not None

    def is_stuck(self, stuck_after: float) -> bool:
        """Whether it has held messages and settled none for so many seconds. A worker of rqtool acks when its task is
        done, however long that takes, so it is stuck only if the broker hears nothing from it for that time. A pause of
        some seconds, of the machine or the network, is not its fault. If it stays silent the broker closes its
        connection after two or three heartbeats, before the default of 60 s, and delivers its messages again.
        https://www.rabbitmq.com/docs/heartbeats
        """
        if not self.held:
            return False
        if self.client.rqtool is not None:
            return self.client.silent_seconds >= stuck_after
        return self.deliveries.quiet_seconds() >= stuck_after

    @property
    def may_be_stuck(self) -> bool:
        """Whether the history is too short to show that it is not stuck."""
        if self.client.rqtool is not None:
            return self.client.silent_seconds > 0
        return self.deliveries.never_settled


def held_by(holders: Iterable[Holder]) -> int:
    """How many messages they hold together. A channel counts once, however many consumers share it."""
    return sum({holder.channel: holder.held for holder in holders}.values())


def consumed(consumers: Iterable[Row]) -> dict[str, set[Key]]:
    """The queues from which each channel gets messages that it has to acknowledge."""
    return {channel: {key_of(row.get("queue")) for row in rows} for channel, rows in _by_channel(consumers).items()}


def _by_channel(consumers: Iterable[Row]) -> dict[str, list[Row]]:
    """The consumers that ack."""
    found: defaultdict[str, list[Row]] = defaultdict(list)
    for row in consumers:
        if row.get("ack_required") is not False:
            found[str(at(row, "channel_details", "name"))].append(row)
    return dict(found)


def join(consumers: Sequence[Row], channels: Sequence[Row], connections: Sequence[Row]) -> Iterator[Holder]:
    """A holder per consumer that acks, and one per channel that holds messages without a consumer."""
    clients = {str(row.get("name")): read_client(row) for row in connections}
    by_channel = _by_channel(consumers)
    for row in channels:
        connection = str(at(row, "connection_details", "name"))
        name = str(row.get("name"))
        holder = Holder(
            vhost=str(row.get("vhost", "")),
            queue=None,
            channel=name,
            client=clients.get(connection) or Client(connection, address=read_address(row.get("connection_details"))),
            deliveries=channel_deliveries(row),
            prefetch=number(row.get("global_prefetch_count")) or 0,
        )
        consuming = by_channel.get(name, ())
        if not consuming and holder.held:
            yield holder
        for consumer in consuming:
            yield replace(
                holder,
                queue=str(at(consumer, "queue", "name")),
                consumer_tag=str(consumer.get("consumer_tag", "")),
                prefetch=holder.prefetch or number(consumer.get("prefetch_count")) or 0,
                shared=len(consuming) > 1,
            )


def channel_deliveries(row: Row) -> Deliveries:
    deliver, get = (read_samples(row, "message_stats", f"{kind}_details") for kind in ("deliver", "get"))
    return Deliveries(
        held=number(row.get("messages_unacknowledged")) or 0,
        delivered=added(deliver, get),
        acked=read_samples(row, "message_stats", "ack_details"),
        idle_since=_time(row.get("idle_since")),
    )


def queue_deliveries(row: Row) -> Deliveries:
    """The history of a queue, whose lengths also show messages that were settled without an ack."""
    lengths = read_samples(row, "messages_unacknowledged_details")
    emptied = next((sample.time for sample in lengths if sample.value == 0), None)
    return replace(channel_deliveries(row), released=last_change(lengths, operator.lt), emptied=emptied)


def _time(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None
