"""The broker's words → the user's error, without a broker. The texts are those of RabbitMQ 3.10 to 4.3."""

from __future__ import annotations

import pika.exceptions
import pytest

from rqtool.amqp.errors import Lost, connect_error, raise_refusal, refusal, temporary_refusal
from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import AccessRefused

URL = BrokerURL(False, "h", 5672, "u", "secret", "v")


@pytest.mark.parametrize(
    ("code", "text", "exit_code", "what"),
    [
        (
            530,
            "NOT_ALLOWED - access to vhost 'v' refused for user 'u': connection limit (1) is reached",
            69,
            "The vhost 'v' has as many connections as its limit allows (max-connections=1)",
        ),
        (
            530,
            "NOT_ALLOWED - connection refused for user 'u': user connection limit (0) is reached",
            69,
            "User 'u' has as many connections as its limit allows (max-connections=0)",
        ),
        (
            530,
            "NOT_ALLOWED - number of channels opened for user 'rqtool@localhost' has reached the maximum allowed user "
            "limit of (1)",
            69,
            "The user has as many channels as its limit allows (max-channels=1)",
        ),
        (
            530,
            "NOT_ALLOWED - number of channels opened for user 'u' has reached the maximum allowed user limit of 1",
            69,
            "The user has as many channels as its limit allows (max-channels=1)",
        ),
        (
            406,
            "PRECONDITION_FAILED - cannot declare queue 'b': queue limit in vhost 'v' (12) is reached",
            69,
            "The vhost 'v' has as many queues as its limit allows (max-queues=12)",
        ),
        (
            406,
            "PRECONDITION_FAILED - cannot declare queue 'b': queue limit in cluster (5) is reached",
            69,
            "The broker is at a limit: queue limit in cluster (5) is reached",
        ),
        (
            530,
            "NOT_ALLOWED - connection refused: node connection limit (5) is reached",
            69,
            "The broker is at a limit: node connection limit (5) is reached",
        ),
        (
            541,
            "INTERNAL_ERROR - access to vhost 'v' refused for user 'u': vhost 'v' is down",
            69,
            "The vhost 'v' is down",
        ),
        (320, "CONNECTION_FORCED - vhost 'v' is down", 69, "The vhost 'v' is down"),
        (
            403,
            "ACCESS_REFUSED - queue 'it's' in vhost 'v' in exclusive use",
            69,
            """Another program consumes queue "it's" exclusively""",
        ),
        (
            404,
            "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost 'v' is down or inaccessible",
            69,
            "The node that holds the queue is down: NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost 'v' is "
            "down or inaccessible",
        ),
        (530, "NOT_ALLOWED - vhost no such not found", 77, "The vhost 'no such' does not exist"),
        (530, "NOT_ALLOWED - access to vhost 'v' refused for user 'u'", 77, "User 'u' may not enter the vhost 'v'"),
        (
            403,
            "ACCESS_REFUSED - configure access to queue 'q' in vhost 'v' refused for user 'u'",
            77,
            "The broker refused this: ACCESS_REFUSED - configure access to queue 'q' in vhost 'v' refused for user 'u'",
        ),
    ],
)
def test_what_the_broker_means(code: int, text: str, exit_code: int, what: str) -> None:
    """Limits pass and are 69, rights don't and are 77; each is named, and has a remedy."""
    error = refusal(code, text, "this")
    assert error is not None
    assert (error.exit_code, error.what, bool(error.what_to_do)) == (exit_code, what, True)
    assert (temporary_refusal(text) is None) == (exit_code == 77)
    with pytest.raises(AccessRefused if exit_code == 77 else Lost):
        raise_refusal(Lost(code, text), "this")
    cause = pika.exceptions.ConnectionClosedByBroker(code, text)
    found = connect_error(URL, pika.exceptions.ProbableAccessDeniedError(repr(cause)))
    assert (found.exit_code, found.what.endswith(f" at {URL}")) == (exit_code, True)


@pytest.mark.parametrize(
    "text",
    [
        "PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue 'limit' in vhost 'reached': received none",
        "PRECONDITION_FAILED - message size 200 is larger than configured max size 100",
        "NOT_FOUND - no queue 'q' in vhost 'v'",
        "no heartbeat",
    ],
)
def test_what_is_no_refusal(text: str) -> None:
    """It is somebody else's to judge."""
    assert temporary_refusal(text) is None
    assert refusal(406, text, "this") is None


@pytest.mark.parametrize(
    "guess", [pika.exceptions.ProbableAuthenticationError, pika.exceptions.ProbableAccessDeniedError]
)
def test_pikas_guesses(guess: type[Exception]) -> None:
    """A broker that is killed at some stage of the handshake has refused nobody."""
    lost = pika.exceptions.StreamLostError(f"Stream connection lost: {ConnectionResetError(104, 'Connection reset')!r}")
    gone = connect_error(URL, guess(repr(lost)))
    assert (gone.exit_code, gone.what) == (69, f"No broker answers at {URL}: connection reset")


def test_a_wrong_password() -> None:
    """The broker says so itself."""
    login = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."
    found = connect_error(
        URL, pika.exceptions.ProbableAuthenticationError(f"ConnectionClosedByBroker: (403) '{login}'")
    )
    assert (found.exit_code, found.what) == (77, f"The broker at {URL} refused user 'u': wrong name or password")
