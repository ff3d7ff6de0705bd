"""`rqtool queues --watch`: the loop between the broker, the screen and the keyboard.

A thread asks the broker, so that a broker that hangs holds up neither the keyboard nor the age on the screen; the main
thread draws, and waits for answers, keys and signals at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime

from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.management.api import Management, below, queue_path
from rqtool.management.samples import read_samples
from rqtool.queues.screen import Frame, Screen, worst
from rqtool.queues.snapshot import FINE_STEP, samples, take_snapshot
from rqtool.queues.trends import Trend

_HANDLED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
_TRENDS = (
    "vhost,name,messages_ready_details.samples,messages_unacknowledged_details.samples,"
    "message_stats.ack_details.samples"
)


class Watch:
    """Queues of a vhost (None: of all), or those in `names`, every so many seconds."""

    def __init__(
        self, endpoint: Endpoint, vhost: str | None, names: Sequence[str] | None, stuck_after: float, every: float
    ) -> None:
        self._endpoint = endpoint
        self._vhost = vhost
        self._names = names
        self._stuck_after = stuck_after
        self._every = every
        self._screen = Screen()
        self._news, self._bell = os.pipe()
        os.set_blocking(self._bell, False)
        self._signals: list[int] = []

    def run(self) -> int:
        """Watch until a key or a signal ends it; returns the exit code. Raises RqtoolError if the first
        request fails.
        """
        if self._screen.is_dumb:
            raise UsageError("--watch needs a terminal that can be drawn on", "Set TERM, or leave --watch out")
        api = Management(self._endpoint.api_urls, self._endpoint.tls)
        self._frame = self.ask(api)
        threading.Thread(target=self._keep_asking, args=(api,), daemon=True).start()
        with self._handling_signals():
            while True:
                with self._unbuffered_keys(), self._screen.open():
                    ended = self._loop()
                if ended != signal.SIGTSTP:
                    return 128 + ended if ended == signal.SIGTERM else 0
                os.kill(os.getpid(), signal.SIGSTOP)  # the terminal is as it was; `fg` continues here

    def _loop(self) -> int:
        """Draw each second and at every change. Returns the signal that ends it, 0 for a key."""
        stdin = [0] if os.isatty(0) else []
        while True:
            self._screen.show(self._frame, datetime.now().astimezone())
            readable, _, _ = select.select([self._news, *stdin], [], [], 1.0)
            if self._news in readable:
                os.read(self._news, 4096)
            if 0 in readable:
                keys = os.read(0, 100)
                if not keys:
                    stdin = []  # the terminal is gone
                elif keys[:1] in (b"q", b"Q"):  # arrows and the like begin with ESC, and mean nothing here
                    return 0
            while self._signals:
                if (number := self._signals.pop(0)) != signal.SIGWINCH:
                    return number

    def _keep_asking(self, api: Management) -> None:
        """Ask in the thread, until the program ends."""
        while True:
            time.sleep(self._every)
            try:
                self._frame = self.ask(api)
            except Exception as error:  # a traceback from a thread would spoil the screen
                api = Management(self._endpoint.api_urls, self._endpoint.tls)  # any node may be the next to answer
                what = error.what if isinstance(error, RqtoolError) else f"{type(error).__name__}: {error}"
                self._frame = replace(self._frame, trouble=what)
            with suppress(BlockingIOError):
                os.write(self._bell, b"!")

    def ask(self, api: Management) -> Frame:
        """Take a snapshot, and the trends of the queues that the screen has room for. Raises RqtoolError."""
        now = datetime.now().astimezone()
        snapshot = take_snapshot(api, self._vhost, self._stuck_after, now, self._names)
        paths = [queue_path(each.queue.key) for each in worst(snapshot.diagnoses, self._screen.most_rows)]
        query = samples(150, FINE_STEP) | {"columns": _TRENDS}
        trends = {
            (str(row.get("vhost")), str(row.get("name"))): Trend(
                ready=read_samples(row, "messages_ready_details"),
                unacked=read_samples(row, "messages_unacknowledged_details"),
                acked=read_samples(row, "message_stats", "ack_details"),
            )
            for row in api.details(f"/api/queues{below(self._vhost)}", paths, query)
        }
        return Frame(snapshot, trends, now, "every vhost" if self._vhost is None else self._vhost)

    @contextmanager
    def _handling_signals(self) -> Iterator[None]:
        """Signals wake the loop, which reads them."""
        before = {number: signal.signal(number, lambda number, _: self._signals.append(number)) for number in _HANDLED}
        wakeup = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def _unbuffered_keys(self) -> Iterator[None]:
        """Keys arrive at once, without echo."""
        if not os.isatty(0):
            yield
            return
        before = termios.tcgetattr(0)
        tty.setcbreak(0)
        try:
            yield
        finally:
            termios.tcsetattr(0, termios.TCSADRAIN, before)
            sys.stdout.flush()
