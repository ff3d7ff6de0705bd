"""Consumers, channels and connections, joined: who holds what."""

from __future__ import annotations

from typing import Any

import pytest

from rqtool.management.client import Client
from rqtool.management.samples import Sample
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder, join

CONNECTION = "10.0.0.7:53366 -> 10.0.0.1:5672"


def connection(**more: Any) -> dict[str, Any]:
    return {
        "name": CONNECTION, "peer_host": "10.0.0.7", "peer_port": 53366, "user": "guest",
        "client_properties": {"product": "pika"},
    } | more  # fmt: skip


def channel(number: int = 1, held: int = 3, **more: Any) -> dict[str, Any]:
    return {
        "name": f"{CONNECTION} ({number})", "vhost": "/", "messages_unacknowledged": held,
        "connection_details": {"name": CONNECTION, "peer_host": "10.0.0.7", "peer_port": 53366},
    } | more  # fmt: skip


def consumer(queue: str = "q", number: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "queue": {"vhost": "/", "name": queue}, "consumer_tag": f"tag {queue}", "ack_required": True,
        "prefetch_count": 5, "channel_details": {"name": f"{CONNECTION} ({number})"},
    } | more  # fmt: skip


def only(consumers: list[Any], channels: list[Any], connections: list[Any]) -> Holder:
    [holder] = join(consumers, channels, connections)
    return holder


def test_a_consumer_holds_what_its_channel_holds() -> None:
    """With all that can be said about it."""
    properties = {"connection_name": "billing-import", "product": "pika", "pid": 4242, "hostname": "web-3"}
    holder = only([consumer()], [channel()], [connection(client_properties=properties)])
    assert (holder.queue, holder.vhost, holder.held, holder.prefetch, holder.shared) == ("q", "/", 3, 5, False)
    assert holder.client == Client(
        CONNECTION, "billing-import", "web-3", 4242, "10.0.0.7:53366", "guest", "pika", None, None
    )
    assert holder.client.described == "billing-import (10.0.0.7:53366, pid 4242)"


def test_several_consumers_on_one_channel_share_it() -> None:
    """Whose the messages are can't be seen."""
    holders = join([consumer("a"), consumer("b")], [channel()], [connection()])
    assert [(each.queue, each.held, each.shared) for each in holders] == [("a", 3, True), ("b", 3, True)]


def test_channels_are_kept_apart() -> None:
    """Two of one connection."""
    holders = join([consumer("a", 1), consumer("b", 2)], [channel(1, 3), channel(2, 4)], [connection()])
    assert [(each.queue, each.held, each.shared) for each in holders] == [("a", 3, False), ("b", 4, False)]


def test_a_channel_without_a_consumer_can_hold_messages() -> None:
    """By basic.get, or since its consumer was cancelled; one that holds nothing is nobody."""
    holder = only([], [channel(1, 2), channel(2, 0)], [connection()])
    assert (holder.queue, holder.consumer_tag, holder.held) == (None, None, 2)


def test_a_consumer_that_does_not_ack_holds_nothing() -> None:
    """Beside another one on its channel it makes that one no sharer."""
    assert list(join([consumer(ack_required=False)], [channel(held=0)], [connection()])) == []
    assert not only([consumer(ack_required=False), consumer("b")], [channel()], [connection()]).shared


def test_a_connection_that_is_not_listed() -> None:
    """It went, or came, between two questions: its address is known from the channel."""
    holder = only([consumer()], [channel()], [])
    assert holder.client.described == "an unnamed client (10.0.0.7:53366)"


@pytest.mark.parametrize(
    ("properties", "name", "pid", "host"),
    [
        ({"connection_name": "n", "process_id": "77", "host": "h"}, "n", 77, "h"),
        ({"pid": "x", "connection_name": "undefined", "hostname": 5}, None, None, "10.0.0.7"),
        ({"pid": True}, None, None, "10.0.0.7"),
        ([], None, None, "10.0.0.7"),
        (None, None, None, "10.0.0.7"),
    ],
)
def test_what_clients_say_about_themselves(properties: Any, name: str | None, pid: int | None, host: str) -> None:
    """Anybody can say anything: what makes no sense is not known."""
    client = only([consumer()], [channel()], [connection(client_properties=properties)]).client
    assert (client.name, client.pid, client.host) == (name, pid, host)


