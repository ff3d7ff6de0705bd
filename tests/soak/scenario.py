"""Everything that a seed decides: the load, the new queues, the faults and their moments. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Literal

from tests.soak.tasks import ASYNC_JOBS, DELAYS, MOST_FAILURES, SCRIPT, TIMEOUT, Task

Kind = Literal["classic", "quorum"]
Call = Literal["", "do", "do_async"]
"""The function of tasks.py; without one the worker runs the command."""
Output = Literal["--quiet", "", "--json"]

QUEUE = "soak"
MOST_WORKERS = 20
MOST_NEW_QUEUES = 6
SHORT = 60.0
"""Seconds. A soak that is shorter gets a load that two cores work off in its time."""
PROCESS_FAULTS = (
    "kill worker", "kill worker", "stop worker", "term worker", "hup worker", "stall output", "kill all workers",
    "kill sender", "interrupt sender", "term sender", "stop sender",
)  # fmt: skip
BROKER_FAULTS = (
    "kill node", "kill after a new queue", "kill after a new queue", "stop node", "restart node",
    "memory alarm", "disk alarm", "close connections",
)  # fmt: skip
CLUSTER_FAULTS = (*BROKER_FAULTS, "kill leader", "kill leader", "kill majority", "kill all nodes")


@dataclass(frozen=True, slots=True)
class Worker:
    """What one worker is started with. `prefetch`: None where it is to choose itself."""

    name: str
    queue: str
    kind: Kind
    jobs: int
    prefetch: int | None
    call: Call
    output: Output = "--quiet"

    @property
    def arguments(self) -> list[str]:
        handler = ["--call", f"tests.soak.tasks:{self.call}"] if self.call else ["--", "sh", str(SCRIPT)]
        prefetch = [] if self.prefetch is None else ["--prefetch", str(self.prefetch)]
        return [
            "work", "-q", self.queue, "--type", self.kind, "--retry-delays", DELAYS, "--timeout", TIMEOUT,
            "-j", str(self.jobs), *prefetch, *([self.output] if self.output else []), *handler,
        ]  # fmt: skip

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is printed by it, nor by what it runs."""
        return self.output == "--quiet"


@dataclass(frozen=True, slots=True)
class NewQueue:
    """A queue whose first send is at `at` seconds, or sooner, when a fault wants one; its worker begins with it."""

    at: float
    tasks: int
    worker: Worker


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at `at` seconds (later, where the one before lasts longer), and for how long. `luck` chooses."""

    at: float
    kind: str
    seconds: float
    luck: float


@dataclass(frozen=True, slots=True)
class Scenario:
    """`rate` tasks a second come through a pipe, `bulk` from a file as soon as it begins; `slow` is the share of tasks
    that take a while, `poison` counts those that kill their workers. All times in seconds from the first send.
    """

    seed: int
    seconds: float
    kind: Kind
    rate: int
    bulk: int
    slow: float
    poison: int
    workers: Sequence[Worker]
    new_queues: Sequence[NewQueue]
    process_faults: Sequence[Fault]
    broker_faults: Sequence[Fault]

    def tasks(self, sender: str) -> Iterator[Task]:
        """The tasks of one sender, without end: most are quick or slow, one in ten fails at first, one in a hundred
        always, one in a hundred crashes at first, three in a thousand hang.
        """
        dice = random.Random(f"{self.seed} {sender}")
        for number in count(1):
            name = f"{sender}-{number:06}"
            luck = dice.random()
            if luck < 0.01:
                yield Task(name, "never")
            elif luck < 0.11:
                yield Task(name, "fail", dice.randint(1, MOST_FAILURES))
            elif luck < 0.12:
                yield Task(name, "crash", dice.randint(1, MOST_FAILURES))
            elif luck < 0.123:
                yield Task(name, "hang", 1)
            else:
                yield Task(name, "slow" if dice.random() < self.slow else "quick")

    def poisonous(self) -> list[Task]:
        return [Task(f"poison-{number}", "poison") for number in range(self.poison)]


def draw(seed: int, seconds: float, nodes: int, kind: Kind) -> Scenario:
    """The scenario of a seed."""
    dice = random.Random(f"{seed} scenario")
    short = seconds < SHORT
    process_faults = _faults(dice, PROCESS_FAULTS, seconds, gaps=(1, 8))
    broker_faults = _faults(dice, CLUSTER_FAULTS if nodes > 1 else BROKER_FAULTS, seconds, gaps=(4, 20))
    wanted = sum(fault.kind == "kill after a new queue" for fault in broker_faults)
    moments = [dice.uniform(0, seconds) for _ in range(min(MOST_NEW_QUEUES, wanted + max(2, round(seconds / 30))))]
    workers = [
        _worker(dice, f"worker{number}", QUEUE, kind)
        for number in range(4 if short else dice.randint(4, MOST_WORKERS - MOST_NEW_QUEUES))
    ]
    kinds: list[Kind] = ["classic", "quorum"]
    new_queues = [
        NewQueue(at, dice.randint(5, 200), _worker(dice, f"new{n}", f"new{n}", dice.choice(kinds)))
        for n, at in enumerate(moments)
    ]
    return Scenario(
        seed=seed,
        seconds=seconds,
        kind=kind,
        rate=20 if short else dice.choice([20, 50, 100]),
        bulk=dice.randint(200, 400) if short else dice.randint(600, 6_000),
        slow=dice.choice([0.05, 0.5, 0.95]),
        poison=dice.choice([0, 0, 1, 2]),
        workers=workers,
        new_queues=new_queues,
        process_faults=process_faults,
        broker_faults=broker_faults,
    )


def _worker(dice: random.Random, name: str, queue: str, kind: Kind) -> Worker:
    calls: list[Call] = ["", "", "do", "do_async"]
    call = dice.choice(calls)
    jobs = {"": dice.choice([1, 4, 25]), "do": dice.choice([1, 2]), "do_async": ASYNC_JOBS}[call]
    prefetch = max(jobs, dice.choice([100] if call else [1, 10, 30, 100]))
    adapts, talks, as_json = dice.random() < 1 / 3, dice.random() < 1 / 3, dice.random() < 0.5
    output: Output = "--quiet" if not talks else "--json" if as_json else ""
    return Worker(name, queue, kind, jobs, None if adapts else prefetch, call, output)


def _faults(dice: random.Random, kinds: Sequence[str], seconds: float, gaps: tuple[float, float]) -> list[Fault]:
    faults = []
    at = dice.uniform(*gaps)
    while at < seconds:
        # Some last longer than the heartbeats of rqtool's connections, 15 to 30 s.
        lasts = dice.choice([dice.uniform(0, 3), dice.uniform(2, 10), dice.uniform(10, 40)])
        faults.append(Fault(at, dice.choice(kinds), min(lasts, seconds / 4), dice.random()))
        at += dice.uniform(*gaps)
    return faults
