"""Runs a Python function for each task, in processes of its own.

Beside the worker a function can hold the interpreter, crash it, or hang, without costing it its heartbeats or its life.
What is said to those processes is in rqtool.handlers.callable_wire, what they do in rqtool.handlers.callable_process.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import rqtool
from rqtool.durations import format_duration
from rqtool.errors import UsageError
from rqtool.handlers.callable_child import Child, NotBegunError
from rqtool.handlers.callable_target import split
from rqtool.handlers.callable_wire import frames, pack_metadata, unpack_outcome
from rqtool.handlers.processes import KILL_AFTER, notice_ends
from rqtool.outcomes import CannotRun, Done, Failed, Outcome
from rqtool.ports import poll
from rqtool.task import Task

_START = """\
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
spec = PathFinder.find_spec("rqtool", [sys.argv.pop(1)])
sys.modules["rqtool"] = package = module_from_spec(spec)
spec.loader.exec_module(package)
from rqtool.handlers.callable_process import main
main()
"""
"""Takes the very rqtool that runs here, however that was found, without changing where anything else is found."""
CLOSE_SECONDS = 2.0
"""How long the processes may take to end by themselves."""


class Function:
    """Calls `MODULE:FUNCTION` with each task, for at most `timeout` seconds.

    A function that isn't async has a process per job, an async one has one for all.
    """

    def __init__(self, target: str, *, jobs: int, stdout: int | None = None, timeout: float | None = None) -> None:
        self._target = self.runs = target
        self._jobs = jobs
        self._stdout = stdout
        self._timeout = timeout
        self._idle = list(reversed(range(jobs)))
        self._own: list[Child | None] = [None] * jobs
        self._shared: Child | None = None
        self._sharing = threading.Lock()
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self._killed = False
        notice_ends()

    def open(self) -> None:
        """Import the function, in its first process. There is no limit to the time that this takes, but `kill`."""
        split(self._target)
        child = self._start(range(self._jobs))
        if child.is_async:
            self._shared = child
        else:
            child.keep_only(0)
            self._own[0] = child

    def run(self, task: Task) -> Outcome:
        slot = self._idle.pop()
        try:
            return self._run(slot, task)
        finally:
            self._idle.append(slot)

    def kill(self) -> None:
        with self._lock:
            self._killed = True
            for child in self._children:
                child.signal(signal.SIGKILL)

    def close(self) -> None:
        with self._lock:
            self._killed = True
            children = list(self._children)
        for child in children:
            child.retire()
        poll(lambda: all(child.ended() for child in children), CLOSE_SECONDS)
        for child in children:
            self._bury(child, 0)

    def _run(self, slot: int, task: Task) -> Outcome:
        outcome = self._attempt(slot, task)
        # A process that ended while it was idle has cost no task an attempt. A new one that can't take a task has.
        outcome = outcome or self._attempt(slot, task) or Failed("the process of the function did not take the task")
        return Failed("killed") if self._killed and not isinstance(outcome, Done) else outcome

    def _attempt(self, slot: int, task: Task) -> Outcome | None:
        """None: the process had ended before the function began."""
        try:
            child = self._child(slot)
        except UsageError as error:
            return CannotRun(str(error))
        metadata = pack_metadata(task) if child.wants_task else b""
        try:
            return unpack_outcome(child.exchange(slot, *frames(metadata, task.body)))
        except TimeoutError:
            self._time_out(child)
            return Failed(f"timed out after {format_duration(self._timeout or 0)}")
        except NotBegunError:
            self._bury(child)
            return None
        except (EOFError, OSError):
            self._bury(child)
            why = child.ended_because or f"the process of the function {child.how_it_ended()}"
            return Failed(why, exit_code=child.process.returncode)

    # The processes.

    def _child(self, slot: int) -> Child:
        """Return the slot's process, a new one where it is needed. Raises UsageError where there can't be one."""
        if self._shared is None:
            child = self._own[slot]
            if child is None or child.retired:
                child = self._own[slot] = self._start([slot])
            return child
        with self._sharing:
            if self._shared.retired:
                child = self._start(range(self._jobs))
                if not child.is_async:
                    self._bury(child, 0)
                    raise UsageError(f"--call {self._target}: it was async and no longer is", "Start the worker again")
                self._shared = child
            return self._shared

    def _start(self, slots: Sequence[int]) -> Child:
        """Start a process and let it import the function. Raises UsageError."""
        try:
            child = self._spawn(slots)
        except OSError as error:
            raise UsageError(
                f"--call {self._target}: its process can't be started: {error.strerror}",
                "Take fewer --jobs, or allow more open files and processes (ulimit)",
            ) from error
        try:
            hello = json.loads(child.exchange(slots[0]))
        except (NotBegunError, EOFError, OSError) as error:
            self._bury(child)
            module, _ = split(self._target)
            raise UsageError(
                f"--call {self._target}: the process that was importing {module} {child.how_it_ended()}"
            ) from error
        if "what" in hello:
            self._bury(child)
            raise UsageError(**hello)
        child.is_async, child.wants_task = hello["async"], hello["task"]
        if self._timeout is not None:
            # An async function is cancelled in its process, and answers.
            child.limit(self._timeout + KILL_AFTER if child.is_async else self._timeout)
        return child

    def _spawn(self, slots: Sequence[int]) -> Child:
        flags = ["-P", *["-E"] * sys.flags.ignore_environment, *["-s"] * sys.flags.no_user_site]
        timeout = "-" if self._timeout is None else repr(self._timeout)
        with ExitStack() as on_failure, ExitStack() as theirs:
            channels: dict[int, socket.socket] = {}
            numbers: list[int] = []
            for slot in slots:
                channels[slot], their = socket.socketpair()
                on_failure.enter_context(channels[slot])
                numbers.append(theirs.enter_context(their).fileno())
            root = str(Path(rqtool.__file__).parents[1])
            with self._lock:
                if self._killed:
                    raise UsageError(f"--call {self._target}: killed")
                process = subprocess.Popen(
                    [sys.executable, *flags, "-c", _START, root, self._target, timeout, *map(str, numbers)],
                    stdin=subprocess.DEVNULL,
                    stdout=self._stdout,
                    pass_fds=numbers,
                    process_group=0,
                )
                child = Child(process, channels)
                self._children.add(child)
            on_failure.pop_all()
            return child

    def _time_out(self, child: Child) -> None:
        """End a process that does not end its task. An async one has had its KILL_AFTER by now."""
        child.ended_because = "it shared its process with a task that did not end when its time was up"
        child.retire()
        if not child.is_async:
            self._signal(child, signal.SIGTERM)
            # What it has started may need as long. The number is that of a group now, for as long as this has members.
            if poll(lambda: child.process.poll() is not None and not child.signal(0), KILL_AFTER):
                self._bury(child)
                return
        self._signal(child, signal.SIGKILL)
        self._bury(child)

    def _signal(self, child: Child, number: int) -> None:
        with self._lock:
            if child in self._children:
                child.signal(number)

    def _bury(self, child: Child, seconds: float = 1.0) -> None:
        """See a process to its end, which is near: its sockets are closed, at one side or the other."""
        child.retire()
        poll(child.ended, seconds)
        with self._lock:
            if not child.ended():
                child.signal(signal.SIGKILL)
            # From here on nobody signals it, and its number can become somebody else's.
            self._children.discard(child)
        child.process.wait()
