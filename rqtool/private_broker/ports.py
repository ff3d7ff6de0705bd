"""Ports of this machine: which are free, and what answers on them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager


def stop_epmd(port: int) -> None:
    """Ask the port mapper to end. It refuses while a node is registered, and for a moment after one has ended.

    `k` is the KILL_REQ of https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html.
    """
    if poll(lambda: _answer(port, b"\0\1k", 2) != b"NO", 5):
        poll(lambda: is_free(port), 5)


def speaks_amqp(port: int) -> bool:
    """Whether a broker accepts clients: it sends Connection.Start. The port opens earlier."""
    return _answer(port, b"AMQP\0\0\x09\1", 1) == b"\1"


def speaks_http(port: int) -> bool:
    """Whether the management API is up: it answers 401 without a login."""
    return _answer(port, b"GET /api/overview HTTP/1.0\r\n\r\n", 12).endswith(b" 401")


def _answer(port: int, request: bytes, size: int) -> bytes:
    """The first bytes of the answer to a request; empty if there is none."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(request)
            return client.recv(size)
    except OSError:
        return b""


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def free_ports(count: int) -> Iterator[list[int]]:
    """Different free ports, held together while they are chosen, so that none comes twice."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        yield [probe.getsockname()[1] for probe in probes]


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true. Returns whether it was within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
