"""Calls a Python function in a runner process. One that is async has one process for all jobs, with one event loop."""

from __future__ import annotations

import atexit
import inspect
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from rqtool.durations import LONGEST_DELAY, format_duration
from rqtool.errors import UsageError
from rqtool.output import OutputError, prepare_stderr, prepare_stdout_of_function
from rqtool.run.channel import Taken, take
from rqtool.run.child import Worker
from rqtool.run.encoding import Spec, unpack_task
from rqtool.run.outcome import Done, Failed, Outcome, OutputGone, Postponed, Rejected
from rqtool.run.target import Target, load
from rqtool.run.task import Reject, Retry
from rqtool.run.traceback_text import Story, one_line
from rqtool.run.verdict import shortage

if TYPE_CHECKING:
    import asyncio

_DETAIL_LINES = 10
_DETAIL_CHARACTERS = 2000


def serve_function(worker: Worker, spec: Spec) -> None:
    """Call the function with each task that comes: `width` at once where it is async, else one after the other."""
    os.register_at_fork(after_in_child=worker.close)  # a fork must neither answer for us nor hold the lines open
    worker.die_with_it()
    prepare_stdout_of_function()
    prepare_stderr()
    # Only now: what has a standard module's name there must not be taken for it by the imports above.
    with suppress(FileNotFoundError):
        sys.path.insert(0, os.getcwd())
    [target] = spec.what
    try:
        loaded = load(target)
    except UsageError as error:
        _flush()
        worker.hello(what=error.what, what_to_do=error.what_to_do)
        return
    _flush()
    worker.hello(is_async=loaded.is_async, wants_task=loaded.wants_task)
    if loaded.is_async:
        _serve_all(worker, loaded, spec.width, spec.timeout)
    else:
        _serve(worker, loaded)


def _flush() -> None:
    with suppress(Exception):  # whatever the function has made of it
        sys.stdout.flush()


def _argument(taken: Taken, target: Target) -> object:
    """Return what the function gets of a task. Raises OSError."""
    body = taken.read()
    return unpack_task(taken.head, body) if target.wants_task else body


def _answer(worker: Worker, number: int, outcome: Outcome) -> None:
    try:
        sys.stdout.flush()
    except OutputError as error:
        outcome = OutputGone(str(error)) if isinstance(outcome, Done) else outcome
    except Exception:  # noqa: S110 - whatever the function has made of it
        pass
    worker.answer(number, outcome)


# One task at a time.


def _serve(worker: Worker, target: Target) -> None:
    while (taken := worker.wait_and_take()) is not None:
        try:
            outcome = _call(target.function, _argument(taken, target))
        except (OSError, MemoryError) as error:
            outcome = shortage(error)
        _answer(worker, taken.number, outcome)


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


def _serve_all(worker: Worker, target: Target, width: int, timeout: float | None) -> None:
    import asyncio

    async def serve(taken: Taken) -> None:
        try:
            argument = _argument(taken, target)
        except (OSError, MemoryError) as error:
            outcome: Outcome = shortage(error)
        else:
            outcome = await run(argument)
        _answer(worker, taken.number, outcome)

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
        loop = asyncio.get_running_loop()
        running: set[asyncio.Task[None]] = set()
        over = asyncio.Event()

        def take_tasks() -> None:
            while len(running) < width and (taken := take(worker.tasks)) is not None:
                serving = asyncio.ensure_future(serve(taken))
                running.add(serving)
                serving.add_done_callback(served)
            if len(running) < width:
                loop.add_reader(worker.tasks, take_tasks)
            else:
                loop.remove_reader(worker.tasks)

        def served(serving: asyncio.Task[None]) -> None:
            running.discard(serving)
            if serving.exception() is not None:  # nobody is there to hear the answer
                over.set()
            elif not over.is_set():
                take_tasks()

        def end() -> None:
            loop.remove_reader(worker.answers)
            loop.remove_reader(worker.tasks)
            over.set()

        # Nobody writes to the end of the answers: it becomes readable when the other end is closed.
        loop.add_reader(worker.answers, end)
        take_tasks()
        await over.wait()
        await asyncio.gather(*running, return_exceptions=True)

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
        if isinstance(error, OutputError):  # the worker's stdout is no fault of the task's
            return OutputGone(str(error))
        story = Story(error)
        line = story.line()
        if isinstance(error, Retry):
            delay: object = error.delay
            if delay is None or (isinstance(delay, int | float) and 0 <= delay <= LONGEST_DELAY):
                return Postponed(one_line(str(error.reason)) or "it asks for another attempt", delay=delay)
            line = f"Retry({delay!r}): no delay between 0 and {format_duration(LONGEST_DELAY)}{story.place()}"
        full = story.full()
        # One that is cancelled was mostly out of time, which is told by itself.
        if type(error).__name__ != "CancelledError":
            with suppress(Exception):
                print(full, end="", file=sys.stderr, flush=True)  # noqa: T201 - for whoever writes the function
        return Failed(line, detail="\n".join(full.splitlines()[-_DETAIL_LINES:])[-_DETAIL_CHARACTERS:])
    except Exception:
        return Failed(type(error).__qualname__)
