"""Peers that are no broker, or not for now. Sockets on this machine; no broker."""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import struct
import threading
import time
from typing import Any

import pytest

from rqtool.amqp.connect import connect, keep_trying
from rqtool.amqp.errors import Lost
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from rqtool.errors import RqtoolError, Unreachable

NO_LINGER = struct.pack("ii", 1, 0)


def try_to_connect(port: int, times: int) -> list[dict[str, Any]]:
    """Returns what nobody caught on the event loop: it would end a worker."""
    uncaught: list[dict[str, Any]] = []

    async def run() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
        url = f"amqp://127.0.0.1:{port}/?socket_timeout=1&stack_timeout=0.5"
        for _ in range(times):
            with pytest.raises(Unreachable, match=r"connection reset by peer|no AMQP handshake in time"):
                await connect(Endpoint(parse_broker_urls(url), ()), "test")

    asyncio.run(run())
    return uncaught


def test_a_peer_that_resets_each_connection() -> None:
    """As a balancer does without a broker behind it: the reset can come at any step of pika's way to a connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def reset_all() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                time.sleep(random.uniform(0, 0.0004))  # the moment is what is tried
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
                peer.close()

        threading.Thread(target=reset_all, daemon=True).start()
        assert try_to_connect(server.getsockname()[1], 500) == []
        server.shutdown(socket.SHUT_RDWR)


def test_no_descriptor_is_left() -> None:
    """That may pass: the broker is out of reach, and its URL not wrong."""

    async def run() -> None:
        _, most = limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, most))  # for new ones
        try:
            with pytest.raises(Unreachable, match="too many open files"):
                await connect(Endpoint(parse_broker_urls("amqp://127.0.0.1/"), ()), "test")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    asyncio.run(run())


def test_a_peer_that_says_nothing() -> None:
    """A frozen broker: the handshake is given up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert try_to_connect(server.getsockname()[1], 1) == []


def test_given_up_at_any_moment() -> None:
    """Of several nodes the first that answers is taken, whatever step the others have come to; here none listens."""
    uncaught: list[dict[str, Any]] = []

    async def run(port: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: uncaught.append(context))
        endpoint = Endpoint(parse_broker_urls(f"amqp://127.0.0.1:{port}/"), ())
        for _ in range(1000):
            connecting = asyncio.ensure_future(connect(endpoint, "test"))
            for _ in range(random.randint(0, 60)):  # the moment is what is tried
                await asyncio.sleep(0)
            connecting.cancel()
            await asyncio.wait({connecting})
            assert connecting.cancelled() or isinstance(connecting.exception(), Unreachable)
        await asyncio.sleep(0.1)  # for what they left to be done

    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        asyncio.run(run(nobody_listens.getsockname()[1]))
    assert uncaught == []


@pytest.mark.parametrize(
    ("failures", "heard"),
    [
        ([Lost(0, "reset")], []),
        ([Lost(0, "reset"), Lost(0, "reset again")], ["The connection was lost: reset again"]),
        ([Unreachable("No broker")], ["No broker"]),
        ([Unreachable("No broker"), Lost(0, "reset")], ["No broker", "The connection was lost: reset"]),
    ],
)
def test_a_first_connection_that_is_lost_at_once(failures: list[Exception], heard: list[str]) -> None:
    """A broker was there, so it connects again without a word. Every other failure is reported."""
    left = [*failures]
    told: list[str] = []

    async def open_once() -> str:
        if left:
            raise left.pop(0)
        return "open"

    def on_failure(error: RqtoolError) -> None:
        told.append(error.what)

    assert asyncio.run(keep_trying(open_once, on_failure, 0)) == "open"
    assert told == heard
