"""Opens and reopens connections: to any node that answers, in bounded time, with growing pauses."""

from __future__ import annotations

import asyncio
import math
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import unquote

import pika
import pika.tcp_socket_opts

from rqtool import __version__
from rqtool.amqp.connection import Connection, resolve
from rqtool.amqp.errors import Lost, connect_error, root_cause, unreachable
from rqtool.amqp.wire import PikaConnection
from rqtool.endpoint.urls import BrokerURL, Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UsageError
from rqtool.text import encodable

HEARTBEAT = 10
"""Seconds; `?heartbeat=` in the URL wins. pika checks every heartbeat + 5 s whether anything came since its last check,
so it notices a dead peer after 15 to 30 seconds."""
CONNECT_SECONDS = 10.0
"""For TCP, and for everything up to the end of the AMQP handshake."""
HEAD_START = 2.0
"""Seconds until we also try the next node: a node that hangs in the handshake delays us no longer than this."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0
LONGEST_HEARTBEAT = 65_535
"""Seconds. AMQP has 16 bits for it; the broker answers a larger value as if it refused the vhost."""
FEWEST_CHANNELS = 4
"""A worker's: its queue, NAME.returned, NAME.quarantine, and one for declaring and counting."""

T = TypeVar("T")


async def connect(endpoint: Endpoint, role: str, runs: str = "") -> Connection:
    """Open a connection to the first node that answers, in random order. The broker lists it under `role`, and `runs`,
    the program that a worker starts for its tasks.

    Raises AccessRefused or Unreachable, with what a node said; UsageError for wrong options in a URL.
    """
    # Before the first attempt, so that a wrong option is reported now and not when it is its node's turn.
    try:
        left = [(url, _parameters(url, role, runs, endpoint.tls)) for url in endpoint.urls]
    except OSError as error:
        raise Unreachable(f"No connection can be opened: {root_cause(error)}", "Raise the limit (ulimit -n)") from None
    random.shuffle(left)
    failure: RqtoolError | None = None
    attempts: list[asyncio.Task[Connection]] = []
    chosen: Connection | None = None
    try:
        while left or not all(attempt.done() for attempt in attempts):
            if left:
                attempts.append(asyncio.create_task(_open(*left.pop())))
            ended, _ = await asyncio.wait(
                [attempt for attempt in attempts if not attempt.done()],
                timeout=HEAD_START if left else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for attempt in ended:
                try:
                    chosen = attempt.result()
                except AccessRefused as refused:  # says more than silence
                    failure = refused
                except Unreachable as silent:
                    failure = failure if isinstance(failure, AccessRefused) else silent
            if chosen is not None:
                return chosen
    finally:
        for attempt in attempts:
            if not attempt.done():
                attempt.cancel()
            elif attempt.exception() is None and attempt.result() is not chosen:
                attempt.result().abandon()
    raise failure or UsageError("No broker is named", "Give --url or RQTOOL_URL")


async def keep_trying(
    open_once: Callable[[], Awaitable[T]], on_failure: Callable[[RqtoolError], None], in_vain: int
) -> T:
    """Await `open_once()` until it succeeds, with growing pauses; `on_failure` can end this by raising. It is not
    called for a first connection that was made and lost again, since that proves that a broker is there.

    `in_vain`: how many connections in a row were lost at once. After more than one even the first try waits, so as not
    to hammer a broker that accepts and then drops us.
    """
    if in_vain > 1:
        await asyncio.sleep(pause(in_vain))
    tries = 0
    while True:
        try:
            return await open_once()
        except Lost as lost:
            if tries:
                on_failure(unreachable(lost))
        except (Unreachable, AccessRefused) as error:
            on_failure(error)
        tries += 1
        await asyncio.sleep(pause(tries))


def pause(tries: int) -> float:
    """Seconds to wait after so many failed tries: doubled each time up to LONGEST_DELAY, with jitter, so that clients
    don't all reconnect at once when the broker restarts.
    """
    return min(FIRST_DELAY * 2.0 ** min(tries - 1, 20), LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


async def _open(url: BrokerURL, parameters: pika.URLParameters) -> Connection:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    lost: asyncio.Future[Lost] = loop.create_future()

    def succeeded(_: object) -> None:
        if not opened.done():
            opened.set_result(None)

    def failed(connection: PikaConnection, error: BaseException | str) -> None:
        if not opened.done():
            opened.set_exception(connect_error(url, error, connection.incomplete))

    raw = PikaConnection(
        parameters,
        on_open_callback=succeeded,
        on_open_error_callback=failed,
        on_close_callback=lambda _, reason: resolve(lost, reason),
        custom_ioloop=loop,
    )
    connection = Connection(raw, url, lost)
    # pika's own limits leave out the name server, and count anew for each address of a host.
    longest = (parameters.socket_timeout or 0) + (parameters.stack_timeout or 0)
    try:
        async with asyncio.timeout(longest or None):
            await opened
    except TimeoutError:
        connection.abandon()
        raise connect_error(url, f"nothing within {longest:.0f} s") from None
    except asyncio.CancelledError:
        connection.abandon()
        raise
    return connection


def _parameters(url: BrokerURL, role: str, runs: str, tls: ssl.SSLContext | None) -> pika.URLParameters:
    """The options of a URL as pika takes them, and ours. Raises UsageError for an unknown or wrong option, and OSError
    if no socket can be opened.

    https://www.rabbitmq.com/docs/uri-query-parameters and pika.URLParameters.
    """
    if "ssl_options" in unquote(url.query):
        raise UsageError(f"The broker URL {url} has ssl_options", "Use --tls-ca, --tls-cert and --tls-key instead")
    with socket.socket() as probe:
        try:
            parameters = pika.URLParameters(url.full)
            _check(parameters, probe)
        except Exception as error:  # pika evaluates literals, the check sets socket options: anything
            what = f"The options of the broker URL {url} are wrong: {error}"
            raise UsageError(what, "See https://www.rabbitmq.com/docs/uri-query-parameters") from None
    defaults = {"heartbeat": HEARTBEAT, "socket_timeout": CONNECT_SECONDS, "stack_timeout": CONNECT_SECONDS}
    for name, default in defaults.items():
        if f"{name}=" not in url.query:
            setattr(parameters, name, default)
    if url.tls:
        parameters.ssl_options = pika.SSLOptions(tls or ssl.create_default_context(), url.host)
    host = socket.gethostname()
    parameters.client_properties = {
        "product": "rqtool",
        "version": __version__,
        "connection_name": f"rqtool {role} ({host}, pid {os.getpid()})",
        "rqtool": {"role": role, "host": host, "pid": os.getpid()} | ({"runs": encodable(runs)} if runs else {}),
    }
    return parameters


def _check(parameters: pika.URLParameters, probe: socket.socket) -> None:
    """Raise ValueError for options that pika accepts, but that make its connecting crash or never end."""
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
    pika.tcp_socket_opts.set_sock_opts(parameters.tcp_options, probe)
