"""Queue names, the arguments that queues are declared with, and what a refused declaration means. Pure.

Rules: https://www.rabbitmq.com/docs/quorum-queues and https://www.rabbitmq.com/docs/queues#property-equivalence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rqtool.dropping import UNREACHED_LIMIT
from rqtool.errors import UsageError
from rqtool.text import is_text

QueueType = Literal["classic", "quorum"]
Arguments = dict[str, str | int | bool]

# Dead-lettering at least once needs reject-publish, else the broker quietly makes it at most once.
_AT_LEAST_ONCE: Arguments = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}

LONGEST_NAME = 255
"""Bytes: names are short strings in AMQP 0-9-1."""

DELIVERY_LIMIT = UNREACHED_LIMIT
"""Explicit, because RabbitMQ 4 gives up after 20 deliveries of its own accord, and a task that is merely prefetched is
delivered anew whenever its worker restarts. High, because poison is the worker's to judge; the broker's limit is the
last stop of a loop in somebody else's program, and it leads to the dead queue."""

_QUORUM: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": DELIVERY_LIMIT}


def check_queue_name(name: str) -> str:
    """Return the name. Raises UsageError for what the broker would change without a word: it strips line ends, and
    makes up a name where there is none.
    """
    if not name or "\n" in name or "\r" in name:
        raise UsageError(f"{name!r} is no queue name", "Give one without line ends")
    if not is_text(name):
        raise UsageError(f"{name!r} is no queue name", "Give one in UTF-8")
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"A queue name of more than {LONGEST_NAME} bytes", "Give a shorter one")
    return name


def dead_queue(queue: str) -> str:
    """Where the tasks of `queue` go that were given up."""
    return f"{queue}.dead"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a copy of a task goes. `wait`: seconds until it comes back to `home` from there; None: it stays."""

    name: str
    home: str
    wait: float | None = None


RETURNED = ".returned"


def at_home(queue: str) -> Place:
    return Place(queue, queue)


def dead(queue: str) -> Place:
    return Place(dead_queue(queue), queue)


def waiting(queue: str, delay: str, seconds: float) -> Place:
    """For the next attempt; `delay` names the pause."""
    return Place(f"{queue}.retry.{delay}", queue, seconds)


def returned(queue: str) -> Place:
    """For tasks that the broker flagged as redelivered: in a quorum queue it counts how often they come back."""
    return Place(f"{queue}{RETURNED}", queue)


def quarantine(queue: str) -> Place:
    """For tasks that may have killed their workers: each runs alone."""
    return Place(f"{queue}.quarantine", queue)


def new_marker(queue: str) -> str:
    """The queue that stands beside `queue` while that, or one beside it, is too new to be safe."""
    return f"{queue}.rqtool.new"


def places_beside(queue: str, waits: Sequence[tuple[str, float]]) -> list[Place]:
    """All that a worker needs beside its queue; `waits` are names and seconds of its retry delays."""
    return [dead(queue), returned(queue), quarantine(queue), *(waiting(queue, *wait) for wait in waits)]


def check_sibling_names(queue: str, delays: Sequence[str]) -> None:
    """Raise UsageError where the queue's name leaves no room for the names of those beside it."""
    names = [new_marker(queue), *(place.name for place in places_beside(queue, [(delay, 0) for delay in delays]))]
    longest = max(names, key=lambda name: len(name.encode()))
    if len(longest.encode()) > LONGEST_NAME:
        raise UsageError(
            f"The queue's name leaves no room for those beside it, such as {longest[-20:]!r}",
            f"Use one of at most {LONGEST_NAME - len(longest.encode()) + len(queue.encode())} bytes",
        )


def place_arguments(place: Place, kind: QueueType | None) -> Arguments:
    """What a queue beside the main one is declared with. `kind`: the main queue's, None where that is plain; only the
    dead queue follows it.

    One wait queue per delay, since messages expire at the head of a queue only; never an `x-expires`, which would take
    what is inside along: https://www.rabbitmq.com/docs/ttl

    A wait queue is always a quorum queue: a classic one sends home without waiting for the confirm. Of 20,000 tasks on
    their way home when the broker was killed it lost 2,000 to 14,000 (RabbitMQ 3.10 and 4.3), a quorum queue none:
    https://www.rabbitmq.com/docs/quorum-queues#dead-lettering
    """
    if place.wait is not None:
        return _QUORUM | {
            "x-message-ttl": round(place.wait * 1000),
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": place.home,
            **_AT_LEAST_ONCE,
        }
    if place in (returned(place.home), quarantine(place.home)):
        return queue_arguments(place.home, "quorum")
    # Reading dead tasks returns them, and every return counts.
    return _QUORUM if kind == "quorum" else {} if kind is None else {"x-queue-type": kind}


def queue_arguments(queue: str, kind: QueueType | None) -> Arguments:
    """What `queue` is declared with: nothing at all unless the user asked for a type, as the tutorial does."""
    if kind is None:
        return {}
    if kind == "classic":
        return {"x-queue-type": "classic"}
    return _QUORUM | {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": dead_queue(queue),
        **_AT_LEAST_ONCE,
    }


@dataclass(frozen=True, slots=True)
class Mismatch:
    """What a 406 about a redeclared queue says: the field, and its value there (None: unset, or not understood)."""

    field: str
    current: str | int | bool | None
    understood: bool


_INEQUIVALENT = re.compile(r"inequivalent arg '([^']+)' for queue .*?: received .*? but current is (.*)$", re.DOTALL)
_TYPED = re.compile(r"the value '(.*)' of type '(\w+)'", re.DOTALL)
_INTEGERS = {"signedint", "unsignedint", "long", "short", "byte", "unsignedbyte", "unsignedshort"}


def parse_mismatch(text: str) -> Mismatch | None:
    """Read the text of a 406, in the wordings of RabbitMQ 3.10 to 4.3; None where it is about something else."""
    match = _INEQUIVALENT.search(text)
    if match is None:
        return None
    field, current = match[1], match[2].strip()
    if current == "none":
        return Mismatch(field, None, understood=True)
    typed = _TYPED.fullmatch(current)
    if typed is None:
        return Mismatch(field, current.strip("'"), understood=True)
    value, kind = typed[1], typed[2]
    if kind == "longstr":
        return Mismatch(field, value, understood=True)
    if kind in _INTEGERS:
        return Mismatch(field, int(value), understood=True)
    if kind == "bool":
        return Mismatch(field, value == "true", understood=True)
    return Mismatch(field, None, understood=False)


def mirror(arguments: Arguments, mismatch: Mismatch) -> Arguments:
    """Return the arguments with the field as it is there: declared so, the next difference shows, or none is left."""
    rest = {key: value for key, value in arguments.items() if key != mismatch.field}
    return rest if mismatch.current is None else rest | {mismatch.field: mismatch.current}


_TOO_LARGE = re.compile(r"message size \d+ (?:is )?larger than (?:configured )?max size (\d+)")


def parse_size_limit(text: str) -> int | None:
    """The largest message in bytes that the broker takes, from the 406 that refused a larger one; else None."""
    match = _TOO_LARGE.search(text)
    return int(match[1]) if match else None
