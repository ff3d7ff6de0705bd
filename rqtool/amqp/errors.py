"""What pika's errors and the broker's replies mean, and the user's errors for them.

The texts are those of RabbitMQ 3.10 to 4.3. Limits: https://www.rabbitmq.com/docs/vhosts#limits,
https://www.rabbitmq.com/docs/user-limits
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NoReturn

import pika.exceptions

from rqtool.endpoint.tls import tls_hint, tls_words, tls_words_in
from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import AccessRefused, NothingListens, RqtoolError, Unreachable
from rqtool.topology import Arguments

ACCESS_REFUSED, NOT_FOUND, RESOURCE_LOCKED, PRECONDITION_FAILED, NOT_ALLOWED = 403, 404, 405, 406, 530
"""AMQP's reply codes."""


class Lost(Exception):
    """A channel or its connection is gone. `code` is AMQP's reply code, 0 if the connection broke without one."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return f"{self.text} ({self.code})" if self.code else self.text


class NoAnswer(Lost):
    """No answer came in time: the connection, or the queue in question, may be dead."""

    def __init__(self, text: str = "the broker does not answer") -> None:
        super().__init__(0, text)


def lost_because(reason: object) -> Lost:
    """Translate pika's reason for the end of a channel or connection; return our own reasons unchanged."""
    if isinstance(reason, Lost):
        return reason
    if isinstance(reason, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return Lost(reason.reply_code, reason.reply_text)
    if isinstance(reason, pika.exceptions.AMQPHeartbeatTimeout):
        return Lost(0, "the broker sent no heartbeat")
    return Lost(0, root_cause(reason))


_CLOSE_ONE = "It goes on when one is closed; or raise the limit (rabbitmqctl {})"
_TEMPORARY: tuple[tuple[str, str, str], ...] = (
    (
        r"vhost '(?P<vhost>.*)' refused for user .*: connection limit \((?P<most>\d+)\) is reached",
        "The vhost {vhost!r} has as many connections as its limit allows (max-connections={most})",
        _CLOSE_ONE.format("set_vhost_limits"),
    ),
    (
        r"refused for user '(?P<user>.*)': user connection limit \((?P<most>\d+)\) is reached",
        "User {user!r} has as many connections as its limit allows (max-connections={most})",
        _CLOSE_ONE.format("set_user_limits"),
    ),
    (
        r"channels opened for user '.*' has reached the maximum allowed user limit of \(?(?P<most>\d+)",
        "The user has as many channels as its limit allows (max-channels={most})",
        _CLOSE_ONE.format("set_user_limits"),
    ),
    (
        r"queue limit in vhost '(?P<vhost>.*)' \((?P<most>\d+)\) is reached",
        "The vhost {vhost!r} has as many queues as its limit allows (max-queues={most})",
        "Delete one that nobody needs; or raise the limit (rabbitmqctl set_vhost_limits)",
    ),
    (
        r"(?P<text>[^:'\s][^:']*(?:\blimit\b[^']* is reached|has reached the maximum allowed)\b.*)",
        "The broker is at a limit: {text}",
        "It goes on when there is room again; or raise the limit in the broker's configuration",
    ),
    (
        r"(?P<text>.*is down or inaccessible.*)",
        "The node that holds the queue is down: {text}",
        "Start that node again; a quorum queue (--type quorum) lives on several",
    ),
    (
        r"(?:does not answer for queue '|get a message from queue 'queue ')(?P<queue>[^']*)'",
        "Queue {queue!r} does not answer",
        "Start its nodes again: most of them may be down",
    ),
    (
        r"vhost '(?P<vhost>[^']*)' is down",
        "The vhost {vhost!r} is down",
        "The broker's log says why; start it again with: rabbitmqctl restart_vhost -p {vhost}",
    ),
    (
        r"queue '(?P<queue>.*)' in vhost '(?P<vhost>.*)' in exclusive use",
        "Another program consumes queue {queue!r} exclusively",
        "It goes on when that one has ended; see it with: rabbitmqctl list_consumers -p {vhost}",
    ),
)
"""Text, what happened, what to do: the first that matches."""


def temporary_refusal(text: str) -> Unreachable | None:
    """Return the error for a temporary refusal, such as a limit; None for others."""
    for pattern, what, what_to_do in _TEMPORARY:
        if found := re.search(pattern, text, re.DOTALL):
            groups = found.groupdict()
            return Unreachable(what.format(**groups), what_to_do.format(**groups))
    return None


def refusal(code: int, text: str, action: str) -> RqtoolError | None:
    """Return the error for AMQP's reply code and text; None if it is no refusal. `action`: what was refused."""
    if (temporary := temporary_refusal(text)) is not None:
        return temporary
    if code == NOT_ALLOWED and (found := re.search(r"vhost '?(.*?)'? not found", text, re.DOTALL)):
        return AccessRefused(
            f"The vhost {found[1]!r} does not exist",
            f"Create it with: rabbitmqctl add_vhost {found[1]}; or name another one with --vhost or in the URL",
        )
    if code == NOT_ALLOWED and (found := re.search(r"vhost '(.*)' refused for user '(.*)'", text, re.DOTALL)):
        return AccessRefused(
            f"User {found[2]!r} may not enter the vhost {found[1]!r}",
            f"Grant it with: rabbitmqctl set_permissions -p {found[1]} {found[2]} '.*' '.*' '.*'",
        )
    if code in (ACCESS_REFUSED, NOT_ALLOWED):
        return AccessRefused(
            f"The broker refused {action}: {text}", "Ask for the permission (rabbitmqctl set_permissions)"
        )
    return None


def raise_refusal(lost: Lost, action: str) -> NoReturn:
    """Raise AccessRefused if a permission is missing, else `lost`: callers wait for what is temporary, as they do for a
    broker that is away.
    """
    error = refusal(lost.code, lost.text, action)
    if isinstance(error, AccessRefused):
        raise error
    raise lost


def unreachable(lost: Lost) -> Unreachable:
    """Return the user's error for a channel or connection that was lost."""
    return temporary_refusal(lost.text) or Unreachable(f"The connection was lost: {lost}", "Look into the broker's log")


def connect_error(url: BrokerURL, error: BaseException | str, received: bytes = b"") -> RqtoolError:
    """Return the user's error for a connection that could not be opened. `received`: bytes from the other side that are
    not AMQP. pika guesses the cause from the stage of the handshake; only the broker's own text counts here.
    """
    if received.startswith(b"HTTP/"):
        return Unreachable(f"{url} answers with HTTP, not AMQP", _CHECK_PORT)
    if received.startswith(_TLS_ALERT) and not url.tls:
        return Unreachable(f"{url} expects TLS", "Write amqps:// instead of amqp://")
    cause = root_cause(error)
    code = int(found[1]) if (found := re.search(r"\((\d{3})\)", cause)) else 0
    if code == ACCESS_REFUSED and isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return AccessRefused(
            f"The broker at {url} refused user {url.user!r}: wrong name or password",
            "Put the right ones into --url or RQTOOL_URL (guest may log in from the broker's own machine only)",
        )
    if (refused := refusal(code, cause, "the connection")) is not None:
        return type(refused)(f"{refused.what} at {url}", refused.what_to_do)
    if tls_words_in(str(error)) or any(isinstance(each, ssl.SSLError) for each in _causes(error)):
        return Unreachable(f"No TLS connection to {url}: {cause}", tls_hint(cause))
    start = "Start one with: rqtool broker start; or name yours with --url or RQTOOL_URL"
    kind = NothingListens if any(isinstance(each, ConnectionRefusedError) for each in _causes(error)) else Unreachable
    return kind(f"No broker answers at {url}: {cause}", _CHECK_PORT if cause in (_CLOSED, _SILENT) else start)


_CHECK_PORT = "Check that the URL names the broker's AMQP port (usually 5672; with amqps:// 5671)"
_TLS_ALERT = b"\x15\x03"
_CLOSED, _SILENT = "the other side closed the connection", "no AMQP handshake in time"


def root_cause(error: object) -> str:
    """Return the innermost cause of pika's nested errors, as a short text."""
    for cause in _causes(error):
        if isinstance(cause, pika.exceptions.ConnectionOpenAborted):
            return _SILENT
        if isinstance(cause, ssl.SSLError):
            return tls_words(cause)
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, OSError) and not isinstance(cause, pika.exceptions.AMQPError):
            return (cause.strerror or str(cause) or type(cause).__name__).lower()
    text = str(error)
    if (tls := tls_words_in(text)) is not None:
        return tls
    if "Transport indicated EOF" in text:
        return _CLOSED
    # StreamLostError holds the cause as text: ConnectionResetError(104, 'Connection reset by peer').
    cause_in_text = re.search(r"Error\(\d+, '([^']+)'\)", text)
    return cause_in_text[1].lower() if cause_in_text else text or type(error).__name__


