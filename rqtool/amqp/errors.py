"""What pika's errors say, in the shortest true words, and which error of the user's they are."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator

import pika.exceptions

from rqtool.amqp.refusals import refused
from rqtool.endpoint.tls import tls_hint, tls_words, tls_words_in
from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import AccessRefused, RqtoolError, Unreachable

_ACCESS_REFUSED = 403
_CODE = re.compile(r"\((\d{3})\)")
"""AMQP's reply code, as pika puts it into its texts."""


def refusal(url: BrokerURL, error: BaseException | str) -> RqtoolError:
    """Return the user's error for a connection that could not be opened.

    pika guesses from the stage at which the broker went what it may have meant; only the broker's own words count.
    """
    text = words(error)
    code = int(found[1]) if (found := _CODE.search(text)) else 0
    if code == _ACCESS_REFUSED and isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return AccessRefused(
            f"The broker at {url} refused user {url.user!r}: wrong name or password",
            "Put the right ones into RQTOOL_URL (guest may log in from the broker's own machine only)",
        )
    if (understood := refused(code, text, "the connection")) is not None:
        return type(understood)(f"{understood.what} at {url}", understood.what_to_do)
    if tls_words_in(str(error)) or any(isinstance(cause, ssl.SSLError) for cause in _causes(error)):
        return Unreachable(f"No TLS connection to {url}: {text}", tls_hint(text))
    return Unreachable(
        f"No broker answers at {url}: {text}",
        "Start one with: rqtool broker start; or name yours with --url or RQTOOL_URL",
    )


def words(error: object) -> str:
    """Return the cause at the bottom of pika's nested connection errors."""
    for cause in _causes(error):
        if isinstance(cause, pika.exceptions.ConnectionOpenAborted):
            return "no AMQP handshake in time"
        if isinstance(cause, ssl.SSLError):
            return tls_words(cause)
        if isinstance(cause, TimeoutError):
            return "no answer in time"
        if isinstance(cause, OSError) and not isinstance(cause, pika.exceptions.AMQPError):
            return (cause.strerror or str(cause) or type(cause).__name__).lower()
    text = str(error)
    if (tls := tls_words_in(text)) is not None:
        return tls
    # StreamLostError holds the cause as text: ConnectionResetError(104, 'Connection reset by peer').
    cause_in_text = re.search(r"Error\(\d+, '([^']+)'\)", text)
    return cause_in_text[1].lower() if cause_in_text else text or type(error).__name__


def _causes(error: object) -> Iterator[object]:
    yield error
    inner = [*getattr(error, "exceptions", ()), getattr(error, "exception", None), *getattr(error, "args", ())]
    for cause in inner:
        if isinstance(cause, BaseException):
            yield from _causes(cause)
