"""The tasks at one process: whoever takes which of them first, none is forgotten and none is there twice."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from rqtool.handlers.callable_child import Child
from rqtool.handlers.callable_line import Entry, Line
from rqtool.handlers.handler import Run
from rqtool.task import Task


class Process(RuleBasedStateMachine):
    """A process that takes what was handed over, in order, `width` at once, while it is taken back from it."""

    @initialize(width=st.integers(1, 3))
    def begin(self, width: int) -> None:
        self.width = width
        self.line = Line(width)
        self.queue: list[int] = []
        self.taken: list[int] = []
        self.outside: list[Run] = []
        self.ended: list[Run] = []
        self.made: list[Run] = []
        self.steals = 0
        child = SimpleNamespace(wants_task=False, give=self._give, take_back=self._take_back)
        self.line.child = cast(Child, child)

    def _give(self, number: int, _: bytes, __: bytes) -> bool:
        self.queue.append(number)
        return True

    def _take(self) -> None:
        if self.queue and len(self.taken) < self.width:
            self.taken.append(self.queue.pop(0))

    def _take_back(self) -> list[int]:
        """One by one; the process takes some of them meanwhile."""
        back = []
        while self.queue:
            back.append(self.queue.pop(0))
            if self.steals:
                self.steals -= 1
                self._take()
        return back

    def _go_on(self) -> None:
        assert self.line.send() is None
        while self.line.next() is not None:
            pass

    @rule(count=st.integers(1, 4))
    def hand_over(self, count: int) -> None:
        for _ in range(count):
            run = cast(Run, SimpleNamespace(task=Task(b"", "q", "", 1, False)))
            self.made.append(run)
            self.line.add(run)
        self._go_on()

    @precondition(lambda self: self.outside)
    @rule()
    def hand_over_again(self) -> None:
        self.line.add(self.outside.pop())
        self._go_on()

    @rule()
    def take(self) -> None:
        self._take()

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.taken))
        self.taken.remove(number)
        answered = self.line.answered(number, b"")
        assert answered is not None, "an answer that nobody waited for"
        self.ended.append(answered[0].run)
        self._go_on()

    @rule(steals=st.integers(0, 3))
    def withdraw(self, steals: int) -> None:
        self.steals = steals
        back, begun = self.line.withdraw()
        self.steals = 0
        self.outside += [entry.run for entry in back]
        assert {entry.number for entry in begun} <= set(self.taken)
        self._go_on()
        assert len(self.line) == len(self.taken) + len(self.queue)
        self._account()

    def _account(self) -> None:
        here: list[Entry] = [*self.line.running.values(), *self.line._behind, *self.line._unsent]
        runs = [*(entry.run for entry in here), *self.outside, *self.ended]
        assert len(runs) == len(self.made)
        assert {id(run) for run in runs} == {id(run) for run in self.made}

    def teardown(self) -> None:
        if hasattr(self, "line"):
            self._account()


TestProcess = Process.TestCase
