"""Which settings of a queue may drop messages that the broker has confirmed. Pure.

Rules: https://www.rabbitmq.com/docs/maxlength, https://www.rabbitmq.com/docs/ttl,
https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
"""

from __future__ import annotations

from collections.abc import Mapping

_REJECTING = {"classic": {"reject-publish", "reject-publish-dlx"}, "quorum": {"reject-publish"}}
"""What a full queue does instead of dropping its oldest messages. A quorum queue ignores a policy's
reject-publish-dlx, and drops."""

UNREACHED_LIMIT = 100_000
"""Deliveries; rqtool declares its own queues with it, since RabbitMQ 3 knows no word for "without limit"."""


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


def _effective(settings: Mapping[str, object], name: str) -> object:
    """A setting that is no number: the queue's argument precedes its policy."""
    return settings.get(f"x-{name}", settings.get(name))


def _is_unlimited(name: str, value: object) -> bool:
    """RabbitMQ 4 takes a delivery limit below 0 as none; one that nobody reaches is none either."""
    return name == "delivery-limit" and isinstance(value, int) and not 0 <= value < UNREACHED_LIMIT
