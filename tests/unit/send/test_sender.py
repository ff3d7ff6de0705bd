"""From the input to the broker's word: whatever it answers, in whatever order, each task ends exactly once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import pika
import pika.frame
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rqtool.amqp.connection import Channel
from rqtool.amqp.publisher import Publisher
from rqtool.amqp.window import Message, Window
from rqtool.endpoint.urls import Endpoint
from rqtool.send.feed import Feed
from rqtool.send.options import SendOptions
from rqtool.send.sender import Sender
from rqtool.signals import Signals

SIZE_LIMIT = 5


class Input:
    """What was read so far; there is always more to come."""

    ended = False
    error = None

    def __init__(self) -> None:
        self._tasks: deque[bytes] = deque()
        self.fed = 0

    def feed(self, sizes: list[int]) -> None:
        self._tasks += [b"x" * size for size in sizes]
        self.fed += len(sizes)

    def take(self) -> bytes | None:
        return self._tasks.popleft() if self._tasks else None


class Broker(RuleBasedStateMachine):
    """A broker that answers, returns and hangs up as it pleases. `open`: tag → properties of what it has to answer."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.input = Input()
        self.reported: list[Message] = []
        self.kept: set[str] = set()

    @initialize(skip=st.integers(0, 3))
    def begin(self, skip: int) -> None:
        self.skip = skip
        options = SendOptions("q", skip=skip)
        self.sending = Sender(
            Endpoint((), ()), options, say=lambda _: None, on_confirmed=self.reported.extend, unsent=None
        )
        self.sending._wake = asyncio.Event()
        with patch("rqtool.send.feed.ReadAhead", return_value=self.input):
            self.sending._feed = Feed([], skip, options.envelope, self.sending._ledger, lambda: None)
        self.sending._signals = cast(Signals, SimpleNamespace(finish=False, leave=0))
        self._connect()

    def _connect(self) -> None:
        self.tag = 0
        self.open: dict[int, pika.BasicProperties] = {}
        self.returned: set[int] = set()
        connection = SimpleNamespace(params=SimpleNamespace(frame_max=4096))
        raw = SimpleNamespace(channel_number=1, connection=connection)
        channel = cast(Channel, SimpleNamespace(raw=raw, lost=self.loop.create_future(), write=self._written))
        self.publisher = self.sending._publisher = Publisher(channel, "confirm", self.sending._settled)
        self.publisher.window = Window(4, 20)

    def _written(self, data: bytes) -> None:
        while data:
            size, frame = pika.frame.decode_frame(data)
            data = data[size:]
            if isinstance(frame, pika.frame.Header):
                self.tag += 1
                self.open[self.tag] = frame.properties

    def _run(self, act: Callable[..., None], *arguments: Any) -> None:
        async def run() -> None:
            act(*arguments)

        self.loop.run_until_complete(run())

    @rule(sizes=st.lists(st.integers(1, 9), max_size=5))
    def go_on(self, sizes: list[int]) -> None:
        self.input.feed(sizes)
        self._run(self.sending._fill, self.publisher)

    @precondition(lambda self: self.open.keys() - self.returned)
    @rule(data=st.data())
    def return_one(self, data: st.DataObject) -> None:
        tag = data.draw(st.sampled_from(sorted(self.open.keys() - self.returned)))
        self.returned.add(tag)
        self._run(self.publisher._returned, None, None, self.open[tag], b"")

    @rule(data=st.data(), multiple=st.booleans(), takes=st.booleans())
    def answer(self, data: st.DataObject, multiple: bool, takes: bool) -> None:
        tag = data.draw(st.integers(0, self.tag + 1))
        for number in [n for n in self.open if n == tag or (multiple and (tag == 0 or n < tag))]:
            properties = self.open.pop(number)
            if takes and number not in self.returned:
                self.kept.add(str(properties.message_id))
        method = (pika.spec.Basic.Ack if takes else pika.spec.Basic.Nack)(tag, multiple)
        self._run(self.publisher._answered, pika.frame.Method(1, method))

    @rule()
    def offer_again(self) -> None:
        """What was nacked; in a run some time after."""
        self._run(self.sending._offer_again)

    @rule()
    def hang_up(self) -> None:
        self._run(self.sending._retreat)
        self._connect()

    @rule()
    def take_no_large_ones(self) -> None:
        self.sending._feed.size_limit = SIZE_LIMIT

    @invariant()
    def each_task_is_in_one_place(self) -> None:
        """Confirmed if and only if the broker keeps it; nothing else is forgotten, or there twice."""
        if not hasattr(self, "sending"):
            return
        ledger = self.sending._ledger
        in_hand = [*self.publisher.window._open.values(), *self.sending._held, *ledger.unconfirmed()]
        places = [message.position for message in [*self.reported, *in_hand]]
        assert sorted(places) == list(range(min(self.skip, ledger.read), ledger.read))
        assert {message.token for message in self.reported} == self.kept
        assert ledger.confirmed == len(self.reported) == len(self.kept)

    def teardown(self) -> None:
        if hasattr(self, "sending"):
            self.sending._retreat()
            ledger = self.sending._ledger
            confirmed = {message.position for message in self.reported}
            missing = [place for place in range(self.skip, ledger.read) if place not in confirmed]
            assert [message.position for message in ledger.unconfirmed()] == missing
            assert ledger.resume_at() == (missing[0] if missing else ledger.read)
            assert not self.publisher.window
        self.loop.close()


TestAnyOrderOfAnswers = Broker.TestCase
