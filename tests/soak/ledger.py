"""What became of each task, by ids, and which faults explain what was done twice. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from tests.soak.tasks import ASYNC_JOBS, Task

RESUMED = "resumed"
"""The sender could not say what is confirmed, and it was offered again: another message id."""
SENT_TWICE = "sent twice"
"""`send` lost its connection between publish and confirm: the same message id, not flagged, a first attempt."""
REDELIVERED = "redelivered"
"""The broker delivered it again, flagged."""
RETRIED_TWICE = "retried twice"
"""Two copies of one attempt: a crash between the copy's confirm and the ack, or while retries went home."""
RUN_AGAIN = "run beside a crash"
"""It was done, but the async function's process ended before the worker heard of it, by a neighbour's doing: the same
message id and attempt. It needs no fault, and has its own limit: the last lines of such a process.
"""
BESIDE = ASYNC_JOBS - 1
"""How many tasks may be at work beside the one that breaks their process."""

_OF_WORKERS = frozenset({REDELIVERED, RETRIED_TWICE})
_OF_CONNECTIONS = frozenset({SENT_TWICE, REDELIVERED, RETRIED_TWICE})
MAY_DO_TWICE: Mapping[str, frozenset[str]] = {
    "kill worker": _OF_WORKERS,
    "kill all workers": _OF_WORKERS,
    "stop worker": _OF_WORKERS,
    "poison": _OF_WORKERS,
    "term worker": frozenset(),
    "hup worker": frozenset(),
    "stall output": frozenset(),
    "kill sender": frozenset(),
    "interrupt sender": frozenset(),
    "term sender": frozenset(),
    "stop sender": frozenset({SENT_TWICE}),
    "memory alarm": frozenset(),
    "disk alarm": frozenset(),
    "kill node": _OF_CONNECTIONS,
    "kill after a new queue": _OF_CONNECTIONS,
    "stop node": _OF_CONNECTIONS,
    "restart node": _OF_CONNECTIONS,
    "close connections": _OF_CONNECTIONS,
    "kill leader": _OF_CONNECTIONS,
    "kill majority": _OF_CONNECTIONS,
    "kill all nodes": _OF_CONNECTIONS,
}
"""docs/guarantees.md lists what may be done twice. Ids show which tasks were merely offered again."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One line that a task wrote when it was done. `process`: who wrote it, "LIFE/PID"; a life is one process of a
    worker, from start to end.
    """

    id: str
    message_id: str
    attempt: int
    redelivered: bool
    process: str = ""

    @property
    def life(self) -> str:
        return self.process.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Burial:
    """One message in a dead queue."""

    id: str
    message_id: str
    error: str


@dataclass(frozen=True, slots=True)
class Inflicted:
    """A fault, from `at` to `healed` (seconds). `most_twice`: how many tasks may be done twice for it; None where
    nobody can say: what a classic queue had written down of the acks, what all workers held.
    """

    kind: str
    at: float
    healed: float
    on: str
    most_twice: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """`lost`: confirmed, and neither completed nor dead nor queued. `unexpected`: nobody offered it. `buried_alive`:
    dead without deserving it, with the error that it bears. `left`: still queued. `duplicates` are by cause, and in
    `excess` are those that no fault explains. `ghosts`: completed long after the worker had been killed.
    """

    lost: frozenset[str]
    unexpected: frozenset[str]
    buried_alive: Mapping[str, str]
    left: frozenset[str]
    duplicates: Mapping[str, int]
    excess: Mapping[str, int]
    ghosts: frozenset[str]

    @property
    def settled(self) -> bool:
        return not (self.lost or self.unexpected or self.buried_alive or self.left or self.excess or self.ghosts)


def settle(
    tasks: Mapping[str, Task],
    offers: Mapping[str, int],
    confirmed: Collection[str],
    completions: Iterable[Completion],
    burials: Iterable[Burial],
    queued: Collection[str],
    faults: Iterable[Inflicted],
    broken: Collection[str] = (),
    killed: Mapping[str, int] | None = None,
) -> Account:
    """`tasks` are all that were ever offered, `offers` how often each was; completions are in the order of their lines.
    `broken`: processes that a task of an async function ended or blocked; `killed`: lives that ended so, with the
    number of lines after which nothing of them may be left.
    """
    completions, burials = list(completions), list(burials)
    there = {c.id for c in completions} | {b.id for b in burials} | set(queued)
    deserving = {task.id for task in tasks.values() if task.deserves_death}
    duplicates, excess = _duplicates(completions, burials, offers, _unheard(completions, broken))
    allowed = _allowed(faults)
    for cause, number in duplicates.items():
        limit = allowed.get(cause, 0)
        if cause not in (RESUMED, RUN_AGAIN) and limit is not None and number > limit:
            excess[cause] = number - limit
    return Account(
        lost=frozenset(set(confirmed) - there),
        unexpected=frozenset(there - set(tasks)),
        buried_alive={b.id: b.error for b in burials if b.id in tasks and b.id not in deserving},
        left=frozenset(queued),
        duplicates=+duplicates,
        excess=+excess,
        ghosts=frozenset(
            c.id for number, c in enumerate(completions) if number >= (killed or {}).get(c.life, len(completions))
        ),
    )


def _unheard(completions: list[Completion], broken: Collection[str]) -> set[int]:
    """The numbers of completions of which the worker perhaps never heard, and that were then run again: the last ones
    of a process that broke, where the same attempt comes once more; flagged, if the broker had it meanwhile.
    """
    last: dict[str, list[int]] = defaultdict(list)
    later: dict[tuple[str, str, int], bool] = {}  # whether such a one is flagged
    unheard = set()
    for number, done in reversed(list(enumerate(completions))):
        which = (done.id, done.message_id, done.attempt)
        if done.process in broken and len(last[done.process]) < BESIDE:
            last[done.process].append(number)
            if which in later and later[which] >= done.redelivered:
                unheard.add(number)
        later[which] = later.get(which, False) or done.redelivered
    return unheard


def _duplicates(
    completions: list[Completion], burials: list[Burial], offers: Mapping[str, int], unheard: Collection[int]
) -> tuple[Counter[str], Counter[str]]:
    """Copies beyond the first, by cause; and those with more message ids than there were offers."""
    copies: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for number, done in enumerate(completions):
        cause = REDELIVERED if done.redelivered else RETRIED_TWICE if done.attempt > 1 else SENT_TWICE
        cause = RUN_AGAIN if number in unheard else cause
        copies[done.id][done.message_id].append(cause)
    for burial in burials:
        copies[burial.id][burial.message_id].append(RETRIED_TWICE)
    duplicates: Counter[str] = Counter()
    excess: Counter[str] = Counter()
    for name, messages in copies.items():
        duplicates[RESUMED] += len(messages) - 1
        excess[RESUMED] += max(0, len(messages) - max(1, offers.get(name, 0)))
        for causes in messages.values():
            # The plainest copy is the original.
            order = [SENT_TWICE, RETRIED_TWICE, REDELIVERED, RUN_AGAIN]
            duplicates.update(sorted(causes, key=order.index)[1:])
    return duplicates, excess


def _allowed(faults: Iterable[Inflicted]) -> dict[str, int | None]:
    """How many duplicates of each cause the faults explain; None: any number."""
    allowed: dict[str, int | None] = {}
    for fault in faults:
        for cause in MAY_DO_TWICE[fault.kind]:
            so_far = allowed.get(cause, 0)
            unknown = so_far is None or fault.most_twice is None
            allowed[cause] = None if unknown else (so_far or 0) + (fault.most_twice or 0)
    return allowed
