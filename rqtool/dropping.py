"""Which settings of a queue may drop messages that the broker has confirmed. Pure.

Rules: https://www.rabbitmq.com/docs/maxlength, https://www.rabbitmq.com/docs/ttl,
https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

_REJECTING = {"classic": {"reject-publish", "reject-publish-dlx"}, "quorum": {"reject-publish"}}
"""What a full queue does instead of dropping its oldest messages. A quorum queue ignores a policy's
reject-publish-dlx, and drops."""

UNREACHED_LIMIT = 100_000
"""Deliveries; rqtool declares its own queues with it, since RabbitMQ 3 knows no word for "without limit"."""


DEFAULT_DELIVERY_LIMIT = 20
"""RabbitMQ 4's for quorum queues; RabbitMQ 3 has none."""


def drops(settings: Mapping[str, object], kind: str | None) -> list[str]:
    """Return the settings that may drop confirmed messages, as `x-max-length=50` or `policy max-length=50`.

    `settings` are a queue's arguments, whose names begin with x-, or the keys of its effective policy, which have none,
    or both in one mapping. `kind` is the type; None: classic. A stream keeps by its settings and is no queue: nothing.
    """
    if kind == "stream":
        return []
    kind = kind or "classic"
    dead_letters = _effective(settings, "dead-letter-exchange") is not None
    rejects = _effective(settings, "overflow") in _REJECTING.get(kind, {"reject-publish"})
    moves = (
        kind == "quorum"
        and dead_letters
        and rejects
        and _effective(settings, "dead-letter-strategy") == "at-least-once"
    )
    harmless = {
        "max-length": rejects,
        "max-length-bytes": rejects,
        "message-ttl": moves,
        "expires": False,
        "delivery-limit": kind != "quorum" or dead_letters,
    }
    return [
        f"{'' if given.startswith('x-') else 'policy '}{given}={settings[given]}"
        for name, is_harmless in harmless.items()
        for given in (f"x-{name}", name)
        if not is_harmless and settings.get(given) is not None and not _is_unlimited(name, settings[given])
    ]


def warning(queue: str, found: Sequence[str] | None) -> str:
    """A line for the user about what drops() found; None: the settings can't be seen. Empty: nothing to say."""
    if found is None:
        return f"this user may not see the settings of queue {queue!r}: whether it may drop tasks is unknown"
    return f"queue {queue!r} may drop tasks that it has confirmed: {', '.join(found)}" if found else ""


def most_returns(arguments: Mapping[str, object], default: int | None) -> int | None:
    """After how many returns a quorum queue drops a message, or dead-letters it; None: it is no quorum queue.

    `default`: the broker's limit for a queue whose arguments name none; None: it has none.
    """
    if arguments.get("x-queue-type") != "quorum":
        return None
    limit = arguments.get("x-delivery-limit", default)
    return limit if isinstance(limit, int) and limit >= 0 else sys.maxsize


def _effective(settings: Mapping[str, object], name: str) -> object:
    """A setting that is no number: the queue's argument precedes its policy."""
    return settings.get(f"x-{name}", settings.get(name))


def _is_unlimited(name: str, value: object) -> bool:
    """RabbitMQ 4 takes a delivery limit below 0 as none; one that nobody reaches is none either."""
    return name == "delivery-limit" and isinstance(value, int) and not 0 <= value < UNREACHED_LIMIT
