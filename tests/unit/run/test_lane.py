"""The tasks of one runner: which begin, which are taken back, which run again, and which of them apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rqtool.run import lane as module
from rqtool.run.lane import AHEAD, MOST_AHEAD, MOST_LOSSES, Entry, Lane, Pace, Suspects
from rqtool.run.task import Task
from tests.driven import Run


def _run(body: bytes = b"") -> Run:
    return Run(Task(body, "q", "", 1, False))


def _begin_waiting(lane: Lane) -> list[Entry]:
    """Begin what was handed over and has room now."""
    begun = []
    while (entry := lane.begin_next()) is not None:
        entry.begun = True
        begun.append(entry)
    return begun


def _hand_over(lane: Lane) -> list[int]:
    """Hand over all that can be, as a supervisor does. Returns the numbers."""
    numbers = []
    _begin_waiting(lane)
    while (entry := lane.next_to_send()) is not None:
        entry.begun |= lane.begins(entry)
        lane.sent(entry)
        numbers.append(entry.number)
    return numbers


def _lane(width: int, count: int) -> Lane:
    """A lane whose tasks 1 to `count` are all handed over."""
    lane = Lane(width)
    for _ in range(count):
        lane.add(_run())
    assert _hand_over(lane) == list(range(1, count + 1))
    return lane


def _numbers(entries: list[Entry]) -> list[int]:
    return [entry.number for entry in entries]


class TestTheNextTask:
    """What begins, and what is handed over."""

    @pytest.mark.parametrize(("width", "at_work"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])])
    def test_as_many_begin_as_the_lane_is_wide(self, width: int, at_work: list[int]) -> None:
        """The rest is handed over too, and waits at the runner."""
        lane = _lane(width, 3)
        assert (list(lane.at_work), len(lane), lane.is_ahead) == (at_work, 3, width < 3)

    def test_the_next_begins_when_one_is_answered(self) -> None:
        """It is told once, and in the order in which they came."""
        lane = _lane(2, 4)
        answered = lane.answered(2)
        assert answered is not None
        assert answered.number == 2
        begun = lane.begin_next()
        assert begun is not None
        assert (begun.number, lane.begin_next(), list(lane.at_work)) == (3, None, [1, 3])

    def test_an_answer_that_nobody_waits_for(self) -> None:
        """There is none for a task that waits, has been answered, or was never there."""
        lane = _lane(1, 2)
        assert lane.answered(1) is not None
        assert [lane.answered(number) for number in (1, 2, 7)] == [None] * 3

    def test_what_can_not_be_handed_over_is_taken_out(self) -> None:
        """Whether it was to be at work at once or to wait there: the ones behind it take its place."""
        lane = Lane(1)
        for _ in range(3):
            lane.add(_run())
        for number in (1, 2):
            entry = lane.next_to_send()
            assert entry is not None
            assert entry.number == number
            lane.remove(entry)
        assert (_hand_over(lane), list(lane.at_work), len(lane)) == ([3], [3], 1)

    def test_one_that_must_be_alone(self) -> None:
        """It waits until nothing is at work, and nothing is handed over behind it."""
        lane = Lane(3)
        for alone in (False, True, False, False):
            lane.add(_run(), alone=alone)
        for handed_over, answered in (([1], 1), ([2], 2), ([3, 4], 3)):
            assert _hand_over(lane) == handed_over
            assert lane.answered(answered) is not None


class TestTakenBack:
    """What comes of the tasks that a runner has not taken."""

    @pytest.mark.parametrize(
        ("width", "untaken", "back", "begun", "at_work", "again"),
        [
            pytest.param(1, {2, 3, 4}, [2, 3, 4], [], [1], [], id="all that waits"),
            pytest.param(1, {1, 2, 3, 4}, [2, 3, 4], [], [], [1], id="what has begun stays, taken or not"),
            pytest.param(1, {3, 4}, [3, 4], [2], [1, 2], [], id="the answer of the one before is on its way"),
            pytest.param(1, {1, 3, 4}, [3, 4], [2], [2], [1], id="the next one was taken while we took the first"),
            pytest.param(2, {3, 4}, [3, 4], [], [1, 2], [], id="two at once"),
            pytest.param(2, {2, 4}, [4], [3], [1, 3], [2], id="two at once, and one of them overtaken"),
            pytest.param(1, set(), [], [2, 3, 4], [1, 2, 3, 4], [], id="all were taken, and are as good as answered"),
        ],
    )
    def test_withdraw(
        self, width: int, untaken: set[int], back: list[int], begun: list[int], at_work: list[int], again: list[int]
    ) -> None:
        """It returns what has not begun, in order, and what has begun unseen; the rest is handed over again."""
        lane = _lane(width, 4)
        returned, unseen = lane.withdraw(untaken)
        assert (_numbers(returned), _numbers(unseen), sorted(lane.at_work)) == (back, begun, at_work)
        assert _hand_over(lane) == again

    def test_what_has_begun_is_handed_over_again(self) -> None:
        """A task that had begun, as far as could be known, goes back to the runner that had not taken it."""
        lane = _lane(2, 3)
        lane.withdraw({1, 2, 3})
        assert _hand_over(lane) == [1, 2]

    def test_what_was_never_handed_over_comes_last(self) -> None:
        """Behind a line that was full there is more to be returned."""
        lane = _lane(1, 2)
        lane.add(_run())
        returned, _ = lane.withdraw({2})
        assert (_numbers(returned), len(lane)) == ([2, 3], 1)

    @pytest.mark.parametrize(
        ("width", "untaken", "ended", "left"),
        [
            (1, {2, 3, 4}, [1], [2, 3, 4]),
            (1, {1, 2, 3, 4}, [], [1, 2, 3, 4]),
            (1, {3, 4}, [1, 2], [3, 4]),
            (2, {2, 3, 4}, [1], [2, 3, 4]),
            (3, {4}, [1, 2, 3], [4]),
        ],
    )
    def test_a_runner_that_ended(self, width: int, untaken: set[int], ended: list[int], left: list[int]) -> None:
        """What it had taken is told; all else is there for the next one, in order."""
        lane = _lane(width, 4)
        assert _numbers(lane.runner_ended(untaken)) == ended
        assert (len(lane), _hand_over(lane)) == (len(left), left)

    def test_they_run_again_together(self) -> None:
        """Before all others, and beside each other."""
        lane = _lane(3, 4)
        lane.run_again(lane.runner_ended({3, 4}))
        assert (_hand_over(lane), list(lane.at_work)) == ([1, 2, 3, 4], [1, 2, 3])

    def test_they_run_again_alone(self) -> None:
        """Before all others, one at a time; those that were never taken run together again."""
        lane = _lane(4, 5)
        lane.run_apart(lane.runner_ended({3, 4, 5}), None)
        assert not lane.at_work
        for handed_over, answered in (([1], 1), ([2], 2), ([3, 4, 5], 3)):
            assert _hand_over(lane) == handed_over
            assert lane.answered(answered) is not None

    def test_many_are_halved_until_one_is_alone(self) -> None:
        """Of eight, at work together, one ends every runner: it is found among four, two, and alone."""
        lane = _lane(8, 8)
        guilty, beside = 6, []
        ended = lane.runner_ended(set())
        while len(ended) > 1:
            lane.run_apart(ended, None)
            while guilty not in _hand_over(lane):
                for number in list(lane.at_work):
                    assert lane.answered(number) is not None
            beside.append(len(lane.at_work))
            ended = lane.runner_ended(set())
        assert beside == [4, 2, 1]
        assert _numbers(ended) == [guilty]

    def test_a_suspect_runs_alone(self) -> None:
        """The others come first, all at once, taken or not; what has not begun waits until it is over."""
        lane = _lane(4, 6)
        ended = lane.runner_ended({4, 5, 6})
        lane.run_apart(ended, ended[1])
        for handed_over in ([1, 3, 4], [2], [5, 6]):
            assert _hand_over(lane) == handed_over
            for number in list(lane.at_work):
                assert lane.answered(number) is not None

    def test_suspects_keep_their_order(self) -> None:
        """One that is found while another waits has its turn after it."""
        lane = _lane(4, 4)
        for suspect in (2, 3):
            ended = lane.runner_ended(set())
            lane.run_apart(ended, next(entry for entry in ended if entry.number == suspect))
            _hand_over(lane)
        assert list(lane.at_work) == [1, 4]
        for answered, handed_over in (((1, 4), [2]), ((2,), [3])):
            for number in answered:
                assert lane.answered(number) is not None
            assert _hand_over(lane) == handed_over

    def test_suspects_that_are_innocent(self) -> None:
        """The one that does it is found all the same: after some of them the others are halved."""
        lane = _lane(16, 16)
        guilty, beside = 6, []
        ended = lane.runner_ended(set())
        while len(ended) > 1:
            lane.run_apart(ended, next(entry for entry in ended if entry.number != guilty))
            while guilty not in _hand_over(lane):
                for number in list(lane.at_work):
                    assert lane.answered(number) is not None
            beside.append(len(lane.at_work))
            ended = lane.runner_ended(set())
        assert beside == [15, 14, 13, 6, 2, 1]
        assert _numbers(ended) == [guilty]

    def test_runners_that_others_end(self) -> None:
        """However many of the tasks before it end a runner that had not taken it, a task is not given up."""
        lane = _lane(9, 9)
        for culprit in range(1, MOST_LOSSES + 3):
            assert _numbers(lane.runner_ended(set(lane.at_work) - {culprit})) == [culprit]
            assert lane.take_lost() == []
            _hand_over(lane)

    def test_neighbours_of_one_that_ends_runners(self) -> None:
        """They run again as often as it takes, and are not given up either."""
        lane = _lane(9, 9)
        for _ in range(MOST_LOSSES + 3):
            ended = lane.runner_ended(set())
            lane.run_apart(ended, ended[0])
            assert lane.take_lost() == []
            _hand_over(lane)

    @pytest.mark.parametrize("taken", [True, False])
    def test_lost_again_and_again(self, taken: bool) -> None:
        """A task that loses one runner after the other is given up, and only that one."""
        lane = _lane(1, 2)
        for _ in range(MOST_LOSSES):
            lane.run_again(lane.runner_ended({2} if taken else {1, 2}))
            assert lane.take_lost() == []
            _hand_over(lane)
        lane.run_again(lane.runner_ended({2} if taken else {1, 2}))
        assert _numbers(lane.take_lost()) == [1]
        assert (_hand_over(lane), list(lane.at_work)) == ([2], [2])

    def test_its_time_begins_anew(self) -> None:
        """Whatever brought it back: taken back, at work beside a suspect, or a suspect itself."""
        lane = _lane(3, 3)
        for entry in lane.at_work.values():
            entry.ends_at = 1.0
        ended = lane.runner_ended({3})
        lane.run_apart(ended, ended[0])
        assert {entry.number: entry.ends_at for entry in lane.take_all()} == {1: None, 2: None, 3: None}

    def test_take_all(self) -> None:
        """Where there is no runner any more, all are taken out, those first that had begun."""
        lane = _lane(2, 4)
        lane.run_again(lane.runner_ended({3, 4}))
        assert (_numbers(lane.take_all()), len(lane), _hand_over(lane)) == ([1, 2, 3, 4], 0, [])


class TestSuspects:
    """Which tasks have ended a runner, or blocked it."""

    def test_who_is_one(self) -> None:
        """The task with this id and this body, until it ends well."""
        suspects = Suspects()
        one, other = (Task(body, "q", "id", 1, False) for body in (b"1", b"2"))
        suspects.add(one)
        assert [task in suspects for task in (one, other, replace(one, message_id="else"))] == [True, False, False]
        suspects.discard(other)
        assert one in suspects
        suspects.discard(one)
        assert one not in suspects

    def test_the_oldest_are_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """And not the one that has just done it."""
        monkeypatch.setattr(module, "_REMEMBERED", 2)
        suspects = Suspects()
        tasks = [Task(body, "q", "", 1, False) for body in (b"1", b"2", b"3")]
        for task in tasks:
            suspects.add(task)
        assert [task in suspects for task in tasks] == [False, True, True]


class TestPace:
    """How many tasks a runner has: the one at work, and AHEAD seconds of others."""

    @pytest.mark.parametrize(
        ("seconds", "depth"),
        [
            ([], 1),
            ([0.0], MOST_AHEAD),
            ([AHEAD / MOST_AHEAD], MOST_AHEAD),
            ([AHEAD / 4], 4),
            ([AHEAD], 1),
            ([60.0], 1),
            ([AHEAD / 4] * 100, 4),
            ([0.0, 1.0], 1),
            ([0.0, 1.0, *[0.0] * 100], MOST_AHEAD),
        ],
    )
    def test_depth(self, seconds: list[float], depth: int) -> None:
        """By what tasks took of late: a slow one ends the handing over ahead, for a while."""
        pace = Pace()
        for each in seconds:
            pace.add(each)
        assert pace.depth == depth
