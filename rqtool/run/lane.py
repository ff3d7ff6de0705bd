"""The tasks of one runner: those at work, and short ones that wait behind them. Pure.

The runner takes tasks in order, `width` of them at once. What it has not taken can be taken back, and which tasks those
are is known only when they have been: every method that depends on it is given their numbers as `untaken`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from rqtool.run.task_run import Run

MOST_LOSSES = 3
"""Runners that may end while they have a task that did not end them, or before they take it."""


@dataclass(slots=True, eq=False)
class Entry:
    """A task on its way through a lane. `losses`: runners that ended, and not by its doing."""

    number: int
    run: Run
    group: int | None = None
    """Only tasks of the same group may be at work beside it: it was at work when a runner ended, and so were others."""
    losses: int = 0
    begun: bool = False
    """Whether its run was told so."""
    again: bool = False
    """Whether it was at work before, and may have been done."""


class Lane:
    """Tasks in order: at work, as far as can be known; then what was handed to the runner and waits there; then what
    has not been handed over.

    `at_work` are told to have begun, and count as such though the runner may not have taken them yet.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.at_work: dict[int, Entry] = {}
        self._to_send: deque[Entry] = deque()  # those at work that were not handed over
        self._behind: deque[Entry] = deque()
        self._unsent: deque[Entry] = deque()
        self._last_number = 0
        self._last_group = 0

    def __len__(self) -> int:
        return len(self.at_work) + len(self._behind) + len(self._unsent)

    @property
    def is_ahead(self) -> bool:
        """Whether more is here than can be at work."""
        return len(self) > self.width

    def add(self, run: Run, *, alone: bool = False) -> None:
        """Let a task wait, until it is handed over; then with nothing at work beside it, where it is to be `alone`."""
        self._last_number += 1
        self._unsent.append(Entry(self._last_number, run, self._new_group() if alone else None))

    def begin_next(self) -> Entry | None:
        """Return the next task that is at work by now, or will be as soon as it is handed over."""
        first = self._behind[0] if self._behind else self._unsent[0] if self._unsent else None
        if first is None or not self._has_room_for(first):
            return None
        if self._behind:
            self._behind.popleft()
        else:
            self._to_send.append(self._unsent.popleft())
        self.at_work[first.number] = first
        return first

    def next_to_send(self) -> Entry | None:
        """Return the next task that the runner is to be given, where it is; `sent` or `remove` must follow."""
        if self._to_send:
            return self._to_send[0]
        # Behind one of another group the runner would begin it.
        if not self._unsent or self._unsent[0].group is not None or self._group is not None:
            return None
        return self._unsent[0]

    def sent(self, entry: Entry) -> None:
        """It was handed over."""
        if self._to_send and self._to_send[0] is entry:
            self._to_send.popleft()
        else:
            self._behind.append(self._unsent.popleft())

    def remove(self, entry: Entry) -> None:
        """Take out a task that is at work, or could not be handed over."""
        self.at_work.pop(entry.number, None)
        for waiting in (self._to_send, self._unsent):
            if entry in waiting:
                waiting.remove(entry)

    def answered(self, number: int) -> Entry | None:
        """Return the task that an answer is about, and take it out. None: nobody waits for it."""
        return self.at_work.pop(number, None)

    def withdraw(self, untaken: set[int]) -> tuple[list[Entry], list[Entry]]:
        """Take out what is not at work, in order; and return what turns out to be at work instead."""
        not_taken = [entry for number, entry in self.at_work.items() if number in untaken]
        begun = [entry for entry in self._behind if entry.number not in untaken]
        back = [*(entry for entry in self._behind if entry.number in untaken), *self._unsent]
        self._behind.clear()
        self._unsent.clear()
        if begun:
            # The runner took them while we took what was before them, and that has not begun after all.
            back = not_taken + back
            for entry in not_taken:
                del self.at_work[entry.number]
            self.at_work |= {entry.number: entry for entry in begun}
        else:
            self._to_send.extendleft(reversed(not_taken))
        return back, begun

    def runner_ended(self, untaken: set[int]) -> list[Entry]:
        """Keep what the runner had not taken for the next one. Returns, taken out, what was at work when it ended."""
        untaken = untaken | {entry.number for entry in self._to_send}
        # What it has taken from behind is at work: the answer before that was on its way.
        self.at_work |= {entry.number: entry for entry in self._behind if entry.number not in untaken}
        self._unsent.extendleft(entry for entry in reversed(self._behind) if entry.number in untaken)
        self._behind.clear()
        ended = [entry for number, entry in self.at_work.items() if number not in untaken]
        for entry in ended:
            del self.at_work[entry.number]
        self._to_send = deque(self.at_work.values())
        for entry in self._to_send:
            entry.losses += 1
        return ended

    def run_again(self, entries: list[Entry], *, apart: bool) -> None:
        """Put tasks back that were at work when a runner ended: first of all, and told already to have begun. Where one
        of them may have ended it, each half runs `apart` from all others: halved again and again, it will be alone.
        """
        for part in (entries[: len(entries) // 2], entries[len(entries) // 2 :]) if apart else ():
            group = self._new_group()
            for entry in part:
                entry.group = group
        for entry in entries:
            entry.again = True
            entry.losses += not apart
        if apart:
            self._unsent.extendleft(reversed([*entries, *self._to_send]))
            self.at_work.clear()
            self._to_send.clear()
        else:
            self.at_work = {entry.number: entry for entry in entries} | self.at_work
            self._to_send.extendleft(reversed(entries))

    def take_lost(self) -> list[Entry]:
        """Take out what has lost more runners than any task can by chance."""
        lost = [entry for entry in self.at_work.values() if entry.losses > MOST_LOSSES]
        for entry in lost:
            self.remove(entry)
        return lost

    def take_all(self) -> list[Entry]:
        """Take everything out, where there is no runner for it."""
        entries = [*self.at_work.values(), *self._unsent]
        self.at_work.clear()
        self._to_send.clear()
        self._unsent.clear()
        return entries

    def _has_room_for(self, entry: Entry) -> bool:
        return not self.at_work or (entry.group == self._group and len(self.at_work) < self.width)

    @property
    def _group(self) -> int | None:
        """That of the tasks at work."""
        return next(iter(self.at_work.values())).group if self.at_work else None

    def _new_group(self) -> int:
        self._last_group += 1
        return self._last_group
