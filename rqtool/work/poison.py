"""Finds the task that kills its worker, without blaming the tasks that the worker merely held beside it. Pure.

The broker flags every task as redelivered that a dead worker held, begun or not
(https://www.rabbitmq.com/docs/consumers), and after a crash of its own the whole backlog of a classic queue. A flag
says little, so a task that comes back is isolated more and more, until a delivery proves that it was begun:

NAME             What is flagged is moved to NAME.returned.
NAME.returned    Taken ahead of NAME, and run beside others as usual. It is a quorum queue, which counts: what comes
                 back from there was in the hands of a second worker that went, and is moved to NAME.quarantine.
NAME.quarantine  A task is taken alone, and begun at once. What comes back was begun; it is counted, and goes to the end
                 of the queue, so that workers that are killed for other reasons don't blame the same task every time.
                 After the third time it is dead: with its tenth delivery, and the fifth worker that it may have killed.

A crash of the broker or the network also returns all tasks in hand. A worker knows about those that cost it its own
connection; a new worker asks the management API when the broker started. Each crash excuses one return of an older
copy, so finding a killer can take one more worker.
"""

from __future__ import annotations

from enum import Enum, auto

from rqtool.topology import Kind

MOST_RETURNS = 1
MOST_STARTS = 3
DEATHS = 1 + MOST_RETURNS + MOST_STARTS
"""How many workers a task may have killed, in all three queues, when it is given up."""
UNTOLD = "a task that kills its workers can't be told from others"
"""What to say if one of these queues can't be used."""


class Step(Enum):
    """What to do with a delivery."""

    RUN = auto()
    TO_RETURNED = auto()
    TO_QUARANTINE = auto()
    TO_DEAD = auto()


def next_step(source: Kind | None, *, redelivered: bool, returns: int, starts: int) -> Step:
    """Decide about a delivery, from NAME (`source` None) or from a queue beside it. `redelivered`: the broker's flag;
    `returns`: its count of a quorum queue's returns; `starts`: how often the task was begun in quarantine, as its own
    header says.
    """
    match source:
        case None:
            # Version 0.4 counted starts in tasks of the main queue.
            return Step.TO_RETURNED if redelivered or starts else Step.RUN
        case "returned":
            return Step.TO_QUARANTINE if returns >= MOST_RETURNS else Step.RUN
        case _:
            if not returns:
                return Step.RUN
            return Step.TO_DEAD if starts + 1 >= MOST_STARTS else Step.TO_QUARANTINE
