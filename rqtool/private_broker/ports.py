"""Ports of this machine: which are free, and what answers on them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def stop_epmd(port: int) -> None:
    """Ask the port mapper to end. It refuses while a node is registered, and for a moment after that one ended.

    `k` is the KILL_REQ of https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html.
    """

    def asked_to_end() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as mapper:
                mapper.sendall(b"\0\1k")
                return mapper.recv(2) != b"NO"
        except OSError:
            return True

    if poll(asked_to_end, 5):
        poll(lambda: is_free(port), 5)


def speaks_amqp(port: int) -> bool:
    """Connection.Start, the broker's first frame, is the sign that it takes clients: the port opens earlier."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"AMQP\0\0\x09\1")
            return client.recv(1) == b"\1"
    except OSError:
        return False


def speaks_http(port: int) -> bool:
    """The management API answers 401 to a stranger as soon as it is up."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as client:
            client.sendall(b"GET /api/overview HTTP/1.0\r\n\r\n")
            return client.recv(12).endswith(b" 401")
    except OSError:
        return False


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
    """Different free ports; held together while they are chosen, so that none is handed out twice."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        yield [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
