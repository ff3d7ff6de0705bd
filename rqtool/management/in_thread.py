"""Blocking requests to the management API from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from rqtool.errors import RqtoolError, Unreachable

T = TypeVar("T")


async def in_thread(ask: Callable[[], T]) -> T:
    """Ask in a daemon thread: an API that never answers must not hold up a worker that is stopping.

    Raises what `ask` raises, and Unreachable where the answer makes no sense or no thread can be started.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: object) -> None:
        if not answer.done():  # cancelled
            set_outcome(outcome)

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed
            try:
                found = ask()
            except RqtoolError as error:
                loop.call_soon_threadsafe(settle, answer.set_exception, error)
            except Exception as error:
                nonsense = f"The management API's answer makes no sense: {type(error).__name__}: {error}"
                loop.call_soon_threadsafe(settle, answer.set_exception, Unreachable(nonsense))
            else:
                loop.call_soon_threadsafe(settle, answer.set_result, found)

    try:
        threading.Thread(target=run, name="api", daemon=True).start()
    except RuntimeError as error:
        raise Unreachable(f"The management API can't be asked: {error}") from None
    return await answer
