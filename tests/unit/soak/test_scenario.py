"""What a seed of the soak decides, and that it decides all of it."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.soak.scenario import CLUSTER_FAULTS, MOST_WORKERS, PROCESS_FAULTS, draw
from tests.soak.tasks import ASYNC_JOBS, DELAYS, MOST_FAILURES, SCRIPT, Task, parse

ROOT = Path(__file__).parents[2]
SEEDS = range(40)
HALF_AN_HOUR = 1800.0


def test_a_seed_gives_the_same_scenario_each_time() -> None:
    """Load, faults and tasks: what failed can be run again."""
    first, second = draw(7, 120, 3, "quorum"), draw(7, 120, 3, "quorum")
    assert first == second
    assert first != draw(8, 120, 3, "quorum")
    assert list(islice(first.tasks("pipe"), 100)) == list(islice(second.tasks("pipe"), 100))
    assert list(islice(first.tasks("pipe"), 100)) != list(islice(first.tasks("bulk"), 100))


@pytest.mark.parametrize("seconds", [18.0, 180.0])
def test_scenarios_keep_to_their_limits(seconds: float) -> None:
    """Workers, moments and pauses, whatever the seed."""
    for seed in SEEDS:
        scenario = draw(seed, seconds, 1, "classic")
        assert len(scenario.workers) + len(scenario.new_queues) <= MOST_WORKERS
        for worker in [*scenario.workers, *(new.worker for new in scenario.new_queues)]:
            assert worker.prefetch is None or worker.jobs <= worker.prefetch <= 100
        assert all(0 <= new.at <= seconds for new in scenario.new_queues)
        for fault in [*scenario.process_faults, *scenario.broker_faults]:
            assert 0 < fault.at < seconds
            assert fault.seconds <= min(40, seconds / 4)
        assert not {"kill leader", "kill majority", "kill all nodes"} & {f.kind for f in scenario.broker_faults}


def test_every_kind_of_everything_comes_up() -> None:
    """Half an hour on a cluster has all faults; some hundred seeds have all workers."""
    scenario = draw(1, HALF_AN_HOUR, 3, "quorum")
    assert {fault.kind for fault in scenario.process_faults} == set(PROCESS_FAULTS)
    assert {fault.kind for fault in scenario.broker_faults} == set(CLUSTER_FAULTS)
    workers = [worker for seed in SEEDS for worker in draw(seed, 180, 1, "classic").workers]
    jobs = {call: {worker.jobs for worker in workers if worker.call == call} for call in ("", "do", "do_async")}
    assert jobs == {"": {1, 4, 25}, "do": {1, 2}, "do_async": {ASYNC_JOBS}}
    assert {worker.prefetch for worker in workers} >= {None, 1, 100}
    assert {(worker.output, worker.is_quiet) for worker in workers} == {
        ("--quiet", True), ("--json", False), ("", False),
    }  # fmt: skip
    news = [new.worker for seed in SEEDS for new in draw(seed, 180, 1, "classic").new_queues]
    assert {worker.kind for worker in news} == {"classic", "quorum"}


def test_tasks_fail_no_more_often_than_they_may() -> None:
    """A healthy one has an attempt left after its failures."""
    tasks = list(islice(draw(1, 180, 1, "classic").tasks("bulk"), 5_000))
    assert {task.action for task in tasks} == {"quick", "slow", "fail", "crash", "hang", "never"}
    for action, failures in (("fail", {1, 2, 3}), ("crash", {1, 2, 3}), ("hang", {1})):
        assert {task.failures for task in tasks if task.action == action} == failures
    assert len(DELAYS.split(",")) == MOST_FAILURES
    assert len({task.id for task in tasks}) == len(tasks)
    assert [parse(task.line) for task in tasks] == tasks


@pytest.mark.parametrize(
    ("task", "attempt", "completed"),
    [
        (Task("t", "quick"), 1, True),
        (Task("t", "slow"), 1, True),
        (Task("t", "fail", 3), 3, False),
        (Task("t", "fail", 3), 4, True),
        (Task("t", "crash", 2), 2, False),
        (Task("t", "crash", 2), 3, True),
        (Task("t", "hang", 1), 2, True),
        (Task("t", "never"), 9, False),
    ],
)
def test_the_command_does_what_the_task_says(task: Task, attempt: int, completed: bool, tmp_path: Path) -> None:
    """It ends with 0 and a line in the file, or else with neither."""
    done = tmp_path / "done"
    environment = {
        "PATH": "/usr/bin:/bin",
        "SOAK_DONE": str(done),
        "SOAK_LIFE": "w.1",
        "RQTOOL_TASK_ID": "m",
        "RQTOOL_TASK_ATTEMPT": str(attempt),
        "RQTOOL_TASK_REDELIVERED": "0",
    }
    ended = subprocess.run(["sh", SCRIPT], env=environment, input=task.line, text=True, check=False)
    assert (ended.returncode == 0) == completed
    assert (done.read_text() if done.exists() else "") == (f"t m {attempt} 0 w.1/{os.getpid()}\n" if completed else "")


@pytest.mark.parametrize("call", ["do", "do_async"])
@pytest.mark.parametrize(
    ("task", "attempt", "completed"),
    [
        (Task("t", "slow"), 1, True),
        (Task("t", "fail", 1), 1, False),
        (Task("t", "crash", 2), 2, False),
        (Task("t", "crash", 2), 3, True),
        (Task("t", "hang", 1), 2, True),
        (Task("t", "never"), 9, False),
    ],
)
def test_functions_do_what_the_task_says(call: str, task: Task, attempt: int, completed: bool, tmp_path: Path) -> None:
    """As the command; a crash of an async one leaves a note, since it takes its neighbours with it."""
    done, broken = tmp_path / "done", tmp_path / "broken"
    given = f'rqtool.Task({task.line.encode()!r}, "q", "m", {attempt}, False)'
    run = f"asyncio.run(tasks.{call}({given}))" if call == "do_async" else f"tasks.{call}({given})"
    ended = subprocess.run(
        [sys.executable, "-c", f"import asyncio, rqtool; from tests.soak import tasks; {run}"],
        env={"SOAK_DONE": str(done), "SOAK_BROKEN": str(broken), "SOAK_LIFE": "w.1"},
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    assert (ended.returncode == 0) == completed
    assert (done.read_text() if done.exists() else "").startswith(f"t m {attempt} 0 w.1/" if completed else "")
    assert done.exists() == completed
    assert broken.exists() == (call == "do_async" and task.action == "crash" and not completed)
