"""The tasks in the hands of one process of a function: those at work, and short ones that wait behind them."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from rqtool.handlers.callable_child import Child
from rqtool.handlers.callable_wire import pack_metadata, unpack_outcome
from rqtool.handlers.handler import Run
from rqtool.outcomes import Outcome


@dataclass(slots=True, eq=False)
class Entry:
    """A task on its way through a line. `lost`: processes that ended before they took it."""

    number: int
    run: Run
    lost: int = 0


class Line:
    """Tasks in order: the first `width` of them are at work, as far as can be known; what was handed to the process
    waits behind these, and then what there was no room for yet.
    """

    def __init__(self, width: int) -> None:
        self.width = width
        self.child: Child | None = None
        self.changing = False
        """Whether its process is being started or ended."""
        self.slow = False
        """Whether nothing is to wait behind what is at work."""
        self.since = 0.0
        """When the last answer came, or, after a pause, the first task."""
        self.running: dict[int, Entry] = {}
        self._to_send: deque[Entry] = deque()  # those of the running that the process has not been given
        self._behind: deque[Entry] = deque()
        self._unsent: deque[Entry] = deque()
        self._numbers = 0

    def __len__(self) -> int:
        return len(self.running) + len(self._behind) + len(self._unsent)

    @property
    def is_ahead(self) -> bool:
        """Whether some of it waits behind what is at work."""
        return len(self) > self.width

    def add(self, run: Run) -> None:
        """Let a task wait, until it is sent."""
        self._numbers += 1
        self._unsent.append(Entry(self._numbers, run))

    def send(self) -> tuple[Entry, OSError] | None:
        """Hand over what the process takes. Returns, taken out, the first one that can't be handed over."""
        for waiting, handed in ((self._to_send, None), (self._unsent, self._behind)):
            while self.child is not None and waiting:
                entry = waiting[0]
                try:
                    if not self._give(self.child, entry):
                        return None
                except OSError as error:
                    waiting.popleft()
                    self.running.pop(entry.number, None)
                    return entry, error
                waiting.popleft()
                if handed is not None:
                    handed.append(entry)
        return None

    def next(self) -> Entry | None:
        """The next task that is at work by now, or will be as soon as it is sent."""
        if self.child is None or len(self.running) >= self.width or not (self._behind or self._unsent):
            return None
        if self._behind:
            entry = self._behind.popleft()
        else:
            entry = self._unsent.popleft()
            self._to_send.append(entry)
        if not self.running:
            self.since = time.monotonic()
        self.running[entry.number] = entry
        return entry

    def answered(self, number: int, head: bytes) -> tuple[Entry, Outcome] | None:
        """Whose answer this is. None: nobody waits for it."""
        entry = self.running.pop(number, None)
        return None if entry is None else (entry, unpack_outcome(head))

    def withdraw(self) -> tuple[list[Entry], list[Entry]]:
        """Take out what is not at work, in order; and what turns out to be at work instead. `send` must follow."""
        untaken = self._take_back()
        not_taken = [entry for number, entry in self.running.items() if number in untaken]
        begun = [entry for entry in self._behind if entry.number not in untaken]
        back = [*(entry for entry in self._behind if entry.number in untaken), *self._unsent]
        self._behind.clear()
        self._unsent.clear()
        if begun:
            # The process took them while we took what was before them, and that has not begun after all.
            back = not_taken + back
            for entry in not_taken:
                del self.running[entry.number]
            self.running |= {entry.number: entry for entry in begun}
        else:
            self._to_send += not_taken
        return back, begun

    def part(self) -> list[Entry]:
        """Part with a process that is at its end, and return those at work that end with it; they stay for now. What it
        had not taken is for the next process.
        """
        untaken = self._take_back() | {entry.number for entry in self._to_send}
        self.child = None
        # What it has taken from behind is at work: the answer before that was on its way.
        self.running |= {entry.number: entry for entry in self._behind if entry.number not in untaken}
        self._unsent.extendleft(entry for entry in reversed(self._behind) if entry.number in untaken)
        self._behind.clear()
        self._to_send = deque(entry for number, entry in self.running.items() if number in untaken)
        for entry in self._to_send:
            entry.lost += 1
        return [entry for number, entry in self.running.items() if number not in untaken]

    def remove(self, entry: Entry) -> None:
        """Take out what was at work, or was to be sent again."""
        del self.running[entry.number]
        if entry in self._to_send:
            self._to_send.remove(entry)

    def take_all(self) -> list[Entry]:
        """Take everything out, where there is no process for it."""
        entries = [*self.running.values(), *self._unsent]
        self.running.clear()
        self._to_send.clear()
        self._unsent.clear()
        return entries

    def _take_back(self) -> set[int]:
        return set() if self.child is None else set(self.child.take_back())

    @staticmethod
    def _give(child: Child, entry: Entry) -> bool:
        task = entry.run.task
        return child.give(entry.number, pack_metadata(task) if child.wants_task else b"", task.body)
