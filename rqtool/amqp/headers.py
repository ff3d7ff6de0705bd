"""The headers that rqtool sets on tasks, and the broker's headers that a copy must not have. Pure.

RabbitMQ below 4.0.1 takes a retry with a copied `x-death` for a dead-letter cycle and drops it; a copied `CC` would
route the copy to further queues. https://www.rabbitmq.com/docs/dlx#effects
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ATTEMPTS = "x-rqtool-attempts"
"""How many attempts failed."""
ERROR = "x-rqtool-error"
"""Why the last attempt failed, then the last lines of stderr or of a traceback."""
FAILED_AT = "x-rqtool-failed-at"
"""When the last attempt failed, in UTC (ISO 8601)."""
WORKER = "x-rqtool-worker"
"""Whose attempt it was: HOST:PID."""
STARTS = "x-rqtool-starts"
"""How often the task was begun without a verdict since the last one: its worker died, or was cut off."""
COPY = "x-rqtool-copy"
"""Unique for each copy that rqtool publishes, so that two copies of a task are never taken for one."""
OWN_PREFIX = "x-rqtool-"

LARGEST = 2**63 - 1
"""The largest integer that fits into a header."""
LONGEST_ERROR = 2_000
"""Characters: all headers of a message share one frame."""

_BROKERS = {"x-death", "x-delivery-count", "x-acquired-count", "cc", "bcc"}
_BROKERS_GROUPS = ("x-first-death-", "x-last-death-")

Headers = Mapping[str, Any]


def count(headers: Headers, name: str) -> int:
    """Return a counter; 0 if it is missing or not a counter, since any program can write headers."""
    value = headers.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def text(headers: Headers, name: str) -> str:
    """Return a header as text, empty if it is missing."""
    value = headers.get(name)
    return "" if value is None else value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def copied_at(token: str) -> float:
    """When a copy was made, in seconds since 1970; infinity where its token does not say, as in version 0.4."""
    try:
        return int(token.partition("-")[2], 16) / 1000
    except (ValueError, OverflowError):
        return float("inf")


def of_the_sender(headers: Headers) -> dict[str, Any]:
    """Return the headers without those that the broker added."""
    return {name: value for name, value in headers.items() if not _is_the_brokers(name.lower())}


def failed(headers: Headers, *, attempts: int, error: str, at: str, worker: str) -> dict[str, Any]:
    """Return the headers of a task that failed for the `attempts`th time."""
    kept = {name: value for name, value in of_the_sender(headers).items() if name != STARTS}
    return kept | {ATTEMPTS: min(attempts, LARGEST), ERROR: error[:LONGEST_ERROR], FAILED_AT: at, WORKER: worker}


def started(headers: Headers, *, starts: int) -> dict[str, Any]:
    """Return the headers of a task that was begun `starts` times without a verdict."""
    kept = {name: value for name, value in of_the_sender(headers).items() if name != STARTS}
    return kept | ({STARTS: starts} if starts else {})


def as_new(headers: Headers) -> dict[str, Any]:
    """Return the headers as before the first attempt, for a dead task that is retried."""
    return {name: value for name, value in of_the_sender(headers).items() if not name.startswith(OWN_PREFIX)}


def _is_the_brokers(name: str) -> bool:
    return name in _BROKERS or name.startswith(_BROKERS_GROUPS)
