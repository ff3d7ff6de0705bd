"""Receives the answers of a runner: when they come, or several at once.

While the runner has more to do, answers wait for each other: they, and the acks and deliveries that follow from them,
then wake the worker and the broker once instead of once for each task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rqtool.run.relay import Relay
from rqtool.run.runner import Runner

SHORTEST, LONGEST = 0.001, 0.003
"""Seconds for which answers may wait: a shorter wait costs more than it saves, a longer one saves little more."""
_SHARE = 2
"""They wait for half of the work that is there, so that the runner never runs out of it."""


class Receiver:
    """Calls `take` with the answers of a runner, which returns how many seconds of work the runner has, and `end` when
    the runner has ended. The output of tasks is read together with the answers.
    """

    def __init__(
        self, runner: Runner, relay: Relay, take: Callable[[list[tuple[int, bytes]]], float], end: Callable[[], None]
    ) -> None:
        self._runner = runner
        self._relay = relay
        self._take = take
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._wait: asyncio.TimerHandle | None = None
        self._loop.add_reader(runner, self._receive)

    def close(self) -> None:
        self._listen()
        self._loop.remove_reader(self._runner)

    def _receive(self) -> None:
        try:
            answers = self._runner.receive()
        except BlockingIOError:
            self._listen()
            return
        except (EOFError, OSError):
            self._end()
            return
        seconds = self._take(answers) / _SHARE
        if seconds < SHORTEST:
            self._listen()
            return
        if self._wait is None:
            self._loop.remove_reader(self._runner)
            self._relay.read_when_asked(True)
        self._wait = self._loop.call_later(min(seconds, LONGEST), self._receive)

    def _listen(self) -> None:
        """Receive the next answer when it comes."""
        if self._wait is not None:
            self._wait.cancel()
            self._wait = None
            self._relay.read_when_asked(False)
            self._loop.add_reader(self._runner, self._receive)
