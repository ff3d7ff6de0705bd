"""Connections and channels whose callbacks are awaitables; opening and reopening over a list of addresses.

The event loop owns pika: everything here runs on it, nothing here blocks it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import re
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, NoReturn, TypeVar

import pika
import pika.exceptions
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.channel import Channel as PikaChannel

from rqtool import __version__
from rqtool.errors import AccessRefused, RqtoolError, Unreachable, UsageError
from rqtool.urls import BrokerURL

# pika logs what it raises, and parts of message bodies besides.
logging.getLogger("pika").setLevel(logging.CRITICAL)

HEARTBEAT = 15
"""Seconds; `?heartbeat=` in the URL wins. A dead peer is noticed within two of them."""
CONNECT_SECONDS = 10.0
"""Per address and phase (TCP and TLS, then AMQP): a node that hangs in the handshake costs this much."""
CLOSE_SECONDS = 5.0
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0

_NOT_ALLOWED, _ACCESS_REFUSED = 530, 403

T = TypeVar("T")


class Lost(Exception):
    """A channel or its connection is gone. `code` is AMQP's reply code, 0 where the stream itself broke."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.text} ({self.code})" if self.code else self.text


class Channel:
    """One AMQP channel. `lost` resolves (it never raises) to the reason when the channel or its connection goes."""

    def __init__(self, raw: PikaChannel) -> None:
        self.raw = raw
        self.lost: asyncio.Future[Lost] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(lambda _, reason: _resolve(self.lost, reason))

    async def call(self, method: Callable[..., Any], /, **arguments: Any) -> Any:
        """Call a pika method that answers by `callback` and return its answer. Raises Lost when none can come."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def answered(*frames: Any) -> None:
            if not answer.done():
                answer.set_result(frames[0] if frames else None)

        try:
            method(callback=answered, **arguments)
        except pika.exceptions.AMQPError as error:
            raise _lost(error) from None
        await either(answer, self.lost)
        if answer.done():
            return answer.result()
        raise self.lost.result()


class Connection:
    """One open AMQP connection. `lost` resolves (it never raises) to the reason when it goes."""

    def __init__(self, raw: AsyncioConnection, url: BrokerURL, lost: asyncio.Future[Lost]) -> None:
        self._raw = raw
        self.url = url
        self.lost = lost

    def on_blocked(self, told: Callable[[str | None], None]) -> None:
        """Tell when the broker stops reading from us (with its reason), and when it reads again (None).

        https://www.rabbitmq.com/docs/connection-blocked
        """
        self._raw.add_on_connection_blocked_callback(
            lambda _, frame: told(str(frame.method.reason or "a resource alarm"))
        )
        self._raw.add_on_connection_unblocked_callback(lambda *_: told(None))

    async def channel(self) -> Channel:
        """Open a channel. Raises Lost."""
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()

        def opened_now(raw: PikaChannel) -> None:
            # Wrapped inside the callback: a channel that closes before we run again must find us listening.
            if not opened.done():
                opened.set_result(Channel(raw))

        try:
            self._raw.channel(on_open_callback=opened_now)
        except pika.exceptions.AMQPError as error:
            raise _lost(error) from None
        await either(opened, self.lost)
        if opened.done():
            return opened.result()
        raise self.lost.result()

    async def close(self) -> None:
        """Close in order: what was written before it has reached the broker. Gives up after CLOSE_SECONDS, since a
        broker in alarm doesn't read.
        """
        if self._raw.is_open:
            self._raw.close()
        await asyncio.wait({self.lost}, timeout=CLOSE_SECONDS)


async def connect(urls: Sequence[BrokerURL], role: str) -> Connection:
    """Open a connection to the first address that answers, in random order; `role` is how the broker's lists name us.

    Raises AccessRefused or Unreachable, with what the last of the addresses said.
    """
    failure: RqtoolError | None = None
    for url in random.sample(urls, len(urls)):
        try:
            return await _open(url, role)
        except AccessRefused as refused:
            failure = refused
        except Unreachable as unreachable:
            failure = failure if isinstance(failure, AccessRefused) else unreachable
    if failure is None:
        raise UsageError("No broker is named", "Give --url or RQTOOL_URL")
    raise failure


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
            on_failure(Unreachable(f"The broker ended the connection: {lost}", "Look into its log"))
        except (Unreachable, AccessRefused) as error:
            on_failure(error)
        tries += 1
        await asyncio.sleep(pause(tries))


def pause(tries: int) -> float:
    """Seconds to wait after so many tries in vain."""
    return min(FIRST_DELAY * 2.0 ** min(tries - 1, 20), LONGEST_DELAY) * random.uniform(0.5, 1.0)  # noqa: S311


async def _open(url: BrokerURL, role: str) -> Connection:
    parameters = _parameters(url, role)
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[None] = loop.create_future()
    lost: asyncio.Future[Lost] = loop.create_future()

    def succeeded(_: object) -> None:
        if not opened.done():
            opened.set_result(None)

    def failed(_: object, error: BaseException | str) -> None:
        if not opened.done():
            opened.set_exception(_refusal(url, error))

    raw = AsyncioConnection(
        parameters,
        on_open_callback=succeeded,
        on_open_error_callback=failed,
        on_close_callback=lambda _, reason: _resolve(lost, reason),
        custom_ioloop=loop,
    )
    try:
        await opened
    except asyncio.CancelledError:
        if not (raw.is_closed or raw.is_closing):
            raw.close()
        raise
    return Connection(raw, url, lost)


def _parameters(url: BrokerURL, role: str) -> pika.URLParameters:
    try:
        parameters = pika.URLParameters(url.full)
    except (ValueError, TypeError, SyntaxError) as error:
        raise UsageError(
            f"The options of the broker URL {url} are wrong: {error}",
            "See https://www.rabbitmq.com/docs/uri-query-parameters",
        ) from None
    if "heartbeat=" not in url.query:
        parameters.heartbeat = HEARTBEAT
    if "socket_timeout=" not in url.query:
        parameters.socket_timeout = CONNECT_SECONDS
    if "stack_timeout=" not in url.query:
        parameters.stack_timeout = CONNECT_SECONDS
    host = socket.gethostname()
    parameters.client_properties = {
        "product": "rqtool",
        "version": __version__,
        "connection_name": f"rqtool {role} ({host}, pid {os.getpid()})",
        "rqtool": {"role": role, "host": host, "pid": os.getpid()},
    }
    return parameters


def _refusal(url: BrokerURL, error: BaseException | str) -> RqtoolError:
    text = _words(error)
    if isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return AccessRefused(
            f"The broker at {url} refused user {url.user!r}: wrong name or password",
            "Put the right ones into RQTOOL_URL (guest may log in from the broker's own machine only)",
        )
    if isinstance(error, pika.exceptions.ProbableAccessDeniedError) or f"({_NOT_ALLOWED})" in text:
        missing = "not found" in text
        return AccessRefused(
            f"The vhost {url.vhost!r} does not exist at {url}"
            if missing
            else f"User {url.user!r} may not enter the vhost {url.vhost!r} at {url}",
            f"Create it with: rabbitmqctl add_vhost {url.vhost}; or name another one at the end of the URL"
            if missing
            else f"Grant it with: rabbitmqctl set_permissions -p {url.vhost} {url.user} '.*' '.*' '.*'",
        )
    return Unreachable(
        f"No broker answers at {url}: {text}",
        "Start one with: rqtool broker start; or name yours with --url or RQTOOL_URL",
    )


def _words(error: object) -> str:
    """The shortest true words for pika's nested connection errors."""
    for cause in _causes(error):
        if isinstance(cause, pika.exceptions.ConnectionOpenAborted):
            return f"no AMQP handshake within {CONNECT_SECONDS:.0f} s"
        if isinstance(cause, OSError) and not isinstance(cause, pika.exceptions.AMQPError):
            return (cause.strerror or str(cause) or type(cause).__name__).lower()
    text = str(error)
    # StreamLostError holds the cause as text: ConnectionResetError(104, 'Connection reset by peer').
    cause_in_text = re.search(r"Error\(\d+, '([^']+)'\)", text)
    return cause_in_text[1].lower() if cause_in_text else text or type(error).__name__


def _causes(error: object) -> Iterator[object]:
    yield error
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *getattr(error, "args", ())]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


async def either(first: asyncio.Future[Any], second: asyncio.Future[Any], seconds: float | None = None) -> bool:
    """Wait for one of the two. False: neither came in time."""
    done, _ = await asyncio.wait({first, second}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return bool(done)


def _resolve(future: asyncio.Future[Lost], reason: object) -> None:
    if not future.done():
        future.set_result(_lost(reason))


def _lost(reason: object) -> Lost:
    if isinstance(reason, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return Lost(reason.reply_code, reason.reply_text)
    if isinstance(reason, pika.exceptions.AMQPHeartbeatTimeout):
        return Lost(0, "the broker fell silent: no heartbeat")
    return Lost(0, _words(reason))


def refuse(lost: Lost, doing: str) -> NoReturn:
    """Raise the user's error for a channel that the broker closed on purpose; Lost again where it was no refusal."""
    if lost.code == _ACCESS_REFUSED:
        raise AccessRefused(
            f"The broker refused {doing}: {lost.text}", "Ask for the permission (rabbitmqctl set_permissions)"
        )
    raise lost
