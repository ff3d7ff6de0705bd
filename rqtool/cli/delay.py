"""`--delay` and `--at`: when a task is to be delivered."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.cli.options import parse_option
from rqtool.durations import parse_duration, parse_time
from rqtool.errors import UsageError
from rqtool.send.delay import LONGEST, SHORTEST, longest_name

if TYPE_CHECKING:
    from rqtool.amqp.window import Message

LIMITS = f"Give it from {SHORTEST}s to {LONGEST // 86_400}d"

_when = partial(typer.Option, show_default="at once", rich_help_panel="When to deliver")
Delay = Annotated[
    str | None,
    _when(
        metavar="DURATION",
        help="Deliver each task this long after it was sent: from 1s to 366d, rounded up to a whole second.",
    ),
]
At = Annotated[
    str | None,
    _when(metavar="TIME", help="Deliver the tasks at this RFC 3339 time: 2026-12-24T18:00:00+01:00, or with Z."),
]


def parse_delay(delay: str | None) -> int:
    """Return whole seconds, 0 for none. Raises UsageError."""
    if delay is None:
        return 0
    seconds = parse_option("--delay", delay, parse_duration)
    if not SHORTEST <= seconds <= LONGEST:
        raise UsageError(f"--delay {delay} is too {'short' if seconds < SHORTEST else 'long'}", LIMITS)
    return math.ceil(round(seconds, 9))


def parse_at(at: str | None, now: float) -> float | None:
    """Return a time in seconds since 1970. Raises UsageError."""
    if at is None:
        return None
    time = parse_option("--at", at, parse_time)
    if time - now > LONGEST:
        raise UsageError(f"--at {at} is too far away", f"Give a time within {LONGEST // 86_400} days")
    return time


def check_delayed(queue: str, guarantee: str, ttl: str | None, *, both: bool) -> None:
    """Raise UsageError for what can't be delayed. `both`: --delay and --at."""
    if both:
        raise UsageError("--delay and --at contradict each other", "Use one of the two")
    if guarantee == "tx":
        raise UsageError(
            "--guarantee tx can't be delayed: a delayed task waits in a quorum queue, which has no transactions",
            "Leave it out: a confirm says that the task is safe",
        )
    if ttl is not None:
        raise UsageError("--ttl would end the wait of a delayed task", "Leave --ttl or the delay out")
    longest_name(queue)


def with_time(line: Callable[[Message], str], delay: int, at: float | None) -> Callable[[Message], str]:
    """Add to the line of a task when the broker delivers it, unless that is at once."""

    def timed(message: Message) -> str:
        now = datetime.now().astimezone()
        time = datetime.fromtimestamp(now.timestamp() + delay if at is None else at).astimezone()
        day = "" if time.date() == now.date() else f"{time:%Y-%m-%d} "
        return f"{line(message)} (comes at {day}{time:%H:%M:%S})"

    return timed if delay or at is not None else line
