"""`rqtool queues --watch`: the loop between the broker, the screen and the keyboard.

A thread asks the broker, so that a broker that hangs holds up neither the keyboard nor the age of the figures on the
screen; the main thread draws, and waits for news, keys and signals at once.
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from types import FrameType
from urllib.parse import quote

from rqtool.endpoint.urls import Endpoint
from rqtool.errors import RqtoolError, UsageError
from rqtool.management.api import Management
from rqtool.queues.attribution import Key
from rqtool.queues.history import read_samples
from rqtool.queues.screen import Frame, Screen, worst
from rqtool.queues.snapshot import look
from rqtool.queues.trends import History

_HANDLED = (signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGTSTP, signal.SIGWINCH)
_HISTORY = {
    "lengths_age": "150",
    "lengths_incr": "5",
    "msg_rates_age": "150",
    "msg_rates_incr": "5",
    "columns": "vhost,name,messages_ready_details.samples,messages_unacknowledged_details.samples,"
    "message_stats.ack_details.samples",
}


class Watch:
    """Queues of a vhost (None: of all), or those in `names`, looked at every so many seconds."""

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
        self._frame: Frame | None = None
        self._signals: list[int] = []

    def run(self) -> int:
        """Watch until told to end; returns the exit code. Raises RqtoolError where the first look fails."""
        if self._screen.is_dumb:
            raise UsageError("--watch needs a terminal that can be drawn on", "Set TERM, or leave --watch out")
        api = Management(self._endpoint.api_urls, self._endpoint.tls)
        self._frame = self.ask(api)
        threading.Thread(target=self._keep_asking, args=(api,), daemon=True).start()
        with self._listening():
            while True:
                with self._keyboard(), self._screen as screen:
                    ended = self._loop(lambda frame: screen.show(frame, _now()))
                if ended != signal.SIGTSTP:
                    return 128 + ended if ended == signal.SIGTERM else 0
                os.kill(os.getpid(), signal.SIGSTOP)  # with the screen put back; goes on from here at `fg`

    def _loop(self, show: Callable[[Frame], None]) -> int:
        """Draw whenever something changed, and each second; returns the signal that ends it, 0 for a key."""
        stdin = [0] if os.isatty(0) else []
        while True:
            if self._frame is not None:
                show(self._frame)
            readable, _, _ = select.select([self._news, *stdin], [], [], 1.0)
            if self._news in readable:
                os.read(self._news, 4096)
            if 0 in readable:
                keys = os.read(0, 100)
                if not keys:
                    stdin = []  # the terminal went
                elif keys[:1] in (b"q", b"Q"):  # arrows and the like begin with ESC, and mean nothing here
                    return 0
            while self._signals:
                if (number := self._signals.pop(0)) != signal.SIGWINCH:
                    return number

    # Asking, in a thread.

    def _keep_asking(self, api: Management) -> None:
        while True:
            time.sleep(self._every)
            try:
                self._frame = self.ask(api)
            except Exception as error:  # a traceback from a thread would spoil the screen, and the figures grow old
                # Any node may be the next to answer.
                api = Management(self._endpoint.api_urls, self._endpoint.tls)
                what = error.what if isinstance(error, RqtoolError) else f"{type(error).__name__}: {error}"
                if self._frame is not None:
                    self._frame = replace(self._frame, trouble=what)
            with suppress(BlockingIOError):
                os.write(self._bell, b"!")

    def ask(self, api: Management) -> Frame:
        """Look once. Raises RqtoolError."""
        now = _now()
        found = look(api, self._vhost, self._stuck_after, now, self._names)
        shown = worst(found.diagnoses, self._screen.most_rows)
        path = "/api/queues" if self._vhost is None else f"/api/queues/{quote(self._vhost, safe='')}"
        rows = api.named(path, {each.queue.name for each in shown}, _HISTORY)
        histories: dict[Key, History] = {
            (str(row.get("vhost")), str(row.get("name"))): History(
                ready=read_samples(row, "messages_ready_details"),
                unacked=read_samples(row, "messages_unacknowledged_details"),
                acked=read_samples(row, "message_stats", "ack_details"),
            )
            for row in rows
        }
        where = "every vhost" if self._vhost is None else self._vhost
        return Frame(found.diagnoses, histories, now, where, unseen=found.unseen)

    # The terminal.

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Signals end the waiting, and the loop reads them."""
        before = {number: signal.signal(number, self._received) for number in _HANDLED}
        wakeup = signal.set_wakeup_fd(self._bell, warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _received(self, number: int, _: FrameType | None) -> None:
        self._signals.append(number)

    @contextmanager
    def _keyboard(self) -> Iterator[None]:
        """Keys come at once, and unseen."""
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


def _now() -> datetime:
    return datetime.now().astimezone()