def test_a_client_without_a_name() -> None:
    """Its library, address and user describe it."""
    client = only([consumer()], [channel()], [connection(client_properties={"product": "Bunny"})]).client
    assert client.described == "an unnamed Bunny (10.0.0.7:53366, user guest)"


def test_a_worker_of_rqtool() -> None:
    """It says who it is, and what it runs."""
    own = {"role": "work", "host": "web-3", "pid": 9, "runs": "convert.sh"}
    properties = {"connection_name": "rqtool work (web-3, pid 9)", "rqtool": own}
    client = only([consumer()], [channel()], [connection(client_properties=properties)]).client
    assert (client.rqtool, client.runs, client.host, client.pid) == ("work", "convert.sh", "web-3", 9)
    assert client.described == "rqtool work (web-3, pid 9) running convert.sh"


@pytest.mark.parametrize(
    ("octets", "heartbeat", "silent"),
    [
        ([9, 8, 7, 6, 5, 4, 3, 2], 10, 0.0),
        ([9, 9, 9, 9, 9, 9, 9, 8], 10, 30.0),
        ([9, 9, 9, 9, 9, 9, 9, 9], 10, 34.0),
        ([9, 9, 9, 9, 9, 9, 9, 8], 25, 0.0),
        ([9, 9, 9, 8, 8, 8, 8, 8], 2, 0.0),
        ([9, 9, 9, 9, 9, 8, 8, 8], 2, 20.0),
        ([9, 9, 9, 9, 9, 9, 9, 9], 0, 0.0),
        ([], 10, 0.0),
    ],
)
def test_silence_longer_than_the_heartbeat(octets: list[int], heartbeat: int, silent: float) -> None:
    """Who agreed on none may be silent."""
    entries = [{"sample": value, "timestamp": 1_000_000 - 5000 * n} for n, value in enumerate(octets)]
    row = connection(timeout=heartbeat, recv_oct_details={"samples": entries}, connected_at=966_000)
    assert only([consumer()], [channel()], [row]).client.silent_seconds == silent


@pytest.mark.parametrize("connected_at", [993_000, None, "undefined"])
def test_a_connection_of_seconds_ago_is_not_silent(connected_at: object) -> None:
    """The broker gives its one figure for all times, also for those before the connection."""
    entries = [{"sample": 9, "timestamp": 1_000_000 - 5000 * n} for n in range(24)]
    row = connection(timeout=10, recv_oct_details={"samples": entries}, connected_at=connected_at)
    assert only([consumer()], [channel()], [row]).client.silent_seconds == 0.0


def held(client: Client, quiet: float) -> Holder:
    """One message, delivered so many seconds ago and not acked."""
    delivered = tuple(Sample(1000.0 - 5 * n, 1 if 5 * n <= quiet + 5 else 0) for n in range(60))
    return Holder("/", "q", "c", client, Deliveries(1, delivered))


def test_who_is_stuck() -> None:
    """Nobody before the time is over; a worker of rqtool's only if it falls silent for as long."""
    foreign, ours = Client("c", "billing"), Client("c", "rqtool work", rqtool="work")
    assert [held(foreign, seconds).is_stuck(60) for seconds in (0, 55, 60, 200)] == [False, False, True, True]
    assert not held(ours, 200).is_stuck(60)
    assert held(Client("c", "rqtool work", rqtool="work", silent_seconds=60), 80).is_stuck(60)
    assert not held(Client("c", "rqtool work", rqtool="work", silent_seconds=30), 80).is_stuck(60)


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (Client("c", "crm", pid=7, address="h:1"), {"crm", "c", "h:1", "crm (h:1, pid 7)"}),
        (Client("c", "w", rqtool="work", runs="cat"), {"w", "c", "w, cat", "w running cat"}),
        (Client("c", address="h:1", product="pika"), {"c", "h:1", "an unnamed pika (h:1)"}),
        (Client("c", product="pika"), {"c", "an unnamed pika (c)"}),
    ],
)
def test_a_client_is_picked_by_what_is_shown_of_it(client: Client, shown: set[str]) -> None:
    """Its name alone or with more, its address, its connection; not by a product, which others have too."""
    assert client.names == shown
    assert client.label in shown
