"""The names of the queues beside NAME, the arguments to declare queues with, and which settings may drop. Pure.

Rules: https://www.rabbitmq.com/docs/quorum-queues, https://www.rabbitmq.com/docs/maxlength,
https://www.rabbitmq.com/docs/ttl
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

from rqtool.errors import UsageError
from rqtool.text import is_text

QueueType = Literal["classic", "quorum"]
Arguments = dict[str, str | int | bool]

# Dead-lettering at least once needs reject-publish, else the broker quietly makes it at most once.
_AT_LEAST_ONCE: Arguments = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

UNREACHED_LIMIT = 100_000
"""Deliveries. rqtool declares its own queues with it, since RabbitMQ 3 has no way to say "unlimited"."""
DEFAULT_DELIVERY_LIMIT = 20
"""RabbitMQ 4's for quorum queues; RabbitMQ 3 has none."""
LONGEST_NAME = 255
"""Bytes: names are short strings in AMQP 0-9-1."""

# Explicit, because RabbitMQ 4's default is 20, and each restart of a worker returns what it had prefetched. High, since
# the worker decides which task is poison; the broker's limit only ends the loops of other programs, in the dead queue.
_QUORUM: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": UNREACHED_LIMIT}


def check_queue_name(name: str) -> str:
    """Return the name. Raises UsageError for a name that the broker would silently change: it strips line ends, and
    makes up a name for an empty one.
    """
    if not name:
        raise UsageError("'' is no queue name", "Name a queue")
    if "\n" in name or "\r" in name:
        raise UsageError(f"{name!r} is no queue name", "Give one without line ends")
    if not is_text(name):
        raise UsageError(f"{name!r} is no queue name", "Give one in UTF-8")
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"A queue name of more than {LONGEST_NAME} bytes", "Give a shorter one")
    return name


DEAD = ".dead"


def dead_queue(queue: str) -> str:
    """The name of the queue for tasks of `queue` that were given up."""
    return f"{queue}{DEAD}"


@dataclass(frozen=True, slots=True)
class Destination:
    """The queue that a copy of a task goes to: `home` or a sibling of it. After `wait` seconds, a wait queue returns it
    to `home`, or passes it on to the exchange `onward` with its routing key.
    """

    name: str
    home: str
    wait: float | None = None
    onward: str = ""


def at_home(queue: str) -> Destination:
    return Destination(queue, queue)


def dead(queue: str) -> Destination:
    return Destination(dead_queue(queue), queue)


def waiting(queue: str, delay: str, seconds: float) -> Destination:
    """The wait queue before the next attempt; `delay` is part of its name."""
    return Destination(f"{queue}.retry.{delay}", queue, seconds)


def spare(wait_queue: Destination) -> Destination:
    """A spare wait queue, for when that one takes nothing. It returns tasks by itself, so any name will do."""
    name = f"{wait_queue.name}.2"
    return replace(wait_queue, name=name) if len(name.encode()) <= LONGEST_NAME else wait_queue


def returned(queue: str) -> Destination:
    """For tasks that the broker flagged as redelivered: a quorum queue, in which it counts their returns."""
    return Destination(f"{queue}.returned", queue)


def quarantine(queue: str) -> Destination:
    """For tasks that may have killed their workers: they run alone."""
    return Destination(f"{queue}.quarantine", queue)


def delay_exchange(queue: str, level: int) -> str:
    """The name of the exchange for tasks that wait at this level of delays: see rqtool.send.delay."""
    return f"{queue}.delay.{level}"


def delaying(queue: str, level: int, digit: int, seconds: float) -> Destination:
    """For delayed tasks, which go on to the level below afterwards."""
    onward = delay_exchange(queue, level - 1) if level else ""
    return Destination(f"{delay_exchange(queue, level)}.{digit}", queue, seconds, onward)


def new_marker(queue: str) -> str:
    """The name of the queue that exists while `queue` or one of its siblings is too new to be safe."""
    return f"{queue}.rqtool.new"


Kind = Literal["dead", "returned", "quarantine", "retry", "delay", "new"]
"""The purpose of a queue beside another one."""
WAITS: tuple[Kind, ...] = ("retry", "delay")
"""The kinds in which tasks wait for their time."""
ON_THEIR_WAY: tuple[Kind, ...] = ("returned", "quarantine", *WAITS)
"""The kinds from which tasks return by themselves, or from which the workers of NAME take them."""
_SUFFIXES: dict[Kind, str] = {
    "dead": re.escape(DEAD),
    "returned": r"\.returned",
    "quarantine": r"\.quarantine",
    "retry": r"\.retry\..+",
    "delay": r"\.delay\.[0-9]+\.[0-9]+",
    "new": r"\.rqtool\.new",
}
_BESIDE = re.compile("|".join(f"(?P<{kind}>{suffix})" for kind, suffix in _SUFFIXES.items()), re.DOTALL)


def kind_beside(home: str, name: str) -> Kind | None:
    """The purpose of the queue `name`, if it is one beside `home`."""
    match = _BESIDE.fullmatch(name, len(home)) if name.startswith(home) else None
    return cast(Kind, match.lastgroup) if match else None


def homes(name: str) -> Iterator[tuple[str, Kind]]:
    """The queues that one of this name may belong to, the longest name first, and its purpose then."""
    dot = name.rfind(".") if _BESIDE.search(name) else 0  # most names are of no interest, and there may be thousands
    while dot > 0:
        if (match := _BESIDE.fullmatch(name, dot)) is not None:
            yield name[:dot], cast(Kind, match.lastgroup)
        dot = name.rfind(".", 0, dot)


