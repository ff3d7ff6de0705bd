"""The process in which a function of `--call` runs, started by rqtool.handlers.callables and spoken to over sockets.

A function that isn't async has one such process per job; an async one has one for all jobs, a socket for each, and one
event loop. It ends when its worker does, after the task at work: then its sockets are closed.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import socket
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.handlers.callable_target import Target, load
from rqtool.handlers.callable_wire import CHUNK, Incoming, frame, pack_outcome, unpack_task
from rqtool.handlers.tracebacks import Story, one_line
from rqtool.outcomes import Done, Failed, Outcome, Postponed, Rejected
from rqtool.retry import LONGEST_DELAY
from rqtool.task import Reject, Retry

if TYPE_CHECKING:
    import asyncio

_DETAIL_LINES = 10
_DETAIL_CHARACTERS = 2000


def main() -> None:
    """Arguments: the target, the timeout of an async function, and the sockets, one per job."""
    target, timeout, *numbers = sys.argv[1:]
    del sys.argv[1:]
    channels = [socket.socket(fileno=int(number)) for number in numbers]
    for channel in channels:
        channel.set_inheritable(False)
    # A fork of the function's must neither answer in its place nor hold the sockets open after its end.
    os.register_at_fork(after_in_child=lambda: _close(channels))
    # Only now: what has a standard module's name there must not be taken for it by the imports above.
    with suppress(FileNotFoundError):
        sys.path.insert(0, os.getcwd())
    try:
        loaded = load(target)
    except UsageError as error:
        _flush()
        channels[0].sendall(frame(json.dumps({"what": error.what, "what_to_do": error.what_to_do}).encode()))
        return
    _flush()
    with suppress(EOFError, OSError):
        channels[0].sendall(frame(json.dumps({"async": loaded.is_async, "task": loaded.wants_task}).encode()))
        if loaded.is_async:
            _serve_all(channels, loaded, None if timeout == "-" else float(timeout))
        else:
            _close(channels[1:])
            _serve(channels[0], loaded)


def _close(channels: Sequence[socket.socket]) -> None:
    for channel in channels:
        channel.close()


def _flush() -> None:
    with suppress(Exception):  # whatever the function has made of it
        sys.stdout.flush()


def _argument(target: Target, head: bytes, body: bytes) -> object:
    return unpack_task(head, body) if target.wants_task else body


# One task at a time.


def _serve(channel: socket.socket, target: Target) -> None:
    while True:
        incoming = Incoming()
        while (message := incoming.feed(channel.recv(CHUNK))) is None:
            pass
        outcome = _call(target.function, _argument(target, *message))
        _flush()
        channel.sendall(frame(pack_outcome(outcome)))


def _call(function: Callable[[Any], Any], argument: object) -> Outcome:
    try:
        result = function(argument)
        if result is not None and inspect.isawaitable(result):
            return _runner().run(_finish(lambda: result))
    except BaseException as error:  # sys.exit() too ends the task, not the process
        return _verdict(error)
    return Done()


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all tasks, as they may share what belongs to it."""
    import asyncio

    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


# All jobs at once.


def _serve_all(channels: Sequence[socket.socket], target: Target, timeout: float | None) -> None:
    import asyncio

    async def serve(channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        channel.setblocking(False)
        with suppress(EOFError, OSError):
            while True:
                incoming = Incoming()
                while (message := incoming.feed(await loop.sock_recv(channel, CHUNK))) is None:
                    pass
                outcome = await run(_argument(target, *message))
                _flush()
                await loop.sock_sendall(channel, frame(pack_outcome(outcome)))

    async def run(argument: object) -> Outcome:
        # A task of its own: a function that cancels itself must not cancel what answers for it.
        work = asyncio.ensure_future(_finish(partial(target.function, argument)))
        done, _ = await asyncio.wait({work}, timeout=timeout)
        if not done:
            work.cancel()
            await asyncio.wait({work})
        # One that has cancelled itself, and then ended all the same, has no result.
        outcome = Failed("CancelledError") if work.cancelled() else work.result()
        if not done and timeout is not None:
            return Failed(f"timed out after {format_duration(timeout)}", detail=getattr(outcome, "detail", ""))
        return outcome

    async def serve_all() -> None:
        await asyncio.gather(*map(serve, channels))

    asyncio.run(serve_all())


# What became of it.


async def _finish(start: Callable[[], Awaitable[object]]) -> Outcome:
    try:
        await start()
    except BaseException as error:  # asyncio would let sys.exit() end the loop
        return _verdict(error)
    return Done()


def _verdict(error: BaseException) -> Outcome:
    """Say what the exception means. The user's own classes may fail here in any way."""
    try:
        if isinstance(error, Reject):
            return Rejected(one_line(str(error.reason)) or "rejected by the function")
        story = Story(error)
        line = story.line()
        if isinstance(error, Retry):
            delay: object = error.delay
            if delay is None or (isinstance(delay, int | float) and 0 <= delay <= LONGEST_DELAY):
                return Postponed(one_line(str(error.reason)) or "it asks for another attempt", delay=delay)
            line = f"Retry({delay!r}): no delay between 0 and {format_duration(LONGEST_DELAY)}{story.place()}"
        full = story.full()
        with suppress(Exception):
            print(full, end="", file=sys.stderr, flush=True)  # noqa: T201 - for whoever writes the function
        return Failed(line, detail="\n".join(full.splitlines()[-_DETAIL_LINES:])[-_DETAIL_CHARACTERS:])
    except Exception:
        return Failed(type(error).__qualname__)
