"""Opening connections, and opening them again: any node that answers, in bounded time, with pauses that grow."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pika

from rqtool import __version__
from rqtool.amqp.connection import Connection, Lost, resolve
from rqtool.amqp.errors import refusal
from rqtool.amqp.parameters import read_parameters
from rqtool.amqp.refusals import not_now
from rqtool.amqp.wire import Wire
from rqtool.endpoint.urls import BrokerURL, Endpoint
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UsageError
from rqtool.text import encodable

HEARTBEAT = 10
"""Seconds; `?heartbeat=` in the URL wins. pika looks every heartbeat + 5 s whether anything came since it looked last,
so a dead peer is noticed after 15 to 30 seconds."""
CONNECT_SECONDS = 10.0
"""For TCP, and for everything up to the end of the AMQP handshake."""
HEAD_START = 2.0
"""Seconds that a node has for itself; one that hangs in the handshake costs no more where another one answers."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0

T = TypeVar("T")


async def connect(endpoint: Endpoint, role: str, runs: str = "") -> Connection:
    """Open a connection to the first node that answers, in random order; `role` is how the broker's lists name us,
    `runs` the program that a worker starts for its tasks.

    Raises AccessRefused or Unreachable, with what a node said; UsageError for wrong options in a URL.
    """
    # All of them at once: an error in one is to be found now, and not when its turn comes.
    left = [(url, _parameters(url, role, runs, endpoint.tls)) for url in endpoint.urls]
    random.shuffle(left)
    failure: RqtoolError | None = None
    begun: list[asyncio.Task[Connection]] = []
    chosen: Connection | None = None
    try:
        while left or not all(attempt.done() for attempt in begun):
            if left:
                begun.append(asyncio.ensure_future(_open(*left.pop())))
            waiting = {attempt for attempt in begun if not attempt.done()}
            ended, _ = await asyncio.wait(
                waiting, timeout=HEAD_START if left else None, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in ended:
                try:
                    chosen = attempt.result()
                except AccessRefused as refused:  # says more than silence
                    failure = refused
                except Unreachable as unreachable:
                    failure = failure if isinstance(failure, AccessRefused) else unreachable
            if chosen is not None:
                return chosen
    finally:
        for attempt in begun:
            if not attempt.done():
                attempt.cancel()
            elif attempt.exception() is None and attempt.result() is not chosen:
                attempt.result().abandon()
    raise failure or UsageError("No broker is named", "Give --url or RQTOOL_URL")


async def keep_trying(
    open_once: Callable[[], Awaitable[T]], on_failure: Callable[[RqtoolError], None], in_vain: int
) -> T:
    """Await `open_once()` until it succeeds, with growing pauses; `on_failure` ends it by raising.

    Pauses double up to LONGEST_DELAY and are spread, so that the clients of a broker that restarts don't come as one.
    After more than one connection that stood `in_vain` even the first try waits: a broker that takes us and throws us
    out again must not be besieged.
    """
    if in_vain > 1:
        await asyncio.sleep(pause(in_vain))
    tries = 0
    while True:
        try:
            return await open_once()
        except Lost as lost:
            on_failure(ended(lost))
        except (Unreachable, AccessRefused) as error:
            on_failure(error)
        tries += 1
        await asyncio.sleep(pause(tries))


def ended(lost: Lost) -> Unreachable:
    """Return the user's error for a channel or connection that went."""
    return not_now(lost.text) or Unreachable(f"The broker ended the connection: {lost}", "Look into the broker's log")


def pause(tries: int) -> float:
    """Seconds to wait after so many tries in vain."""
    return min(FIRST_DELAY * 2.0 ** min(tries - 1, 20), LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


async def _open(url: BrokerURL, parameters: pika.URLParameters) -> Connection:
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    lost: asyncio.Future[Lost] = loop.create_future()

    def succeeded(_: object) -> None:
        if not opened.done():
            opened.set_result(None)

    def failed(_: object, error: BaseException | str) -> None:
        if not opened.done():
            opened.set_exception(refusal(url, error))

    raw = Wire(
        parameters,
        on_open_callback=succeeded,
        on_open_error_callback=failed,
        on_close_callback=lambda _, reason: resolve(lost, reason),
        custom_ioloop=loop,
    )
    connection = Connection(raw, url, lost)
    # pika's own limits know neither the name server nor a host of many addresses.
    longest = (parameters.socket_timeout or 0) + (parameters.stack_timeout or 0)
    try:
        async with asyncio.timeout(longest or None):
            await opened
    except TimeoutError:
        connection.abandon()
        raise refusal(url, f"nothing within {longest:.0f} s") from None
    except asyncio.CancelledError:
        connection.abandon()
        raise
    return connection


def _parameters(url: BrokerURL, role: str, runs: str, tls: ssl.SSLContext | None) -> pika.URLParameters:
    parameters = read_parameters(url)
    if "heartbeat=" not in url.query:
        parameters.heartbeat = HEARTBEAT
    if "socket_timeout=" not in url.query:
        parameters.socket_timeout = CONNECT_SECONDS
    if "stack_timeout=" not in url.query:
        parameters.stack_timeout = CONNECT_SECONDS
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
