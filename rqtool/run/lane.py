"""The tasks of one runner: those at work, and short ones that wait behind them. Pure.

The runner takes tasks in order, `width` of them at once. Tasks that it has not taken can be taken back. Which ones
those are is known only afterwards, so the methods that depend on it get their numbers as `untaken`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Protocol

from rqtool.run.outcome import Outcome
from rqtool.run.task import Task

AHEAD = 0.01
"""Seconds of work that may wait at a runner: too short to notice, and cheap to take back."""
MOST_AHEAD = 64
MOST_LOSSES = 3
"""How many runners may end with a task that is not to blame, or before they take it."""
MOST_TOGETHER = 3
"""How often tasks run again together because of a suspect. It can be a different one each time, and innocent: when a
thread ends or blocks the runner, any coroutine may be running.
"""
_WEIGHT = 0.1
_REMEMBERED = 1000
"""The most suspects; more of them are as good as none."""


class Run(Protocol):
    """One run of a task. The pool calls `begun` and then `ended`, or `returned`, on the event loop."""

    task: Task

    def begun(self) -> None:
        """The work begins."""

    def ended(self, outcome: Outcome, written: int) -> None:
        """`written`: bytes of its stdout, as far as they passed through rqtool."""

    def returned(self) -> None:
        """It has not begun, and will not: it can be handed over again."""


@dataclass(slots=True, eq=False)
class Entry:
    """A task on its way through a lane."""

    number: int
    run: Run
    group: int | None = None
    """Only tasks of the same group may run beside it, since it may have ended or blocked a runner."""
    losses: int = 0
    """Runners that ended with no task to blame."""
    begun: bool = False
    """Whether its run knows that it has begun."""
    again: int = 0
    """How often it was at work before, so that it may already be done."""
    ends_at: float | None = None
    """When its time is up; None: there is no limit, or it is not at work."""


class Lane:
    """Tasks in order: at work, as far as can be known; then what was handed over to the runner and waits there; then
    what has not been handed over. What has begun stays until it has ended.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.at_work: dict[int, Entry] = {}
        self._behind: deque[Entry] = deque()
        self._unsent: deque[Entry] = deque()
        self._last_number = 0
        self._last_group = 0

    def __len__(self) -> int:
        return len(self.at_work) + len(self._behind) + len(self._unsent)

    @property
    def is_ahead(self) -> bool:
        """Whether more tasks are here than can be at work."""
        return len(self) > self.width

    @property
    def behind(self) -> int:
        """How many tasks wait at the runner."""
        return len(self._behind)

    def add(self, run: Run, *, alone: bool = False) -> None:
        """Let a task wait until it is handed over. `alone`: nothing may be at work beside it."""
        self._last_number += 1
        self._unsent.append(Entry(self._last_number, run, self._new_group() if alone else None))

    def begin_next(self) -> Entry | None:
        """Return the next task that was handed over and is at work by now."""
        if not self._behind or not self.begins(self._behind[0]):
            return None
        entry = self._behind.popleft()
        self.at_work[entry.number] = entry
        return entry

    def begins(self, entry: Entry) -> bool:
        """Whether the next task begins as soon as it is handed over."""
        return not self.at_work or (entry.group == self._group and len(self.at_work) < self.width)

    def next_to_send(self) -> Entry | None:
        """Return the next task to hand over; `sent` or `remove` must follow."""
        if not self._unsent:
            return None
        first = self._unsent[0]
        # Behind one of another group the runner would begin it.
        waits = first.group is None and self._group is None
        return first if waits or self.begins(first) else None

    def sent(self, entry: Entry) -> None:
        """The next task was handed over."""
        if self.begins(self._unsent.popleft()):
            self.at_work[entry.number] = entry
        else:
            self._behind.append(entry)

    def remove(self, entry: Entry) -> None:
        """Take out a task that was not handed over."""
        self._unsent.remove(entry)

    def answered(self, number: int) -> Entry | None:
        """Take out and return the task that an answer is about; None if it is not at work."""
        return self.at_work.pop(number, None)

    def withdraw(self, untaken: set[int]) -> tuple[list[Entry], list[Entry]]:
        """Take out the tasks that have not begun. Returns them, in order, and those that turn out to have begun."""
        waited = list(self._behind)
        self._take_back(untaken)
        back = [entry for entry in self._unsent if not entry.begun]
        self._unsent = deque(entry for entry in self._unsent if entry.begun)
        return back, [entry for entry in waited if entry.number in self.at_work]

    def runner_ended(self, untaken: set[int]) -> list[Entry]:
        """Keep the tasks that the runner had not taken for the next one; take out and return those at work."""
        back = self._take_back(untaken)
        ended = list(self.at_work.values())
        self.at_work.clear()
        for entry in () if ended else back:
            entry.losses += entry.begun
        return ended

    def _take_back(self, untaken: set[int]) -> list[Entry]:
        """Return the tasks that were handed over and not taken, to be handed over again. The others are at work."""
        handed_over = [*self.at_work.values(), *self._behind]
        self._behind.clear()
        back = [entry for entry in handed_over if entry.number in untaken]
        self.at_work = {entry.number: entry for entry in handed_over if entry.number not in untaken}
        self._put_back(back)
        return back

    def run_again(self, entries: list[Entry]) -> None:
        """Put back, before all others, the tasks that were at work when a runner ended and are not to blame."""
        for entry in entries:
            entry.losses += 1
        self._put_back_begun(entries)

    def run_apart(self, entries: list[Entry], suspect: Entry | None) -> None:
        """Put back, before all others, the tasks that were at work when one of them ended their runner. The suspect
        runs alone, after all that has begun. Without a suspect, or after many, the halves of the others run apart:
        halved again and again, the culprit ends up alone.
        """
        others = [entry for entry in entries if entry is not suspect]
        half = len(others) // 2
        if suspect and any(entry.again < MOST_TOGETHER for entry in others):
            parts = [[suspect]]
        else:
            parts = [others[:half], others[half:], [suspect] if suspect else []]
        for part in parts:
            group = self._new_group()
            for entry in part:
                entry.group = group
        self._put_back_begun(others)
        if suspect:
            suspect.again += 1
            suspect.ends_at = None
            self._unsent.insert(sum(entry.begun for entry in self._unsent), suspect)

    def _put_back_begun(self, entries: list[Entry]) -> None:
        for entry in entries:
            entry.again += 1
        self._put_back(entries)

    def _put_back(self, entries: list[Entry]) -> None:
        for entry in reversed(entries):
            entry.ends_at = None
            self._unsent.appendleft(entry)

    def take_lost(self) -> list[Entry]:
        """Take out the tasks that have lost more runners than can be chance."""
        lost = [entry for entry in self._unsent if entry.losses > MOST_LOSSES]
        for entry in lost:
            self._unsent.remove(entry)
        return lost

    def take_all(self) -> list[Entry]:
        entries = [*self.at_work.values(), *self._behind, *self._unsent]
        self.at_work.clear()
        self._behind.clear()
        self._unsent.clear()
        return entries

    @property
    def _group(self) -> int | None:
        """The group of the tasks at work."""
        return next(iter(self.at_work.values())).group if self.at_work else None

    def _new_group(self) -> int:
        self._last_group += 1
        return self._last_group


