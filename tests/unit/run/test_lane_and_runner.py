"""A lane and its runner lose no task and duplicate none, whichever of them takes it first."""

from __future__ import annotations

from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rqtool.run.lane import Entry, Lane
from rqtool.run.task import Task
from tests.driven import Run


class LaneAndRunner(RuleBasedStateMachine):
    """A runner that takes tasks in order, some at once, and answers late; it ends, and is replaced."""

    @initialize(width=st.integers(1, 3))
    def begin(self, width: int) -> None:
        self.width = self.most = width
        self.lane = Lane(width)
        self.made: list[Run] = []
        self.outside: list[tuple[Run, bool]] = []
        self.over: list[Run] = []
        self.entries: dict[int, Entry] = {}
        self.steals = 0
        self.refusals = 0
        self._new_runner()

    def _new_runner(self) -> None:
        self.is_there = True
        self.line: deque[int] = deque()
        self.room = 5
        self.taken: list[int] = []
        self.answers: deque[int] = deque()
        self.last = 0

    # The runner.

    def _take(self) -> None:
        if self.line and len(self.taken) < self.width:
            number = self.line.popleft()
            entry = self.entries[number]
            # Of those that have begun one may be taken back, and handed over again.
            assert number > self.last or entry.begun, "out of order"
            if not entry.again:  # one that was at work when a runner ended precedes all others
                self.last = max(self.last, number)
            self.taken.append(number)
            assert len({self.entries[n].group for n in self.taken}) == 1, "beside one of another group"

    def _take_back(self) -> set[int]:
        """One by one; the runner takes some of them meanwhile, and ends others."""
        back = set()
        while self.line:
            back.add(self.line.popleft())
            if self.steals:
                self.steals -= 1
                if len(self.taken) == self.width:
                    self.answers.append(self.taken.pop(0))
                self._take()
        self.steals = 0
        return back

    # What a pool does.

    def _tell_begun(self) -> None:
        while (entry := self.lane.begin_next()) is not None:
            assert entry.run not in self.over
            entry.begun = True

    def _go_on(self) -> None:
        if not self.is_there:
            return
        self._tell_begun()
        while (entry := self.lane.next_to_send()) is not None:
            self.entries[entry.number] = entry
            entry.begun |= self.lane.begins(entry)
            if self.refusals:
                self.refusals -= 1
                self.lane.remove(entry)
                self.over.append(self._run_of(entry))
            elif len(self.line) >= self.room:
                break
            else:
                self.line.append(entry.number)
                self.lane.sent(entry)
            self._tell_begun()
        assert len(self.lane) == 0 or self.line or self.taken or self.answers, "nothing will ever happen again"

    def _deliver(self, count: int) -> None:
        for _ in range(min(count, len(self.answers))):
            number = self.answers.popleft()
            entry = self.lane.answered(number)
            assert entry is not None, "an answer that nobody waits for"
            assert entry.number == number
            self.over.append(self._run_of(entry))
            self._tell_begun()

    def _run_of(self, entry: Entry) -> Run:
        assert isinstance(entry.run, Run)
        assert entry.run not in self.over, "ended twice"
        return entry.run

    @rule(count=st.integers(1, 4), alone=st.booleans())
    def hand_over(self, count: int, alone: bool) -> None:
        for _ in range(count):
            run = Run(Task(b"", "q", "", 1, False))
            self.made.append(run)
            self.lane.add(run, alone=alone)
        self._go_on()

    @precondition(lambda self: self.outside)
    @rule()
    def hand_over_again(self) -> None:
        run, alone = self.outside.pop()
        self.lane.add(run, alone=alone)
        self._go_on()

    @rule(count=st.integers(1, 2))
    def can_not_be_handed_over(self, count: int) -> None:
        self.refusals = count

    @precondition(lambda self: self.is_there)
    @rule(room=st.integers(1, 5))
    def has_room(self, room: int) -> None:
        self.room = room
        self._go_on()

    @precondition(lambda self: self.is_there)
    @rule(count=st.integers(1, 3))
    def take(self, count: int) -> None:
        for _ in range(count):
            self._take()

    @precondition(lambda self: self.taken)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.taken))
        self.taken.remove(number)
        self.answers.append(number)

    @precondition(lambda self: self.answers)
    @rule(count=st.integers(1, 4))
    def answer(self, count: int) -> None:
        self._deliver(count)
        self._go_on()

    @rule(steals=st.integers(0, 3))
    def withdraw(self, steals: int) -> None:
        self.steals = steals if self.is_there else 0
        back, begun = self.lane.withdraw(self._take_back())
        mine = {*self.taken, *self.answers}
        assert not mine & {entry.number for entry in back}, "returned, though taken"
        for entry in begun:
            assert entry.number in mine
            entry.begun = True
        waiting = [entry.number for entry in back if not entry.begun]
        assert waiting == sorted(waiting), "out of order"
        self.outside += [(self._run_of(entry), entry.group is not None) for entry in back]
        self._go_on()

    @precondition(lambda self: self.is_there)
    @rule(heard=st.booleans(), steals=st.integers(0, 2), data=st.data())
    def end(self, heard: bool, steals: int, data: st.DataObject) -> None:
        """It ends; what it has answered is `heard`, or lost with it."""
        if heard:
            self._deliver(len(self.answers))
        self.steals = 0 if heard else steals
        untaken = self._take_back()
        ended = self.lane.runner_ended(untaken)
        assert sorted([entry.number for entry in ended]) == sorted([*self.taken, *self.answers])
        for entry in ended:
            entry.begun = True
        self.is_there = False
        self.line, self.taken, self.answers = deque(), [], deque()
        failed = data.draw(st.sets(st.sampled_from(ended))) if ended else set()
        self.over += [self._run_of(entry) for entry in failed]
        again = [entry for entry in ended if entry not in failed]
        if data.draw(st.booleans()):
            self.lane.run_apart(again, data.draw(st.sampled_from([None, *again])))
        else:
            self.lane.run_again(again)
        self.over += [self._run_of(entry) for entry in self.lane.take_lost()]
        self.most = max(self.width, len(self.lane.at_work))  # those whose answers were lost run again too

    @precondition(lambda self: not self.is_there)
    @rule()
    def replace(self) -> None:
        self._new_runner()
        self._go_on()

    @invariant()
    def every_task_is_somewhere(self) -> None:
        if hasattr(self, "lane"):
            assert len(self.lane) == len(self.made) - len(self.outside) - len(self.over)
            at_work = self.lane.at_work
            assert len(at_work) <= self.most + len(self.answers)
            if not self.answers and self.is_there:
                assert set(self.taken) <= set(at_work)
                assert len({entry.group for entry in at_work.values()}) <= 1

    def teardown(self) -> None:
        if not hasattr(self, "lane"):
            return
        if self.is_there:
            self.lane.run_again(self.lane.runner_ended(self._take_back()))
        here = [self._run_of(entry) for entry in self.lane.take_all()]
        runs = [*here, *self.over, *(run for run, _ in self.outside)]
        assert len(runs) == len(self.made)
        assert set(runs) == set(self.made)


TestLaneAndRunner = LaneAndRunner.TestCase
