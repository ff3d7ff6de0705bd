"""Ports of this machine: choosing free ones, and what answers on them."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable


def stop_epmd(port: int) -> None:
    """Ask the port mapper to end. It refuses while a node is registered, and for a moment after one has ended.

    `k` is the KILL_REQ of https://www.erlang.org/doc/apps/erts/erl_dist_protocol.html.
    """
    poll(lambda: not _answer(port, b"\0\1k", 2), 5)


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


def claim_port(wanted: int = 0) -> int:
    """Return the wanted port if it is free, else any free one. For a minute the system gives it to nobody else, but a
    server can listen on it.

    A connection that this end closed first leaves the port in TIME_WAIT. From then on, only a program that asks for the
    port by its number and sets SO_REUSEADDR, as servers do, gets it.
    """
    with socket.socket() as server, socket.socket() as client:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(("127.0.0.1", wanted))
            server.listen()
        except OSError:
            if not wanted:
                raise
            return claim_port()
        client.connect(server.getsockname())
        server.accept()[0].close()
        port: int = server.getsockname()[1]
        return port


def poll(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until the condition is true. Returns whether that happened within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
