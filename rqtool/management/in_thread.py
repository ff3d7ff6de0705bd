"""Blocking requests to the management API from the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from rqtool.errors import RqtoolError, Unreachable

T = TypeVar("T")


async def in_thread(ask: Callable[[], T]) -> T:
    """Ask in a daemon thread, since an API that never answers must not hold up a worker that is stopping. Raises what
    `ask` raises, and Unreachable if the answer makes no sense or no thread can be started.
    """
    answer: Future[T] = Future()
    answer.set_running_or_notify_cancel()  # the caller may be cancelled while the thread goes on

    def run() -> None:
        try:
            answer.set_result(ask())
        except RqtoolError as error:
            answer.set_exception(error)
        except Exception as error:
            nonsense = f"The management API's answer makes no sense: {type(error).__name__}: {error}"
            answer.set_exception(Unreachable(nonsense))

    try:
        threading.Thread(target=run, name="api", daemon=True).start()
    except RuntimeError as error:
        raise Unreachable(f"The management API can't be asked: {error}") from None
    return await asyncio.wrap_future(answer)
