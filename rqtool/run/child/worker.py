"""The worker, as its runner process sees it."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket

from rqtool.run.channel import Taken, take
from rqtool.run.encoding import Answer, pack, pack_values


class Worker:
    """Descriptors of where tasks come, answers and output go, and the lifeline."""

    def __init__(self, tasks: int, answers: int, outputs: int, lifeline: int) -> None:
        self.tasks = socket.socket(fileno=tasks)
        self.answers = socket.socket(fileno=answers)
        self.outputs = socket.socket(fileno=outputs)
        self.lifeline = lifeline
        for number in (tasks, answers, outputs, lifeline):
            os.set_inheritable(number, False)

    def wait_and_take(self) -> Taken | None:
        """Wait for a task. None: no more will come."""
        poll = select.poll()
        poll.register(self.tasks, select.POLLIN)
        poll.register(self.answers, select.POLLIN)
        while True:
            if (taken := take(self.tasks)) is not None:
                return taken
            # The worker writes no answers: our end becomes readable when the worker closes its own.
            if any(descriptor == self.answers.fileno() for descriptor, _ in poll.poll()):
                return None

    def hello(self, **values: object) -> None:
        """Report that we are ready, or why we can't be."""
        self.answers.sendall(pack(0, pack_values(**values)))

    def answer(self, number: int, answer: Answer) -> None:
        self.answers.sendall(pack(number, answer.pack()))

    def die_with_it(self) -> None:
        """Have the system end our whole group when the worker is gone: code that holds the interpreter can't look.

        SIGIO ends a process that does not handle it (fcntl(2), F_SETOWN and O_ASYNC).
        """
        signal.signal(signal.SIGIO, signal.SIG_DFL)
        fcntl.fcntl(self.lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(self.lifeline, fcntl.F_SETFL, fcntl.fcntl(self.lifeline, fcntl.F_GETFL) | os.O_ASYNC)
        if select.select([self.lifeline], [], [], 0)[0]:
            os.killpg(0, signal.SIGKILL)

    def close(self) -> None:
        """Idempotent: a fork of a fork closes what is closed already."""
        for each in (self.tasks, self.answers, self.outputs):
            each.close()
        number, self.lifeline = self.lifeline, -1
        if number >= 0:
            os.close(number)
