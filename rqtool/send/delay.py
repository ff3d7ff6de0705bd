"""Delays as sums of waits: the delay queues that a task passes, and the routing key that takes it through them. Pure.

Messages expire at the head of a queue only. So every delay queue `NAME.delay.LEVEL.DIGIT` holds all of its messages for
the same time, DIGIT times the seconds of its level, and a longer delay passes one queue per digit, the longest first. A
level has 64 digits, and not two, since a quorum queue passes on only a few thousand messages a second: tasks due within
a minute leave 64 queues in parallel.

The routing key holds the digits, as in `5.0.12`. If a level's digit is 0, its exchange `NAME.delay.LEVEL` routes to the
exchange below. The last digit is never 0 but 1 to 64: the last queue dead-letters to NAME by name, which also works
after NAME was deleted and created again.
"""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.topology import Destination, check_queue_name, delay_exchange, delaying

SHORTEST, LONGEST = 1, 366 * 86_400
"""Seconds."""
_DIGITS = 64
_TOP, _TOP_DIGITS = 3, 16
"""The broker holds a message for at most 2^32 ms, 49 days, in one queue: sixteen times 64^3 s. So levels above this one
are that long each, with the digits 0 and 1, and a year passes seven of them."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A binding from `source` to `target`, an exchange or a queue, for routing keys that match `pattern`."""

    source: str
    pattern: str
    target: str


@dataclass(frozen=True, slots=True)
class Route:
    """How a task is published: through an exchange with a routing key; without an exchange the key is the queue.
    `queues`: where it waits, in this order.
    """

    key: str
    exchange: str = ""
    queues: tuple[Destination, ...] = ()


def route(queue: str, seconds: int) -> Route:
    """The route to `queue` that takes so many seconds; 0: none."""
    if not seconds:
        return Route(queue)
    digits = _digits(seconds)
    levels = range(len(digits) - 1, -1, -1)
    queues = tuple(_delay_queue(queue, level, digits[level]) for level in levels if digits[level])
    return Route(".".join(str(digits[level]) for level in levels), delay_exchange(queue, levels[0]), queues)


def longest_name(queue: str) -> str:
    """The longest name beside `queue`. Raises UsageError if it is too long for the broker."""
    return check_queue_name(route(queue, LONGEST).queues[0].name)


def bindings(queue: str, seconds: int) -> list[Binding]:
    """The bindings that take a task with this delay from exchange to exchange, and into its delay queues."""
    found = []
    for level, digit in enumerate(_digits(seconds)):
        exchange, below = delay_exchange(queue, level), ".*" * level
        if level:
            found.append(Binding(exchange, f"#.0{below}", delay_exchange(queue, level - 1)))
        if digit:
            found.append(Binding(exchange, f"#.{digit}{below}", _delay_queue(queue, level, digit).name))
    return found


def _digits(seconds: int) -> list[int]:
    """The digit of each level, the lowest first, up to the highest that is not 0."""
    last = (seconds - 1) % _DIGITS + 1
    digits, rest = [last], (seconds - last) // _DIGITS
    for level in range(1, _TOP + 1):
        rest, digit = divmod(rest, _TOP_DIGITS if level == _TOP else _DIGITS)
        digits.append(digit)
    digits += [1] * rest
    while not digits[-1]:
        digits.pop()
    return digits


def _delay_queue(queue: str, level: int, digit: int) -> Destination:
    unit = _DIGITS**level if level <= _TOP else _TOP_DIGITS * _DIGITS**_TOP
    return delaying(queue, level, digit, float(digit * unit))
