"""Blocking requests to the management API in a thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from rqtool.errors import RqtoolError, Unreachable

T = TypeVar("T")


def begin(ask: Callable[[], T]) -> Future[T]:
    """Ask in a daemon thread, since an API that never answers must not hold up a program that is stopping.

    The result raises what `ask` raises, and Unreachable if the answer makes no sense. Raises Unreachable if no thread
    can be started.
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
    return answer


async def in_thread(ask: Callable[[], T]) -> T:
    """The same from the event loop: returns or raises what the thread does."""
    import asyncio  # 30 ms that a program without a loop does without

    return await asyncio.wrap_future(begin(ask))
