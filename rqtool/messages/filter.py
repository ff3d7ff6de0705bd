"""Selects tasks: by id, or by their content. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Generic, TypeVar

from rqtool.amqp.headers import text
from rqtool.errors import RqtoolError, UsageError
from rqtool.messages.listing import CUT, DeadTask

T = TypeVar("T")

CANDIDATES = 10
"""Ids that an error names."""
MOST_HELD, MOST_BYTES = 500, 64 * 1024 * 1024
"""Limit for the tasks that are kept until it is known whether their id is the only one with the prefix."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What a task must be like; None: it does not matter. Patterns are searched for line by line, as grep does.

    `grep`: in its body; `reason`: in what `list` shows as the reason, and in the whole error with the end of stderr;
    `failed_before`: in seconds since the epoch. A task that failed at an unknown time does not match it. `headers`: it
    has all of these, of whatever type, when they are written as text.
    """

    grep: re.Pattern[str] | None = None
    reason: re.Pattern[str] | None = None
    failed_before: float | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def matches(self, task: DeadTask, body: bytes, headers: Mapping[str, object] = MappingProxyType({})) -> bool:
        if self.failed_before is not None and (
            task.failed_at is None or task.failed_at.timestamp() > self.failed_before
        ):
            return False
        if self.reason is not None and not _in_a_line(self.reason, f"{task.reason}\n{task.error or ''}"):
            return False
        if not all(_has(headers, name, value) for name, value in self.headers):
            return False
        return self.grep is None or _in_a_line(self.grep, body.decode(errors="surrogateescape"))


ANY = Filter()


def _has(headers: Mapping[str, object], name: str, value: str) -> bool:
    if name not in headers:
        return False
    found = text(headers, name)
    return value == found or (isinstance(headers[name], bool) and value == found.lower())  # `show` prints `true`


def parse_pattern(text: str) -> re.Pattern[str]:
    """Compile a Python regular expression. Raises UsageError."""
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a regular expression: {error}", "See: pydoc re") from None


def parse_header(given: str) -> tuple[str, str]:
    """Return the name and the value of `NAME=VALUE`. Raises UsageError."""
    name, equals, value = given.partition("=")
    if not (name and equals):
        raise UsageError(f"{given!r} is no header", "Write --header NAME=VALUE")
    return name, value


def _in_a_line(pattern: re.Pattern[str], text: str) -> bool:
    return any(pattern.search(line) for line in text.split("\n"))


class Ids(Generic[T]):
    """Finds tasks by ids, or by unique prefixes of ids, in a single pass.

    A task with exactly that id is chosen at once. A task whose id only has the prefix must wait for the end, since
    another id may have it too. `9f3c2a1b…000002a`, as the table shows a long id, is its beginning and its end.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self._names: dict[str, list[str]] = {each: [] for each in wanted}
        """The ids that each may mean, at most CANDIDATES + 1; once a task has exactly that id, that one alone."""
        self._starts = tuple(each.partition(CUT)[0] for each in wanted)
        self._held: dict[str, list[tuple[int, int, T]]] = {}
        """Position, size and task, by the id that was the first with a wanted prefix."""
        self._position = 0

    def chooses(self, name: str | None, task: T, size: int) -> bool:
        """Whether the next task is chosen now; `size`: its bytes. Raises RqtoolError if too much would have to wait."""
        self._position += 1
        if name is None or not name.startswith(self._starts):  # soon said, also where a thousand ids are wanted
            return False
        short = None
        for wanted, names in self._names.items():
            if wanted == name:
                names[:] = [name]
            elif names != [wanted] and _abbreviates(wanted, name):
                if name not in names and len(names) <= CANDIDATES:
                    names.append(name)
                short = wanted if names == [name] else short
        is_exact = name in self._names
        if short is not None and not is_exact:
            held = self._held.setdefault(name, [])
            held.append((self._position, size, task))
            if len(held) > MOST_HELD or (len(held) > 1 and sum(size for _, size, _ in held) > MOST_BYTES):
                raise RqtoolError(f"{short!r} stands for many tasks with the id {name!r}", "Give the whole id")
        return is_exact

    def waiting(self) -> list[T]:
        """The other tasks that are chosen, in their order, now that all have passed."""
        sure = {names[0] for names in self._names.values() if len(names) == 1}
        return [task for _, _, task in sorted(each for name in sure for each in self._held.get(name, ()))]

    @property
    def missing(self) -> list[str]:
        """The ids or prefixes that match no task."""
        return [wanted for wanted, names in self._names.items() if not names]

    @property
    def ambiguous(self) -> dict[str, list[str]]:
        """The ambiguous prefixes, each with the first ids that have it, and `…` if there are more."""
        return {
            wanted: names[:CANDIDATES] + ([CUT] if len(names) > CANDIDATES else [])
            for wanted, names in self._names.items()
            if len(names) > 1
        }


def _abbreviates(short: str, name: str) -> bool:
    start, _, end = short.partition(CUT)
    return start != "" and name.startswith(start) and name.endswith(end) and len(name) >= len(start) + len(end)
