"""The soak's account: what counts as lost, as buried alive, and as done twice without a reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest

from tests.soak.ledger import (
    BESIDE,
    MAY_DO_TWICE,
    REDELIVERED,
    RESUMED,
    RETRIED_TWICE,
    RUN_AGAIN,
    SENT_TWICE,
    Account,
    Burial,
    Completion,
    Inflicted,
    settle,
)
from tests.soak.scenario import CLUSTER_FAULTS, PROCESS_FAULTS
from tests.soak.tasks import Task

TASKS = {
    task.id: task
    for task in (Task("a", "quick"), Task("b", "fail", 3), Task("never", "never"), Task("poison", "poison"))
}


def done(
    name: str, message_id: str = "m", attempt: int = 1, *, redelivered: bool = False, process: str = "w.1/10"
) -> Completion:
    return Completion(name, message_id, attempt, redelivered, process)


def account(
    completions: Iterable[Completion] = (),
    *,
    confirmed: Iterable[str] = (),
    burials: Iterable[Burial] = (),
    queued: Iterable[str] = (),
    offers: int = 1,
    faults: Iterable[Inflicted] = (),
    broken: Iterable[str] = (),
    killed: Mapping[str, int] | None = None,
) -> Account:
    offered = dict.fromkeys(TASKS, offers)
    return settle(TASKS, offered, set(confirmed), completions, burials, set(queued), faults, set(broken), killed)


def fault(kind: str, most_twice: int | None = None) -> Inflicted:
    return Inflicted(kind, 1.0, 2.0, "somebody", most_twice)


def test_a_task_that_is_completed_dead_or_queued_is_not_lost() -> None:
    """Where a confirmed task is does not matter, so long as it is somewhere."""
    found = account([done("a")], burials=[Burial("never", "m", "exit code 1")], queued=["b"], confirmed=TASKS)
    assert found.lost == {"poison"}
    assert found.left == {"b"}
    assert not found.settled


def test_what_was_not_confirmed_may_be_done_or_not() -> None:
    """The promise begins at the confirm; what the broker took all the same is done, and no error."""
    assert account([done("a")]).settled
    assert account().settled


def test_what_nobody_offered_is_unexpected() -> None:
    """An id that no sender ever had."""
    found = account([done("stranger")])
    assert found.unexpected == {"stranger"}
    assert not found.settled


def test_dead_are_those_that_deserve_it() -> None:
    """A task that always fails or kills its worker, and no other."""
    deserved = [Burial("never", "m", "exit code 1"), Burial("poison", "n", "its worker died")]
    assert account(burials=deserved, confirmed=["never", "poison"]).settled
    found = account(burials=[*deserved, Burial("b", "o", "its worker died")])
    assert found.buried_alive == {"b": "its worker died"}
    assert not found.settled


@pytest.mark.parametrize(
    ("copies", "cause"),
    [
        ([done("a"), done("a", redelivered=True)], REDELIVERED),
        ([done("a", redelivered=True), done("a", redelivered=True)], REDELIVERED),
        ([done("b", attempt=4), done("b", attempt=4)], RETRIED_TWICE),
        ([done("a"), done("a")], SENT_TWICE),
        ([done("a"), done("a", "another")], RESUMED),
    ],
)
def test_each_duplicate_has_one_cause_and_without_a_fault_is_too_many(copies: list[Completion], cause: str) -> None:
    """Nothing was broken, so nothing may be done twice."""
    found = account(copies)
    assert found.duplicates == {cause: 1}
    assert found.excess == {cause: 1}
    assert not found.settled


def test_what_was_offered_twice_may_be_done_twice() -> None:
    """Two offers explain two message ids, and not a third."""
    assert account([done("a"), done("a", "another")], offers=2).settled
    assert account([done("a"), done("a", "another"), done("a", "third")], offers=2).excess == {RESUMED: 1}


def test_a_task_that_is_done_and_dead_is_a_duplicate() -> None:
    """Completed in one copy and given up in another."""
    burial = Burial("never", "m", "exit code 1")
    assert account([done("never")], burials=[burial]).duplicates == {RETRIED_TWICE: 1}


def test_a_worker_that_was_killed_explains_as_many_as_it_may_have_had() -> None:
    """Duplicates beyond the documented number are too many."""
    copies = [done("a")] + [done("a", redelivered=True)] * 3
    assert account(copies, faults=[fault("kill worker", 2), fault("kill worker", 1)]).settled
    assert account(copies, faults=[fault("kill worker", 2)]).excess == {REDELIVERED: 1}
    assert account(copies, faults=[fault("kill worker", 2), fault("kill node", None)]).settled


@pytest.mark.parametrize(
    ("again", "cause"),
    [
        (done("b", process="w.1/11"), RUN_AGAIN),
        (done("b", process="w.2/20", redelivered=True), RUN_AGAIN),  # its worker was told to stop meanwhile
        (done("b", process="w.1/11", attempt=2), RETRIED_TWICE),  # the worker had heard of it, and as a failure
        (done("b", "another", process="w.1/11"), RESUMED),
    ],
)
def test_what_broke_with_a_neighbour_may_be_run_again(again: Completion, cause: str) -> None:
    """The same attempt, once more, and nothing else; no fault is needed for it."""
    found = account([done("a"), done("b"), again], broken=["w.1/10"])
    assert found.duplicates == {cause: 1}
    assert found.settled == (cause == RUN_AGAIN)


def test_what_is_flagged_is_not_run_again_unflagged() -> None:
    """A rerun keeps its flag."""
    copies = [done("b", redelivered=True), done("b", process="w.1/11")]
    assert account(copies, broken=["w.1/10"]).excess == {REDELIVERED: 1}


def test_a_process_that_broke_explains_no_more_than_it_had_at_work() -> None:
    """Its last lines; those before were heard of."""
    twice, others = done("b", process="w.1/11"), [done("a", str(number)) for number in range(BESIDE)]
    assert account([done("b"), *others[1:], twice], offers=BESIDE, broken=["w.1/10"]).duplicates[RUN_AGAIN] == 1
    assert account([done("b"), *others, twice], offers=BESIDE, broken=["w.1/10"]).excess == {SENT_TWICE: 1}
    assert account([done("b"), twice], broken=["w.1/12"]).excess == {SENT_TWICE: 1}
    assert account([done("b"), twice, twice], broken=["w.1/10"]).excess == {SENT_TWICE: 1}


def test_what_is_done_long_after_its_worker_was_killed_is_a_ghosts_work() -> None:
    """Other workers go on, and what it did in time is fine."""
    found = account([done("a"), done("b", process="w.2/20"), done("never", process="w.1/11")], killed={"w.1": 1})
    assert found.ghosts == {"never"}
    assert not found.settled
    assert account([done("a"), done("b", process="w.2/20")], killed={"w.1": 1}).settled


@pytest.mark.parametrize(
    "kind", ["term worker", "hup worker", "stall output", "memory alarm", "disk alarm", "interrupt sender"]
)
def test_faults_after_which_nothing_is_done_twice(kind: str) -> None:
    """The table of docs/guarantees.md says "nothing" for them."""
    assert account([done("a"), done("a", redelivered=True)], faults=[fault(kind)]).excess == {REDELIVERED: 1}
    assert account([done("a"), done("a")], faults=[fault(kind)]).excess == {SENT_TWICE: 1}


def test_every_fault_has_its_line_in_the_table() -> None:
    """A new kind of fault needs to say what it explains."""
    assert {*PROCESS_FAULTS, *CLUSTER_FAULTS, "poison"} == set(MAY_DO_TWICE)