def with_returned(names: Collection[str]) -> set[str]:
    """These names, and those of the queues for tasks that came back."""
    return {beside for name in names for beside in (name, returned(name).name, quarantine(name).name)}


def belongs(name: str, names: Collection[str]) -> bool:
    """Whether it is one of these names, or that of a queue beside one of them in which its tasks wait or return."""
    return name in names or any(home in names and kind in ON_THEIR_WAY for home, kind in homes(name))


def sibling_queues(queue: str, waits: Sequence[tuple[str, float]]) -> list[Destination]:
    """The sibling queues that a worker needs, each once; `waits` are names and seconds of its retry delays."""
    places = [dead(queue), returned(queue), quarantine(queue), *(waiting(queue, *wait) for wait in waits)]
    return list(dict.fromkeys(places))


def check_sibling_names(queue: str, siblings: Sequence[Destination]) -> None:
    """Raise UsageError if the queue's name leaves no room for the suffixes of its siblings."""
    names = (new_marker(queue), *(sibling.name for sibling in siblings))
    longest = max(names, key=lambda name: len(name.encode()))
    if len(longest.encode()) > LONGEST_NAME:
        raise UsageError(
            f"The queue's name leaves no room for those beside it, such as {longest[-20:]!r}",
            f"Use one of at most {LONGEST_NAME - len(longest.encode()) + len(queue.encode())} bytes",
        )


def sibling_arguments(target: Destination, kind: QueueType | None) -> Arguments:
    """The arguments to declare a sibling queue with. `kind`: the main queue's type, None if it has no arguments, which
    only the dead queue takes over.

    One wait queue per delay, since messages expire at the head of a queue only; no `x-expires`, which would delete the
    messages too: https://www.rabbitmq.com/docs/ttl

    A wait queue is always a quorum queue: a classic one dead-letters without waiting for confirms. It lost 2,000 to
    14,000 of 20,000 expiring tasks when the broker was killed (RabbitMQ 3.10 and 4.3), a quorum queue none:
    https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
    """
    if target.wait is not None:
        key: Arguments = {} if target.onward else {"x-dead-letter-routing-key": target.home}
        return _QUORUM | {
            "x-message-ttl": round(target.wait * 1000),
            "x-dead-letter-exchange": target.onward,
            **key,
            **_AT_LEAST_ONCE,
        }
    if target in (returned(target.home), quarantine(target.home)):
        return queue_arguments(target.home, "quorum")
    # A delivery limit, since reading dead tasks returns them, and every return counts.
    return _QUORUM if kind == "quorum" else {} if kind is None else {"x-queue-type": kind}


def queue_arguments(queue: str, kind: QueueType | None) -> Arguments:
    """The arguments to declare `queue` with: none unless the user gave a type, as in the tutorial."""
    if kind != "quorum":
        return {"x-queue-type": kind} if kind else {}
    return _QUORUM | {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_queue(queue),
        **_AT_LEAST_ONCE,
    }


_REJECTING = {"classic": {"reject-publish", "reject-publish-dlx"}, "quorum": {"reject-publish"}}
"""The overflow settings that keep a full queue from dropping its oldest messages. A quorum queue ignores a policy's
reject-publish-dlx, and drops.
"""


NOT_DURABLE: Arguments = {"durable": False}
"""Beside a queue's arguments: a restart of the broker deletes it."""


def drops(settings: Mapping[str, object], kind: str | None) -> list[str]:
    """Return the settings that may drop confirmed messages, as `x-max-length=50` or `policy max-length=50`.

    `settings` are a queue's arguments, whose names begin with x- (or NOT_DURABLE), or the keys of its effective policy,
    which have none, or both in one mapping. `kind` is the type; None: classic. A stream is meant to drop old messages,
    so it has none.
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
    not_durable = ["not durable"] if settings.get("durable") is False else []
    return not_durable + [
        f"{'' if given.startswith('x-') else 'policy '}{given}={settings[given]}"
        for name, is_harmless in harmless.items()
        for given in (f"x-{name}", name)
        if not is_harmless and settings.get(given) is not None and not _is_unlimited(name, settings[given])
    ]


def warning(queue: str, found: Sequence[str] | None) -> str:
    """A line for the user about what drops() found (None: the settings can't be seen); empty if it found nothing."""
    if found is None:
        return f"this user may not see the settings of queue {queue!r}: whether it may drop tasks is unknown"
    return f"queue {queue!r} may drop tasks that it has confirmed: {', '.join(found)}" if found else ""


def most_returns(arguments: Mapping[str, object], default: int | None) -> int | None:
    """After how many returns a quorum queue drops or dead-letters a message; None: it is not a quorum queue.

    `default`: the broker's limit for a queue whose arguments name none; None: it has none.
    """
    if arguments.get("x-queue-type") != "quorum":
        return None
    limit = arguments.get("x-delivery-limit", default)
    return limit if isinstance(limit, int) and limit >= 0 else sys.maxsize


def _effective(settings: Mapping[str, object], name: str) -> object:
    """A setting that is not a number: the queue's argument takes precedence over its policy."""
    return settings.get(f"x-{name}", settings.get(name))


def _is_unlimited(name: str, value: object) -> bool:
    """RabbitMQ 4 takes a negative delivery limit as unlimited; one that no task can reach counts as unlimited too."""
    return name == "delivery-limit" and isinstance(value, int) and not 0 <= value < UNREACHED_LIMIT
