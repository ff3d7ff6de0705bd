"""What becomes of a task after an attempt: done, tried again after a delay, given up, or back to the queue. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rqtool.durations import LONGEST_DELAY, format_duration, parse_duration
from rqtool.errors import UsageError
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage

DEFAULT_DELAYS = "1s,10s,1m"
MOST_DELAYS = 50


@dataclass(frozen=True, slots=True)
class Delay:
    """A pause in seconds, and its name, which is part of the wait queue's name."""

    name: str
    seconds: float


Verdict = Delay | Literal["done", "dead", "return"]
"""Done; another attempt after the delay; to the dead queue; or back to the queue unchanged, since the task had no
chance.
"""


def parse_delays(text: str) -> tuple[Delay, ...]:
    """Return the pauses before the second, third, … attempt: `1s,10s,1m`; `none` for no retries.

    The wait queues are named as they are written. Raises UsageError.
    """
    if text.strip() == "none":
        return ()
    names = [name.strip() for name in text.split(",")]
    delays = tuple(Delay(name, parse_duration(name)) for name in names)
    if len(delays) > MOST_DELAYS:
        raise UsageError(f"{len(delays)} retry delays", f"Give at most {MOST_DELAYS}")
    for delay in delays:
        if delay.seconds > LONGEST_DELAY:
            raise UsageError(
                f"A retry delay of {delay.name}", "The longest that the broker can wait for is 30 days: 720h"
            )
    return delays


def round_delay(seconds: float) -> Delay:
    """Round a pause up to tenths of a second up to one, then to whole seconds, minutes and hours. Every pause needs a
    wait queue, and a task may ask for any, so this keeps their number small.
    """
    wanted = min(max(seconds, 0.0), LONGEST_DELAY)
    step = next((step for most, step in ((1.0, 0.1), (60.0, 1.0), (3600.0, 60.0)) if wanted <= most), 3600.0)
    rounded = max(math.ceil(round(wanted / step, 9)), 1) * step
    return Delay(format_duration(rounded), rounded)


def judge(outcome: Outcome, attempt: int, delays: Sequence[Delay]) -> Verdict:
    """Judge the outcome of attempt number `attempt`, from 1; there is one attempt more than there are delays."""
    match outcome:
        case Done():
            return "done"
        case CannotRun() | OutputGone() | Shortage():
            return "return"
        case Rejected():
            return "dead"
        case Failed() | Postponed():
            if attempt > len(delays):
                return "dead"
            wanted = outcome.delay if isinstance(outcome, Postponed) else None
            return delays[attempt - 1] if wanted is None else round_delay(wanted)
