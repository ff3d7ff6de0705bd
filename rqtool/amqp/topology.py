"""Queue names, the arguments that queues are declared with, and what a refused declaration means. Pure.

Rules: https://www.rabbitmq.com/docs/quorum-queues and https://www.rabbitmq.com/docs/queues#property-equivalence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
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

# Explicit, because RabbitMQ 4's default is 20, and each restart of a worker returns what it had prefetched. High, as
# the worker decides what is poison; the broker's limit only ends the loops of other programs, in the dead queue.
_QUORUM: Arguments = {"x-queue-type": "quorum", "x-delivery-limit": UNREACHED_LIMIT}


def check_queue_name(name: str) -> str:
    """Return the name. Raises UsageError for a name that the broker would silently change: it strips line ends, and
    makes up a name for an empty one.
    """
    if not name or "\n" in name or "\r" in name:
        raise UsageError(f"{name!r} is no queue name", "Give one without line ends")
    if not is_text(name):
        raise UsageError(f"{name!r} is no queue name", "Give one in UTF-8")
    if len(name.encode()) > LONGEST_NAME:
        raise UsageError(f"A queue name of more than {LONGEST_NAME} bytes", "Give a shorter one")
    return name


def dead_queue(queue: str) -> str:
    """The name of the queue for tasks of `queue` that were given up."""
    return f"{queue}.dead"


@dataclass(frozen=True, slots=True)
class Destination:
    """The queue that a copy of a task goes to: `home` or a sibling of it. A wait queue sends it home after `wait`
    seconds, or on to the exchange `onward`, with the routing key that it came with.
    """

    name: str
    home: str
    wait: float | None = None
    onward: str = ""


RETURNED = ".returned"


def at_home(queue: str) -> Destination:
    return Destination(queue, queue)


def dead(queue: str) -> Destination:
    return Destination(dead_queue(queue), queue)


def waiting(queue: str, delay: str, seconds: float) -> Destination:
    """The wait queue before the next attempt; `delay` is part of its name."""
    return Destination(f"{queue}.retry.{delay}", queue, seconds)


def spare(wait_queue: Destination) -> Destination:
    """Another wait queue, for when that one takes nothing: it sends home by itself, so any name will do."""
    name = f"{wait_queue.name}.2"
    return replace(wait_queue, name=name) if len(name.encode()) <= LONGEST_NAME else wait_queue


def returned(queue: str) -> Destination:
    """For tasks that the broker flagged as redelivered: a quorum queue, in which it counts their returns."""
    return Destination(f"{queue}{RETURNED}", queue)


def quarantine(queue: str) -> Destination:
    """For tasks that may have killed their workers: they run alone."""
    return Destination(f"{queue}.quarantine", queue)


def new_marker(queue: str) -> str:
    """The name of the queue that exists while `queue` or one of its siblings is too new to be safe."""
    return f"{queue}.rqtool.new"


def sibling_queues(queue: str, waits: Sequence[tuple[str, float]]) -> list[Destination]:
    """The sibling queues that a worker needs; `waits` are names and seconds of its retry delays."""
    return [dead(queue), returned(queue), quarantine(queue), *(waiting(queue, *wait) for wait in waits)]


def check_sibling_names(queue: str, delays: Sequence[str]) -> None:
    """Raise UsageError if the queue's name leaves no room for the suffixes of its siblings."""
    names = [
        new_marker(queue),
        *(target.name for target in sibling_queues(queue, [(delay, 0) for delay in delays])),
    ]
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
