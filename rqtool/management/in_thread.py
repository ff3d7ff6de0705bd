"""Asking the management API beside the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from rqtool.errors import RqtoolError, Unreachable

T = TypeVar("T")


async def in_thread(ask: Callable[[], T]) -> T:
    """Ask in a daemon thread: an API that never answers must not hold up a worker that is stopping.

    Raises what `ask` raises, and Unreachable where the answer makes no sense or no thread can be started.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[T] = loop.create_future()

    def resolve(found: T) -> None:
        if not answer.done():
            answer.set_result(found)

    def fail(error: Exception) -> None:
        if not answer.done():
            answer.set_exception(error)

    def run() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            try:
                found = ask()
            except RqtoolError as error:
                loop.call_soon_threadsafe(fail, error)
            except Exception as error:
                nonsense = f"The management API's answer makes no sense: {type(error).__name__}: {error}"
                loop.call_soon_threadsafe(fail, Unreachable(nonsense))
            else:
                loop.call_soon_threadsafe(resolve, found)

    try:
        threading.Thread(target=run, name="api", daemon=True).start()
    except RuntimeError as error:
        raise Unreachable(f"The management API can't be asked: {error}") from None
    return await answer
