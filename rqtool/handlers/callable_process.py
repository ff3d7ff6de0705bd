"""The process in which a function of `--call` runs, started by rqtool.handlers.callable_processes.

A function that isn't async has one such process per job, an async one has one for all jobs, with one event loop. It
ends when its worker does, or has no more use for it, after the task at work.
"""

from __future__ import annotations

import atexit
import inspect
import json
import os
import select
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.handlers.callable_sockets import take
from rqtool.handlers.callable_target import Target, load
from rqtool.handlers.callable_wire import pack, pack_outcome, unpack_task
from rqtool.handlers.tracebacks import Story, one_line
from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.retry import LONGEST_DELAY
from rqtool.streams import OutputError, prepare_stderr, prepare_stdout_of_function
from rqtool.task import Reject, Retry

if TYPE_CHECKING:
    import asyncio

_DETAIL_LINES = 10
_DETAIL_CHARACTERS = 2000


def main() -> None:
    """Arguments: the target, the timeout of an async function, the jobs, the worker, our ends of the lines."""
    target, timeout, jobs, worker, *numbers = sys.argv[1:]
    del sys.argv[1:]
    tasks, answers = (socket.socket(fileno=int(number)) for number in numbers)
    for each in (tasks, answers):
        each.set_inheritable(False)
    # A fork of the function's must neither answer in its place nor hold the lines open after its end.
    os.register_at_fork(after_in_child=lambda: _close(tasks, answers))
    prepare_stdout_of_function()
    prepare_stderr()
    # Only now: what has a standard module's name there must not be taken for it by the imports above.
    with suppress(FileNotFoundError):
        sys.path.insert(0, os.getcwd())
    try:
        loaded = load(target)
    except UsageError as error:
        _flush()
        answers.sendall(pack(0, json.dumps({"what": error.what, "what_to_do": error.what_to_do}).encode()))
        return
    _flush()
    with suppress(OSError):
        answers.sendall(pack(0, json.dumps({"async": loaded.is_async, "task": loaded.wants_task}).encode()))
        serving = _Worker(int(worker), tasks, answers, loaded)
        if loaded.is_async:
            _serve_all(serving, int(jobs), None if timeout == "-" else float(timeout))
        else:
            _serve(serving)


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        each.close()


def _flush() -> None:
    with suppress(Exception):  # whatever the function has made of it
        sys.stdout.flush()


class _Worker:
    """The worker, as its function's process sees it."""

    def __init__(self, pid: int, tasks: socket.socket, answers: socket.socket, target: Target) -> None:
        self.tasks = tasks
        self.answers = answers
        self.function = target.function
        self._wants_task = target.wants_task
        self._pid = pid

    def take(self) -> tuple[int, object] | None:
        """Take a task: its number, and what the function gets of it. None where none is there."""
        # What a worker that has died had handed over belongs to others by now.
        while os.getppid() == self._pid and (taken := take(self.tasks)) is not None:
            try:
                head, body = taken.read()
            except OSError as error:
                self.answer(taken.number, Failed(str(error)))
            else:
                return taken.number, unpack_task(head, body) if self._wants_task else body
        return None

    def answer(self, number: int, outcome: Outcome) -> None:
        _flush()
        self.answers.sendall(pack(number, pack_outcome(outcome)))


# One task at a time.


def _serve(worker: _Worker) -> None:
    poll = select.poll()
    poll.register(worker.tasks, select.POLLIN)
    poll.register(worker.answers, select.POLLIN)
    while True:
        while (task := worker.take()) is not None:
            number, argument = task
            worker.answer(number, _call(worker.function, argument))
        # Nobody writes to the end of the answers: it becomes readable when the other end is closed.
        if any(descriptor == worker.answers.fileno() for descriptor, _ in poll.poll()):
            return


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


def _serve_all(worker: _Worker, jobs: int, timeout: float | None) -> None:
    import asyncio

    async def serve(number: int, argument: object) -> None:
        worker.answer(number, await run(argument))

    async def run(argument: object) -> Outcome:
        # A task of its own: a function that cancels itself must not cancel what answers for it.
        work = asyncio.ensure_future(_finish(partial(worker.function, argument)))
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

        def take() -> None:
            while len(running) < jobs and (task := worker.take()) is not None:
                serving = asyncio.ensure_future(serve(*task))
                running.add(serving)
                serving.add_done_callback(served)
            if len(running) < jobs:
                loop.add_reader(worker.tasks, take)
            else:
                loop.remove_reader(worker.tasks)

        def served(serving: asyncio.Task[None]) -> None:
            running.discard(serving)
            if serving.exception() is not None:  # nobody is there to hear the answer
                over.set()
            elif not over.is_set():
                take()

        def end() -> None:
            loop.remove_reader(worker.answers)
            loop.remove_reader(worker.tasks)
            over.set()

        # Nobody writes to the end of the answers: it becomes readable when the other end is closed.
        loop.add_reader(worker.answers, end)
        take()
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
            return CannotRun(f"The output can't be written: {error}")
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
