"""Which queues are shown, and what is said of those beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.management.queue import Queue
from rqtool.queues.shown import is_glob, named, selects, shown, with_consumers, with_waiting

LIVE = Queue("/", "q", 0, 0, None, "running", "quorum", True, messages=0)
FULL = replace(LIVE, messages_ready=9, messages=9)


def test_what_rqtool_needs_beside_a_queue() -> None:
    """Empty or marked as new it is not shown; where it may hold something it is; the marker never is; others' are."""

    def names(*queues: Queue) -> list[str]:
        return [queue.name for queue in shown(queues)]

    beside = [replace(LIVE, name=name) for name in ("q.returned", "q.quarantine", "q.rqtool.new")]
    assert names(LIVE, *beside) == ["q"]
    assert names(*beside) == ["q.returned", "q.quarantine", "q.rqtool.new"]
    full = [replace(FULL, name=queue.name) for queue in beside]
    assert names(LIVE, *full) == ["q", "q.returned", "q.quarantine"]
    silent = [replace(each, messages=None, messages_ready=None, state="running") for each in beside]
    assert names(LIVE, *silent) == ["q"]
    assert names(LIVE, *silent[:2]) == ["q", "q.returned", "q.quarantine"]
    assert names(LIVE, replace(silent[0], state="down"), silent[2]) == ["q", "q.returned"]
    assert names(LIVE, replace(LIVE, name="q.dead", type="classic")) == ["q"]
    assert names(LIVE, replace(LIVE, name="q.retry.1s", delays=True)) == ["q"]
    assert names(LIVE, replace(LIVE, name="q.retry.1s")) == ["q", "q.retry.1s"]
    assert names(replace(LIVE, vhost="other"), beside[0]) == ["q", "q.returned"]


def test_what_waits_beside_a_queue() -> None:
    """In queues for retries and delays: counted with the one to which it goes, whose name may hold these words too."""
    full = [replace(FULL, name=name, delays=True) for name in ("q.retry.1s", "q.delay.0.5", "q.delay.1.5")]
    odd = [replace(LIVE, name="q.retry.x"), replace(FULL, name="q.retry.x.delay.0.5", delays=True)]
    queues = [LIVE, *full, *odd, replace(FULL, name="q.delay.0.6"), replace(LIVE, vhost="other")]
    assert {queue.key: queue.waiting for queue in with_waiting(queues) if queue.waiting} == {
        ("/", "q"): 27,
        ("/", "q.retry.x"): 9,
    }


def test_an_empty_delay_queue_is_not_shown() -> None:
    """Beside its queue, and while it is known to be empty."""
    delay = replace(LIVE, name="q.delay.0.5", delays=True)
    assert shown([LIVE, delay]) == [LIVE]
    assert shown([delay]) == [delay]
    assert shown([LIVE, replace(delay, messages=1)]) == [LIVE, replace(delay, messages=1)]


def test_a_delay_queue_that_has_not_reported_yet() -> None:
    """It is no row of its own, and no nought either: its queue says that the figure is not known."""
    full = replace(FULL, name="q.delay.0.2", delays=True)
    new = replace(full, name="q.delay.1.0", messages=None, messages_ready=None, messages_unacknowledged=None)
    found = with_waiting([LIVE, full, new])
    assert [(each.name, each.waiting) for each in shown(found)] == [("q", None), ("q.delay.0.2", 0)]
    down = replace(new, state="down")
    assert shown([LIVE, down]) == [LIVE, down]
    assert shown([new]) == [new]


def test_returned_tasks_are_shown_with_their_queue() -> None:
    """A queue's name selects its returned tasks too, but neither its dead ones nor other queues."""
    full = ("q", "q.returned", "q.quarantine", "q.dead", "q.retry.1s", "other", "other.returned")
    queues = [*(replace(FULL, name=name) for name in full), replace(LIVE, name="p"), replace(LIVE, name="p.returned")]
    assert [queue.name for queue in named(queues, {"q", "p"})] == ["q", "q.returned", "q.quarantine", "p"]


def test_who_takes_from_a_quarantine() -> None:
    """The workers of its queue."""
    queues = [LIVE, replace(LIVE, name="q.quarantine"), replace(LIVE, name="q.returned")]
    consumers = [{"queue": {"vhost": "/", "name": name}} for name in ("q", "q", "q.returned")]
    found = with_consumers(queues, consumers)
    assert [queue.consumers for queue in found] == [2, 2, 1]


@pytest.mark.parametrize(
    ("text", "glob"),
    [("q", False), ("q*", True), ("q?", True), ("q[ab]", True), ("q[!a]", True), ("q[", False), ("q[]", False),
     ("q[!]", False), ("q[]]", True), ("q]", False), ("", False)],
)  # fmt: skip
def test_what_is_a_glob(text: str, glob: bool) -> None:
    """What fnmatch takes literally is a name."""
    assert is_glob(text) is glob


@given(st.text(alphabet="ab*?[]!-"), st.text(alphabet="ab*?[]!-"))
def test_what_is_no_glob_matches_itself_alone(pattern: str, name: str) -> None:
    """For every text of these signs."""
    if not is_glob(pattern):
        assert selects([pattern], name) == (pattern == name)
