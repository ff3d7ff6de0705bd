"""Starts and ends the processes of a function. Everything here can block, and runs in threads; `kill` runs anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import rqtool
from rqtool.errors import UsageError
from rqtool.handlers.callable_child import Child
from rqtool.handlers.callable_sockets import Sockets
from rqtool.handlers.callable_target import split
from rqtool.handlers.processes import KILL_AFTER, notice_ends
from rqtool.ports import poll

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


class Processes:
    """Processes that call `target`, an async one for at most `timeout` seconds a task and `jobs` tasks at once."""

    def __init__(self, target: str, *, jobs: int, stdout: int | None, timeout: float | None) -> None:
        self._target = target
        self._jobs = jobs
        self._stdout = stdout
        self._timeout = timeout
        self._lock = threading.Lock()
        self._children: set[Child] = set()
        self.killed = False
        notice_ends()

    def start(self) -> Child:
        """Start a process and let it import the function: no limit to the time that this takes, but `kill`.

        Raises UsageError.
        """
        module, _ = split(self._target)
        try:
            child = self._spawn()
        except OSError as error:
            raise UsageError(
                f"--call {self._target}: its process can't be started: {error.strerror}",
                "Take fewer --jobs, or allow more open files and processes (ulimit)",
            ) from error
        try:
            hello = child.hello()
        except (EOFError, OSError) as error:
            self.bury(child)
            raise UsageError(
                f"--call {self._target}: the process that was importing {module} {child.how_it_ended()}"
            ) from error
        if "what" in hello:
            self.bury(child)
            raise UsageError(**hello)
        child.is_async, child.wants_task, child.is_ready = hello["async"], hello["task"], True
        return child

    def time_out(self, child: Child) -> None:
        """End a process that does not end its task. An async one has had its KILL_AFTER by now."""
        if not child.is_async:
            self._signal(child, signal.SIGTERM)
            # What it has started may need as long. The number is that of a group now, for as long as this has members.
            if poll(lambda: child.process.poll() is not None and not child.signal(0), KILL_AFTER):
                self.bury(child)
                return
        self._signal(child, signal.SIGKILL)
        self.bury(child)

    def bury(self, child: Child, seconds: float = 1.0) -> None:
        """See a process to its end, which is near: it has told so, or nobody talks to it any more."""
        child.retire()
        poll(child.ended, seconds)
        with self._lock:
            if not child.ended():
                child.signal(signal.SIGKILL)
            # From here on nobody signals it, and its number can become somebody else's.
            self._children.discard(child)
        child.process.wait()

    def kill(self) -> None:
        with self._lock:
            self.killed = True
            for child in self._children:
                child.signal(signal.SIGKILL)

    def end(self) -> None:
        """Have all end by themselves; after CLOSE_SECONDS they are killed."""
        with self._lock:
            self.killed = True
            children = list(self._children)
        for child in children:
            if child.is_ready:
                child.retire()
            else:
                self._signal(child, signal.SIGKILL)  # another thread listens to it
        poll(lambda: all(child.ended() for child in children), CLOSE_SECONDS)
        for child in children:
            self.bury(child, 0)

    def _spawn(self) -> Child:
        flags = ["-P", *["-E"] * sys.flags.ignore_environment, *["-s"] * sys.flags.no_user_site]
        timeout = "-" if self._timeout is None else repr(self._timeout)
        root = str(Path(rqtool.__file__).parents[1])
        sockets = Sockets()
        arguments = [root, self._target, timeout, str(self._jobs), str(os.getpid()), *map(str, sockets.numbers)]
        try:
            return self._popen([sys.executable, *flags, "-c", _START, *arguments], sockets)
        except BaseException:
            sockets.close()
            raise

    def _popen(self, command: list[str], sockets: Sockets) -> Child:
        with self._lock:
            if self.killed:
                raise UsageError(f"--call {self._target}: killed")
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._stdout, pass_fds=sockets.numbers, process_group=0
            )
            child = Child(process, sockets)
            self._children.add(child)
            return child

    def _signal(self, child: Child, number: int) -> None:
        with self._lock:
            if child in self._children:
                child.signal(number)
