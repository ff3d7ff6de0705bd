"""A worker and a broker of the test's own: what is begun, and what is given back, when the worker is about to end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, Mock

import pika
import pytest

from rqtool import working
from rqtool.broker.connection import Lost
from rqtool.broker.consumer import Consumer, Delivery
from rqtool.endpoint import Endpoint
from rqtool.errors import UsageError
from rqtool.handlers.commands import Command
from rqtool.handlers.quick_commands import QuickCommands
from rqtool.options import WorkOptions
from rqtool.urls import BrokerURL

SECONDS = 20.0


class Broker:
    """Gives each connection in turn the tasks that are listed for it; `settled`: what was acked or given back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *tasks: list[bytes]) -> None:
        self._tasks = list(tasks)
        self.settled: list[tuple[str, int]] = []
        self.lost: asyncio.Future[Lost]
        monkeypatch.setattr(working, "connect", self._connect)
        monkeypatch.setattr(working, "ensure_queue", AsyncMock())
        monkeypatch.setattr(Consumer, "open", self._consume)

    def lose(self) -> None:
        self.lost.set_result(Lost(0, "gone"))

    async def _connect(self, *_: object) -> Any:
        self.lost = asyncio.get_running_loop().create_future()
        return Mock(lost=self.lost, close=AsyncMock())

    async def _consume(self, _: object, __: str, ___: int, receive: Callable[[Delivery], None]) -> Any:
        channel = Mock(lost=self.lost)
        channel.ack = lambda tag: self.settled.append(("ack", tag))
        channel.raw.basic_nack = lambda tag, multiple: self.settled.append(("nack", tag))
        for tag, body in enumerate(self._tasks.pop(0), start=1):
            properties = pika.BasicProperties(message_id=body.decode())  # type: ignore[no-untyped-call]
            receive(Delivery(channel, tag, False, properties, body))
        return Mock(lost=self.lost, cancel=AsyncMock())


def _worker(script: str, listener: Mock | None = None, max_tasks: int | None = None) -> working.Working:
    handler = QuickCommands(Command(["sh", "-c", script]), 1)
    options = WorkOptions("q", (), prefetch=10, max_tasks=max_tasks)
    endpoint = Endpoint((BrokerURL(False, "nowhere", 1, "", ""),), ())
    return working.Working(endpoint, options, handler, listener or Mock(), say=Mock(), api=Mock())


def test_a_command_that_cannot_run_is_the_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What waits behind it is given back, and not begun: a typo must not burn the queue."""
    broker = Broker(monkeypatch, [b"1", b"2", b"3"])
    worker = _worker(f'cat >> "{tmp_path}/log"; exit 127')
    with pytest.raises(UsageError):
        asyncio.run(asyncio.wait_for(worker.run(), SECONDS))
    assert (tmp_path / "log").read_bytes() == b"1"
    assert sorted(broker.settled) == [("nack", 1), ("nack", 2), ("nack", 3)]


def test_what_waits_when_enough_was_handed_over_and_the_connection_goes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The broker has it again: it is not begun here, and another one makes up the number."""
    broker = Broker(monkeypatch, [b"1", b"2"], [b"3"])
    begun = asyncio.Event()
    listener = Mock(received=lambda _: begun.set())
    worker = _worker(f'cd "{tmp_path}"; cat >> log; while [ ! -e go ]; do sleep 0.01; done', listener, max_tasks=2)

    async def scenario() -> None:
        work = asyncio.ensure_future(worker.run())
        await begun.wait()
        broker.lose()
        await asyncio.sleep(0.05)
        (tmp_path / "go").touch()
        await work

    asyncio.run(asyncio.wait_for(scenario(), SECONDS))
    assert (tmp_path / "log").read_bytes() == b"13"
    assert broker.settled == [("ack", 1)]
