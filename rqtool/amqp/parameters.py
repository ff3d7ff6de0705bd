"""The options of a broker URL, as pika takes them; those that it takes and can't work with are refused as well.

https://www.rabbitmq.com/docs/uri-query-parameters and pika.URLParameters.
"""

from __future__ import annotations

import math
import socket
from urllib.parse import unquote

import pika
import pika.tcp_socket_opts

from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import UsageError

LONGEST_HEARTBEAT = 65_535
"""Seconds: 16 bits in AMQP, where a longer one would end the connection as if the vhost were refused."""
FEWEST_CHANNELS = 4
"""A worker's: tasks, suspicious tasks, and one for a question or two."""


def read_parameters(url: BrokerURL) -> pika.URLParameters:
    """Raises UsageError where an option is unknown or wrong."""
    if "ssl_options" in unquote(url.query):
        raise UsageError(f"The broker URL {url} has ssl_options", "Use --tls-ca, --tls-cert and --tls-key instead")
    try:
        parameters = pika.URLParameters(url.full)
        _check(parameters)
    except Exception as error:  # a literal is evaluated, a socket is tried: anything can be wrong with them
        raise UsageError(
            f"The options of the broker URL {url} are wrong: {error}",
            "See https://www.rabbitmq.com/docs/uri-query-parameters",
        ) from None
    return parameters


def _check(parameters: pika.URLParameters) -> None:
    """Raise ValueError for what pika would stumble over when it connects, with a traceback and without an end."""
    if isinstance(parameters.heartbeat, int) and parameters.heartbeat > LONGEST_HEARTBEAT:
        raise ValueError(f"heartbeat must be <= {LONGEST_HEARTBEAT}, but got {parameters.heartbeat}")
    if parameters.channel_max < FEWEST_CHANNELS:
        raise ValueError(f"channel_max must be >= {FEWEST_CHANNELS}, but got {parameters.channel_max}")
    if len(parameters.locale.encode()) > 255:
        raise ValueError("locale is too long")
    for name in ("blocked_connection_timeout", "retry_delay", "socket_timeout", "stack_timeout"):
        seconds = getattr(parameters, name)
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(f"{name} must be a number, but got {seconds}")
    with socket.socket() as probe:
        pika.tcp_socket_opts.set_sock_opts(parameters.tcp_options, probe)