class Suspects:
    """Remembers tasks that have blocked or ended the process that they shared: their next attempt runs alone."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def __contains__(self, task: Task) -> bool:
        return bool(self._keys) and self._key(task) in self._keys

    def add(self, task: Task) -> None:
        self._keys[self._key(task)] = None
        if len(self._keys) > _REMEMBERED:
            self._keys.popitem(last=False)

    def discard(self, task: Task) -> None:
        if self._keys:
            self._keys.pop(self._key(task), None)

    @staticmethod
    def _key(task: Task) -> tuple[str, bytes]:
        """A key for the task: its id and the start of its body, enough to recognise one that must run alone."""
        return task.message_id, task.body[:1000]


class Pace:
    """Learns from the durations of tasks how many may wait at a runner, so that it is never idle. After a slow task,
    none are handed over in advance for a while.
    """

    def __init__(self) -> None:
        self._seconds: float | None = None

    def add(self, seconds: float) -> None:
        known = self._seconds
        self._seconds = seconds if known is None else known + _WEIGHT * (seconds - known)

    def seconds_for(self, tasks: int) -> float:
        """Predict how long a runner takes for so many."""
        return tasks * (self._seconds or 0.0)

    @property
    def depth(self) -> int:
        """Tasks at a runner, the one at work included."""
        if self._seconds is None:
            return 1
        return MOST_AHEAD if self._seconds * MOST_AHEAD <= AHEAD else max(int(AHEAD / self._seconds), 1)
