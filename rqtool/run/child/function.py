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

from rqtool.errors import UsageError
from rqtool.output import OutputError, Unbuffered, open_for_function
from rqtool.run.channel import Taken, take
from rqtool.run.child.coroutine_time import Timed
from rqtool.run.child.exception import judge_exception
from rqtool.run.child.outlet import Outlet, TaskOutput
from rqtool.run.child.worker import Worker
from rqtool.run.encoding import Answer, Spec, unpack_task
from rqtool.run.outcome import Done, Failed, Outcome, OutputGone, shortage, timed_out
from rqtool.run.target import Target, load

if TYPE_CHECKING:
    import asyncio
    from mmap import mmap

    from rqtool.run.child.function_output import FunctionOutput


def serve_function(worker: Worker, spec: Spec, shared: mmap) -> None:
    """Call the function with each task that comes: `width` at once where it is async, else one after the other.
    `shared`: memory where the worker sees which task of an async one is in a step.
    """
    os.register_at_fork(after_in_child=worker.close)  # a fork must neither answer for us nor keep the sockets open
    worker.die_with_it()
    captured = _prepare_output(worker, spec)
    # Only now: a file there that has a standard module's name must not shadow it for the imports above.
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
        Timed.note_in(shared)
        _serve_all(worker, loaded, spec, captured)
    else:
        shared.close()
        _serve(worker, loaded, captured)


def _prepare_output(worker: Worker, spec: Spec) -> FunctionOutput | None:
    if spec.output == "direct":
        worker.outputs.close()
        open_for_function(_our_own)
        return None
    from rqtool.run.child.function_output import FunctionOutput

    return FunctionOutput(Outlet(worker.outputs, spec))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # the function can have replaced it
            stream.flush()


def _argument(taken: Taken, target: Target) -> object:
    """Return what the function gets of a task. Raises OSError."""
    body = taken.read()
    return unpack_task(taken.head, body) if target.wants_task else body


def _begin(taken: Taken, captured: FunctionOutput | None, *, is_async: bool) -> TaskOutput | None:
    """Return where a task writes, None for our own streams. Reopens streams that an earlier task has closed."""
    if captured is not None:
        return captured.begin(taken, is_async=is_async)
    open_for_function(_our_own)
    return None


def _our_own(number: int) -> Unbuffered:
    return Unbuffered(number, ignore_errors=number == 2)


def _answer(worker: Worker, number: int, outcome: Outcome, output: TaskOutput | None) -> None:
    if output is not None:
        if output.trouble and isinstance(outcome, Done | OutputGone):
            outcome = output.trouble
        worker.answer(number, Answer(outcome, output.last, output.written))
        return
    with suppress(Exception):  # the function can have replaced it
        sys.stderr.flush()
    try:
        sys.stdout.flush()
    except OutputError as error:
        outcome = OutputGone(str(error)) if isinstance(outcome, Done) else outcome
    except Exception:  # noqa: S110 - the function can have replaced it
        pass
    worker.answer(number, Answer(outcome))


# One task at a time.


def _serve(worker: Worker, target: Target, captured: FunctionOutput | None) -> None:
    while (taken := worker.wait_and_take()) is not None:
        output = _begin(taken, captured, is_async=False)
        try:
            outcome = _call(target.function, _argument(taken, target))
        except (OSError, MemoryError) as error:
            outcome = shortage(error)
        if captured is not None and output is not None:
            captured.end(output)
        _answer(worker, taken.number, outcome, output)


def _call(function: Callable[[Any], Any], argument: object) -> Outcome:
    try:
        result = function(argument)
        if result is not None and inspect.isawaitable(result):
            return _runner().run(_finish(lambda: result))
    except BaseException as error:  # sys.exit() too ends the task, not the process
        return judge_exception(error)
    return Done()


@cache
def _runner() -> asyncio.Runner:
    """One event loop for all tasks, as they may share what belongs to it."""
    import asyncio

    runner = asyncio.Runner()
    atexit.register(runner.close)
    return runner


# All jobs at once.


def _serve_all(worker: Worker, target: Target, spec: Spec, captured: FunctionOutput | None) -> None:
    import asyncio

    width, timeout = spec.width, spec.timeout

    async def serve(taken: Taken) -> None:
        output = _begin(taken, captured, is_async=True)
        try:
            argument = _argument(taken, target)
        except (OSError, MemoryError) as error:
            outcome: Outcome = shortage(error)
        else:
            outcome = await run(argument, taken.number)
        if captured is not None and output is not None:
            captured.end(output)
        _answer(worker, taken.number, outcome, output)

    async def run(argument: object, number: int) -> Outcome:
        timed = Timed(partial(_finish, partial(target.function, argument)), timeout, number)
        # An asyncio task of its own: a function that cancels itself must not cancel the code that answers for it.
        work = asyncio.ensure_future(timed)
        while not work.done() and timed.left > 0.0:
            await asyncio.wait({work}, timeout=timeout and timed.left)
        is_late = timed.is_late or not work.done()
        if not work.done():
            work.cancel()
            await asyncio.wait({work})
        # A function that has cancelled itself and still ended normally has no result.
        outcome = Failed("CancelledError") if work.cancelled() else work.result()
        if is_late and timeout is not None:
            return timed_out(timeout, getattr(outcome, "detail", ""))
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
            if serving.exception() is not None:  # the worker is gone
                over.set()
            elif not over.is_set():
                take_tasks()

        def end() -> None:
            loop.remove_reader(worker.answers)
            loop.remove_reader(worker.tasks)
            over.set()

        # The worker writes no answers: our end becomes readable when the worker closes its own.
        loop.add_reader(worker.answers, end)
        take_tasks()
        await over.wait()
        await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(serve_all())


async def _finish(start: Callable[[], Awaitable[object]]) -> Outcome:
    try:
        await start()
    except BaseException as error:  # asyncio would let sys.exit() end the loop
        return judge_exception(error)
    return Done()