def _causes(error: object) -> Iterator[object]:
    yield error
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *getattr(error, "args", ())]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)


@dataclass(frozen=True, slots=True)
class ArgumentMismatch:
    """The difference that the 406 about a redeclared queue names: a field and its current value (None: unset, or not
    understood).
    """

    field: str
    current: str | int | bool | None
    understood: bool


_INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)' for queue .*?: received .*? but current is (.*)$", re.DOTALL)
_TYPED = re.compile(r"the value '(.*)' of type '(\w+)'", re.DOTALL)
_INTEGERS = {"signedint", "unsignedint", "long", "short", "byte", "unsignedbyte", "unsignedshort"}


def parse_mismatch(text: str) -> ArgumentMismatch | None:
    """Read the text of a 406, as RabbitMQ 3.10 to 4.3 word it; None if it is about something else."""
    match = _INEQUIVALENT.search(text)
    if match is None:
        return None
    field, current = match[1], match[2].strip()
    if current == "none":
        return ArgumentMismatch(field, None, understood=True)
    typed = _TYPED.fullmatch(current)
    value, kind = (typed[1], typed[2]) if typed else (current.strip("'"), "longstr")
    if kind in _INTEGERS:
        return ArgumentMismatch(field, int(value), understood=True)
    if kind == "bool":
        return ArgumentMismatch(field, value == "true", understood=True)
    return ArgumentMismatch(field, value if kind == "longstr" else None, understood=kind == "longstr")


def mirror(arguments: Arguments, mismatch: ArgumentMismatch) -> Arguments:
    """Return the arguments with the current value of the field: the next 406 then names the next difference."""
    rest = {key: value for key, value in arguments.items() if key != mismatch.field}
    return rest if mismatch.current is None else rest | {mismatch.field: mismatch.current}


_TOO_LARGE = re.compile(r"message size \d+ (?:is )?larger than (?:configured )?max size (\d+)")


def parse_size_limit(text: str) -> int | None:
    """The broker's size limit in bytes, from the 406 about a larger message; None if it is about something else."""
    match = _TOO_LARGE.search(text)
    return int(match[1]) if match else None
