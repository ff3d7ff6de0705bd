"""inputs.ReadAhead: the input is read beside the event loop, never in its way."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterable, Iterator

from rqtool.errors import UsageError
from rqtool.send.input import BATCHES_AHEAD, Batch, ReadAhead, chunks, split

SECONDS = 10.0


class Reader:
    """A ReadAhead, and an event to wait with, as Sender uses it."""

    def __init__(self, batches: Iterable[Batch]) -> None:
        self._wake = asyncio.Event()
        self.input = ReadAhead(batches, self._wake.set)
        self.input.start()

    async def task(self) -> bytes | None:
        """The next task, None at the end."""
        async with asyncio.timeout(SECONDS):
            while True:
                self._wake.clear()
                task = self.input.take()
                if task is not None or self.input.ended:
                    return task
                await self._wake.wait()

    async def rest(self) -> list[bytes]:
        tasks = []
        while (task := await self.task()) is not None:
            tasks.append(task)
        return tasks


def test_lines_of_an_open_pipe_arrive_as_they_come() -> None:
    """A line arrives before its writer has written the next one, and the loop goes on meanwhile."""

    async def scenario() -> None:
        read_end, write_end = os.pipe()
        reader = Reader(split(chunks(read_end)))
        os.write(write_end, b"one\ntwo\nthr")
        assert await reader.task() == b"one"
        assert await reader.task() == b"two"
        assert reader.input.take() is None
        assert not reader.input.ended
        os.write(write_end, b"ee\n")
        assert await reader.task() == b"three"
        os.write(write_end, b"four")
        os.close(write_end)
        assert await reader.rest() == [b"four"]
        assert reader.input.error is None
        os.close(read_end)

    asyncio.run(scenario())


def test_every_task_comes_once_and_in_order() -> None:
    """Neither a batch nor a task in it is lost, doubled or moved."""

    async def scenario() -> list[bytes]:
        return await Reader([[b"%d.%d" % (n, m) for m in range(n % 4)] for n in range(200)]).rest()

    assert [b"%d.%d" % (n, m) for n in range(200) for m in range(n % 4)] == asyncio.run(scenario())


def test_it_reads_only_so_far_ahead() -> None:
    """BATCHES_AHEAD batches are handed over and one more is in hand; each batch taken lets in one."""
    read = [threading.Event() for _ in range(10)]

    def batches() -> Iterator[Batch]:
        for number, event in enumerate(read):
            event.set()
            yield [b"%d" % number]

    async def is_read(number: int, seconds: float = SECONDS) -> bool:
        return await asyncio.to_thread(read[number].wait, seconds)

    async def scenario() -> None:
        reader = Reader(batches())
        for taken in range(5):
            assert await is_read(taken + BATCHES_AHEAD), "back-pressure holds back too much"
            assert not await is_read(taken + BATCHES_AHEAD + 1, 0.05), "it reads on though nothing is taken"
            assert await reader.task() == b"%d" % taken
        assert await reader.rest() == [b"5", b"6", b"7", b"8", b"9"]

    asyncio.run(scenario())


def test_an_empty_input_ends_and_wakes() -> None:
    """Nothing to read is an end like any other."""

    async def scenario() -> None:
        reader = Reader([])
        assert await reader.task() is None
        assert reader.input.complete

    asyncio.run(scenario())


def _broken(error: Exception) -> Iterator[Batch]:
    yield [b"before"]
    raise error


def test_a_read_error_is_kept_for_the_report() -> None:
    """What was read before it is handed out, then the input ends with the error in `error`."""

    async def scenario(error: Exception) -> None:
        reader = Reader(_broken(error))
        assert await reader.rest() == [b"before"]
        assert error is reader.input.error
        assert (reader.input.ended, reader.input.complete) == (True, False)

    asyncio.run(scenario(OSError(5, "Input/output error")))
    asyncio.run(scenario(UsageError("A task of more than 8 bytes")))


def test_a_loop_that_is_closed_does_not_trouble_the_thread() -> None:
    """A batch that arrives after the loop has closed is dropped, without a word on stderr."""
    released = threading.Event()

    def batches() -> Iterator[Batch]:
        released.wait(SECONDS)
        yield [b"too late"]

    async def scenario() -> None:
        ReadAhead(batches(), lambda: None).start()

    before = set(threading.enumerate())
    asyncio.run(scenario())
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    released.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
