"""Who holds messages: consumers, channels and connections of the management API, joined. Pure.

https://www.rabbitmq.com/docs/consumers, https://www.rabbitmq.com/docs/connections#client-provided-names
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from rqtool.queues.history import LAG, Flow, added, last_change, last_fall, last_nought, read_samples

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Client:
    """A connection, under the names that it gave itself. None: not said.

    `connection` is what the broker calls it. `rqtool`: it is one of ours, in this role. `silent_seconds`: nothing at
    all came from it for so long, not even the heartbeats that it promised; 0 while it is heard.
    """

    connection: str
    name: str | None = None
    host: str | None = None
    pid: int | None = None
    address: str | None = None
    user: str | None = None
    product: str | None = None
    rqtool: str | None = None
    runs: str | None = None
    silent_seconds: float = 0.0

    @property
    def called(self) -> str:
        """What people call it: its name, else its address."""
        return self.name or self.address or self.connection

    @property
    def described(self) -> str:
        """Its name, and how to find it."""
        if self.rqtool is not None and self.name is not None:
            return f"{self.name} running {self.runs}" if self.runs else self.name
        if self.name is None:
            what = f"a {self.product} without a name" if self.product else "a client without a name"
            where = [self.address or self.connection, f"user {self.user}" if self.user else ""]
        else:
            what, where = self.name, [self.address or "", f"pid {self.pid}" if self.pid else ""]
        where = [part for part in where if part]
        return f"{what} ({', '.join(where)})" if where else what


@dataclass(frozen=True, slots=True)
class Holder:
    """A consumer, or a channel without one, that may hold messages of `queue`.

    `queue` None: not known, the channel has no consumer (any more). `held` is the channel's; `shared`: it has several
    consumers, and whose the messages are can't be seen. `prefetch` 0: without limit.

    `total`: what its channel holds, where `flow` is not of the channel but of the queue, all of whose consumers are on
    that channel.
    """

    vhost: str
    queue: str | None
    channel: str
    client: Client
    flow: Flow
    consumer_tag: str | None = None
    prefetch: int = 0
    shared: bool = False
    total: int | None = None

    @property
    def held(self) -> int:
        return self.flow.held if self.total is None else self.total

    @property
    def acks_are_its_own(self) -> bool:
        """Whether `flow` tells of its queue; acks on a shared channel may be for messages of another one."""
        return not self.shared or self.total is not None

    @property
    def is_full(self) -> bool:
        return 0 < self.prefetch <= self.held

    def is_stuck(self, stuck_after: float) -> bool:
        """Whether it holds something, and settled nothing for so many seconds.

        A worker of rqtool's acks when its task is done, however long that takes; it is stuck when it can't be heard for
        as long. A pause of some seconds, of a machine or of the network, is no fault of its own; and one that stays
        silent does not keep its messages: after two or three heartbeats, before the default of 60 s is over, the broker
        closes its connection and delivers them again. https://www.rabbitmq.com/docs/heartbeats
        """
        if not self.held:
            return False
        if self.client.rqtool is not None:
            return self.client.silent_seconds >= stuck_after
        return self.flow.quiet_seconds() >= stuck_after

    @property
    def may_be_stuck(self) -> bool:
        """Whether it may be stuck for any time, as far as the history goes."""
        if self.client.rqtool is not None:
            return self.client.silent_seconds > 0
        return self.flow.quiet_as_far_as_known


def join(consumers: Sequence[Row], channels: Sequence[Row], connections: Sequence[Row]) -> list[Holder]:
    """A holder per consumer that wants to ack, and one per channel that holds messages without a consumer."""
    clients = {str(row.get("name")): _client(row) for row in connections}
    of_channel: defaultdict[str, list[Row]] = defaultdict(list)
    for row in consumers:
        if row.get("ack_required") is not False:
            of_channel[str(_get(row, "channel_details", "name"))].append(row)
    holders: list[Holder] = []
    for row in channels:
        connection = str(_get(row, "connection_details", "name"))
        client = clients.get(connection) or Client(connection, address=_address(row.get("connection_details")))
        holders += _of_channel(row, of_channel.get(str(row.get("name")), []), client)
    return holders


def _of_channel(row: Row, consumers: Sequence[Row], client: Client) -> Iterator[Holder]:
    holder = Holder(
        vhost=str(row.get("vhost", "")),
        queue=None,
        channel=str(row.get("name")),
        client=client,
        flow=channel_flow(row),
        prefetch=_number(row.get("global_prefetch_count")),
    )
    for consumer in consumers:
        yield replace(
            holder,
            queue=str(_get(consumer, "queue", "name")),
            consumer_tag=str(consumer.get("consumer_tag", "")),
            prefetch=holder.prefetch or _number(consumer.get("prefetch_count")),
            shared=len(consumers) > 1,
        )
    if not consumers and holder.held:
        yield holder


def channel_flow(row: Row) -> Flow:
    """Of a row of channels or queues."""
    deliver, get = (read_samples(row, "message_stats", f"{kind}_details") for kind in ("deliver", "get"))
    return Flow(
        held=_number(row.get("messages_unacknowledged")),
        delivered=added(deliver, get),
        acked=read_samples(row, "message_stats", "ack_details"),
        idle_since=_time(row.get("idle_since")),
    )


def queue_flow(row: Row) -> Flow:
    """A queue's own lengths show what was settled without an ack."""
    lengths = read_samples(row, "messages_unacknowledged_details")
    return replace(channel_flow(row), released=last_fall(lengths), emptied=last_nought(lengths))


def _client(row: Row) -> Client:
    properties = row.get("client_properties")
    said: Row = properties if isinstance(properties, Mapping) else {}
    ours = said.get("rqtool")
    own: Row = ours if isinstance(ours, Mapping) else {}
    name = row.get("user_provided_name") or said.get("connection_name")
    return Client(
        connection=str(row.get("name")),
        name=_text(name),
        host=_text(own.get("host"))
        or _text(said.get("hostname"))
        or _text(said.get("host"))
        or _text(row.get("peer_host")),
        pid=_pid(own.get("pid")) or _pid(said.get("pid")) or _pid(said.get("process_id")),
        address=_address(row),
        user=_text(row.get("user")),
        product=_text(said.get("product")),
        rqtool=_text(own.get("role")),
        runs=_text(own.get("runs")),
        silent_seconds=_silence(row),
    )


def _silence(row: Row) -> float:
    """Seconds since the last octet, if that is longer than the heartbeat that was agreed on allows."""
    heartbeat = _number(row.get("timeout"))
    octets = read_samples(row, "recv_oct_details")
    if not heartbeat or not octets:
        return 0.0
    # A connection that was reported once has the same figure at all times, also from before it was there.
    heard = last_change(octets) or max(octets[-1].time, _number(row.get("connected_at")) / 1000 or octets[0].time)
    silent = octets[0].time - heard
    # Heartbeats come twice as often as agreed, and are seen by steps of 5 s that may be one late.
    return silent if silent > max(heartbeat + LAG, 3 * LAG) else 0.0


def _address(row: object) -> str | None:
    if not isinstance(row, Mapping):
        return None
    host, port = _text(row.get("peer_host")), row.get("peer_port")
    if host is None:
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if isinstance(port, int) else host


def _get(row: Row, *path: str) -> object:
    value: object = row
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value not in ("", "undefined", "unknown") else None


def _number(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _time(value: object) -> float | None:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else None
    except ValueError:
        return None


def _pid(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return _number(value) or None
