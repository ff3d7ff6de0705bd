"""The ports that a private broker chooses, seconds before its nodes listen on them."""

from __future__ import annotations

import socket

from rqtool.private_broker.ports import claim_port


def listen(port: int) -> socket.socket:
    """As Erlang does."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("127.0.0.1", port))
    server.listen()
    return server


def test_a_port_is_given_to_one_broker_alone() -> None:
    """Brokers that start at the same moment choose different ports: nobody listens on them yet."""
    ports = [claim_port() for _ in range(1000)]
    assert len(set(ports)) == 1000


def test_a_broker_keeps_its_port_if_it_is_free() -> None:
    """It can listen on the port that it claimed, once more after it has stopped, and nobody gets it from a broker that
    runs.
    """
    port = claim_port()
    listen(port).close()
    assert claim_port(port) == port
    with listen(port):
        assert claim_port(port) != port
    assert claim_port(port) == port
