"""`rqtool queues --watch`: the loop between the broker, the screen and the keyboard.

It queries the broker in a thread, so that a broker that hangs holds up neither the keyboard nor the age on the screen.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.management.api import Management, below, queue_path
from rqtool.management.in_thread import in_thread
from rqtool.management.queue import key_of
from rqtool.management.samples import read_samples
from rqtool.queues.screen import Frame, Screen, worst
from rqtool.queues.shown import unmatched
from rqtool.queues.snapshot import FINE_STEP, samples, take_snapshot
from rqtool.queues.trends import Trend

_HANDLED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
_TRENDS = (
    "vhost,name,messages_ready_details.samples,messages_unacknowledged_details.samples,"
    "message_stats.ack_details.samples"
)


class Watch:
    """Shows the queues of a vhost (None: of all), or those in `names`, every so many seconds."""

    def __init__(
        self, endpoint: Endpoint, vhost: str | None, names: Sequence[str] | None, stuck_after: float, every: float
    ) -> None:
        self._endpoint = endpoint
        self._vhost = vhost
        self._names = names
        self._stuck_after = stuck_after
        self._every = every
        self._screen = Screen()
        self._changed = asyncio.Event()
        self._ended: int | None = None
        """The signal that ends it, 0 for a key."""

    def run(self) -> int:
        """Return the exit code when a key or a signal ends it. Raises RqtoolError if the first request fails."""
        if self._screen.is_dumb:
            raise UsageError("--watch needs a terminal that can be drawn on", "Set TERM, or leave --watch out")
        api = Management(self._endpoint.api_urls, self._endpoint.tls)
        self._frame = self.ask(api)
        ended = asyncio.run(self._watch(api))
        return 128 + ended if ended == signal.SIGTERM else 0

    async def _watch(self, api: Management) -> int:
        """Draw each second and at every change. Returns what ends it."""
        for number in _HANDLED:
            asyncio.get_running_loop().add_signal_handler(number, self._received, number)
        self._asking = asyncio.ensure_future(self._keep_asking(api))
        while True:
            with self._unbuffered_keys(), self._screen.open():
                while self._ended is None:
                    self._screen.show(self._frame, datetime.now().astimezone())
                    self._changed.clear()
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._changed.wait(), 1.0)
            if self._ended != signal.SIGTSTP:
                return self._ended
            self._ended = None
            os.kill(os.getpid(), signal.SIGSTOP)  # the terminal is restored; `fg` continues here

    def _received(self, number: int) -> None:
        if number != signal.SIGWINCH:
            self._ended = number
        self._changed.set()

    async def _keep_asking(self, api: Management) -> None:
        """Never ends."""
        while True:
            await asyncio.sleep(self._every)
            try:
                self._frame = await in_thread(partial(self.ask, api))
            except RqtoolError as error:
                api = Management(self._endpoint.api_urls, self._endpoint.tls)  # any node may be the next to answer
                self._frame = replace(self._frame, trouble=error.what)
            self._changed.set()

    def ask(self, api: Management) -> Frame:
        """Take a snapshot, and the trends of the queues that the screen has room for. Raises RqtoolError."""
        now = datetime.now().astimezone()
        snapshot = take_snapshot(api, self._vhost, self._stuck_after, now, self._names)
        paths = [queue_path(each.queue.key) for each in worst(snapshot.diagnoses, self._screen.most_rows)]
        query = samples(150, FINE_STEP) | {"columns": _TRENDS}
        trends = {
            key_of(row): Trend(
                ready=read_samples(row, "messages_ready_details"),
                unacked=read_samples(row, "messages_unacknowledged_details"),
                acked=read_samples(row, "message_stats", "ack_details"),
            )
            for row in api.details(f"/api/queues{below(self._vhost)}", paths, query)
        }
        missing = unmatched(self._names or (), [each.queue.name for each in snapshot.diagnoses])
        return Frame(snapshot, trends, now, "every vhost" if self._vhost is None else self._vhost, missing=missing)

    @contextmanager
    def _unbuffered_keys(self) -> Iterator[None]:
        """Keys arrive at once, without echo."""
        if not os.isatty(0):
            yield
            return
        before = termios.tcgetattr(0)
        tty.setcbreak(0)
        asyncio.get_running_loop().add_reader(0, self._read_keys)
        try:
            yield
        finally:
            asyncio.get_running_loop().remove_reader(0)
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            sys.stdout.flush()

    def _read_keys(self) -> None:
        keys = b""
        with suppress(OSError):
            keys = os.read(0, 100)
        if not keys:  # the terminal is gone
            asyncio.get_running_loop().remove_reader(0)
        elif keys[:1] in (b"q", b"Q"):  # arrow keys and the like begin with ESC; ignore them
            self._received(0)
