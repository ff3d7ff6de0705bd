"""Ctrl-C and SIGTERM, really sent to this process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator

import pytest

from rqtool.signals import Signals
from tests.tools import DEADLINE, throughout

HANDLED = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Each test begins with Python's own handlers; those of before are restored after it."""
    before = [signal.signal(signal.SIGINT, signal.default_int_handler), signal.signal(signal.SIGTERM, signal.SIG_DFL)]
    yield
    for number, handler in zip(HANDLED, before, strict=True):
        signal.signal(number, handler)


class Changes:
    """Counts its calls, and can be waited for."""

    def __init__(self) -> None:
        self.times = 0
        self.event = asyncio.Event()

    def __call__(self) -> None:
        self.times += 1
        self.event.set()

    async def once_more(self) -> None:
        async with asyncio.timeout(DEADLINE):
            await self.event.wait()
        self.event.clear()


def run(body: Callable[[Signals, Changes], Awaitable[None]], grace: float | None = None) -> None:
    async def main() -> None:
        changes = Changes()
        with Signals(changes, grace) as signals:
            await body(signals, changes)

    asyncio.run(main())


async def stays(condition: Callable[[], bool], seconds: float) -> None:
    """Fail unless it is true for so long, while the loop runs."""
    await asyncio.to_thread(throughout, condition, seconds, every=0.02)


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("first", HANDLED)
@pytest.mark.parametrize("second", HANDLED)
def test_the_first_finishes_and_the_second_leaves(first: signal.Signals, second: signal.Signals) -> None:
    """Whichever they are; each one is reported, and the last one is known."""

    async def body(signals: Signals, changes: Changes) -> None:
        assert (signals.finish, signals.leave, signals.count, changes.times) == (False, False, 0, 0)
        send(first)
        await changes.once_more()
        assert (signals.finish, signals.leave, signals.count, signals.last) == (True, False, 1, first)
        send(second)
        await changes.once_more()
        assert (signals.finish, signals.leave, signals.count, signals.last) == (True, True, 2, second)
        assert changes.times == 2

    run(body)


def test_the_handlers_are_those_of_before_afterwards() -> None:
    """A later Ctrl-C is Python's own again, also if the block ends with an error."""

    async def main() -> None:
        with pytest.raises(LookupError), Signals(lambda: None):
            raise LookupError
        loop = asyncio.get_running_loop()
        assert not any(loop.remove_signal_handler(number) for number in HANDLED)

    asyncio.run(main())
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


class TestGrace:
    """`--grace`: the time that a first signal leaves."""

    def test_its_end_leaves(self) -> None:
        """So many seconds after the first signal, not earlier; it is reported, and is not counted as a signal."""

        async def body(signals: Signals, changes: Changes) -> None:
            begin = time.monotonic()
            send(signal.SIGTERM)
            await changes.once_more()
            assert (signals.finish, signals.leave) == (True, False)
            await changes.once_more()
            assert time.monotonic() - begin >= 0.19
            assert (signals.leave, signals.count, signals.last) == (True, 1, signal.SIGTERM)
            assert changes.times == 2

        run(body, grace=0.2)

    def test_it_does_not_begin_before_a_signal(self) -> None:
        """Without a signal the grace never ends."""

        async def body(signals: Signals, changes: Changes) -> None:
            await stays(lambda: (signals.finish, signals.leave, changes.times) == (False, False, 0), 0.15)
            begin = time.monotonic()
            send(signal.SIGINT)
            await changes.once_more()
            assert not signals.leave
            await changes.once_more()
            assert signals.leave
            assert time.monotonic() - begin >= 0.04

        run(body, grace=0.05)

    def test_none_at_all(self) -> None:
        """With 0 the first signal leaves by itself, without a second one."""

        async def body(signals: Signals, changes: Changes) -> None:
            send(signal.SIGTERM)
            while not signals.leave:
                await changes.once_more()
            assert signals.count == 1

        run(body, grace=0)

    def test_a_second_signal_does_not_wait_for_its_end(self) -> None:
        """It leaves at once, and the grace does not begin again."""

        async def body(signals: Signals, changes: Changes) -> None:
            for _ in range(2):
                send(signal.SIGINT)
                await changes.once_more()
            assert signals.leave
            await changes.once_more()
            await stays(lambda: changes.times == 3, 0.2)

        run(body, grace=0.1)

    def test_without_it_one_signal_never_leaves(self) -> None:
        """What runs may take any time."""

        async def body(signals: Signals, changes: Changes) -> None:
            send(signal.SIGTERM)
            await changes.once_more()
            await stays(lambda: (signals.leave, changes.times) == (False, 1), 0.1)

        run(body)


class Work:
    """Waits to be cancelled, and records whether it was started and cancelled."""

    def __init__(self) -> None:
        self.begun = self.cancelled = False

    async def __call__(self) -> str:
        self.begun = True
        try:
            await asyncio.sleep(DEADLINE)
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return "done"


class TestInterrupt:
    """Work that a signal cancels."""

    def test_without_a_signal_the_work_ends(self) -> None:
        """Its result is returned."""

        async def body(signals: Signals, changes: Changes) -> None:
            async def work() -> str:
                await asyncio.sleep(0.01)  # what the work takes
                return "done"

            assert await signals.interrupt(work(), lambda: signals.finish) == "done"

        run(body)

    def test_an_error_of_the_work_is_raised(self) -> None:
        """As if it had been awaited directly."""

        async def body(signals: Signals, changes: Changes) -> None:
            async def work() -> None:
                await asyncio.sleep(0.01)  # what the work takes
                raise LookupError

            with pytest.raises(LookupError):
                await signals.interrupt(work(), lambda: signals.finish)

        run(body)

    def test_a_signal_cancels_it(self) -> None:
        """It is over before None is returned."""

        async def body(signals: Signals, changes: Changes) -> None:
            work = Work()
            asyncio.get_running_loop().call_later(0.02, send, signal.SIGTERM)
            assert await signals.interrupt(work(), lambda: signals.finish) is None
            assert work.cancelled

        run(body)

    def test_a_signal_that_does_not_count_cancels_nothing(self) -> None:
        """The first one, where only the second does; the second does then."""

        async def body(signals: Signals, changes: Changes) -> None:
            work = Work()
            loop = asyncio.get_running_loop()
            interrupted = asyncio.ensure_future(signals.interrupt(work(), lambda: signals.leave))
            loop.call_later(0.02, send, signal.SIGTERM)
            await changes.once_more()
            await stays(lambda: (interrupted.done(), work.cancelled) == (False, False), 0.05)
            send(signal.SIGTERM)
            assert await interrupted is None
            assert work.cancelled

        run(body)

    def test_an_earlier_signal_counts(self) -> None:
        """The work is not even started."""

        async def body(signals: Signals, changes: Changes) -> None:
            send(signal.SIGINT)
            await changes.once_more()
            work = Work()
            assert await signals.interrupt(work(), lambda: signals.finish) is None
            assert not work.begun

        run(body)

    def test_the_end_of_grace_cancels_it(self) -> None:
        """As a second signal does."""

        async def body(signals: Signals, changes: Changes) -> None:
            work = Work()
            asyncio.get_running_loop().call_later(0.02, send, signal.SIGTERM)
            assert await signals.interrupt(work(), lambda: signals.leave) is None
            assert (work.cancelled, signals.count) == (True, 1)

        run(body, grace=0.05)
