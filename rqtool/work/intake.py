"""What becomes of a delivery: it begins, waits for its start, or is moved to where its returns are counted."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from rqtool.amqp.consumer import Delivery
from rqtool.work.attempts import Attempts
from rqtool.work.delivered import step_of, task_of
from rqtool.work.listener import Listener
from rqtool.work.poison import Step
from rqtool.work.settle import Settler, WorkerJobs
from rqtool.work.subscription import Subscription


class Intake:
    """For the tasks of `queue`; `tell` calls a listener's method."""

    def __init__(
        self,
        queue: str,
        jobs: WorkerJobs,
        attempts: Attempts,
        settler: Settler,
        listener: Listener,
        tell: Callable[..., None],
    ) -> None:
        self._queue = queue
        self._jobs = jobs
        self._attempts = attempts
        self._settler = settler
        self._listener = listener
        self._tell = tell

    @property
    def is_hungry(self) -> bool:
        """Whether a job has nothing to do, and nothing is here for it."""
        waiting = self._jobs.ahead or self._jobs.first_waiting
        return self._attempts.has_free_job and not (waiting or self._settler.stuck)

    def receive(self, delivery: Delivery) -> None:
        reception = self._jobs.receive(delivery)
        if reception.known or (delivery.redelivered and delivery.queue == self._queue):
            self._tell(self._listener.redelivered, partial(task_of, self._queue, delivery), in_hand=reception.known)
        if reception.ended is not None:
            self._settler.settle(*reception.ended)
        elif not reception.known:
            if step_of(self._queue, delivery) is Step.TO_QUARANTINE:
                self._attempts.isolate(delivery)
            else:
                self._jobs.wait(delivery, ahead=delivery.queue != self._queue)

    def begin_next(self, subscription: Subscription) -> bool:
        """Begin the next task, or move it to where it is taken ahead of all. Returns whether there was one."""
        first = self._jobs.first_waiting
        flagged = first is not None and subscription.counts_returns and step_of(self._queue, first) is Step.TO_RETURNED
        if flagged and self._settler.relocating + self._jobs.ahead < subscription.prefetch:
            self._attempts.move_to_returned(self._jobs.take_first())
            return True
        ahead = self._jobs.first_ahead
        ready = not self._settler.is_relocating(ahead) if ahead is not None else first is not None and not flagged
        if not (ready and self._attempts.has_room):
            return False
        self._attempts.begin(self._jobs.start_next())
        return True
