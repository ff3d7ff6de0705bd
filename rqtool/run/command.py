"""Runs commands in a runner process, each in a process group of its own: one loop that blocks for as long as it likes.

The body is on stdin, as a file: a command that never reads it blocks nobody, whatever its size. An argument `{}` is
replaced by the body. What the command writes to stderr is passed on to our own.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from mmap import mmap

from rqtool.durations import format_duration
from rqtool.output import Output, reader_is_gone
from rqtool.run.channel import Taken, take
from rqtool.run.child import Worker
from rqtool.run.encoding import Spec
from rqtool.run.metadata import PREFIX, metadata_of
from rqtool.run.outcome import Failed, Outcome, OutputGone
from rqtool.run.running_command import RunningCommand
from rqtool.run.signals import KILL_AFTER
from rqtool.run.spawn import file_with, spawn
from rqtool.run.verdict import ended, not_started

END_OF_STDERR = 0.2
"""Seconds that stderr may stay open behind a command that failed: what it left running may hold it for ever."""
_LOOK = 0.02
"""Seconds between two looks at a process group whose leader has ended."""
_LONGEST_POLL = 86_400.0
"""Seconds; poll() takes 24 days at most."""


def serve_commands(worker: Worker, spec: Spec, groups: int) -> None:
    """Run a command for each task that comes. `groups`: a file of memory that is shared with the worker."""
    with mmap(groups, spec.width * 4) as shared:
        os.close(groups)
        Commands(worker, spec, shared).serve()


class Commands:
    """At most `width` commands at once. A command's group is noted in `groups`, so that the worker can kill what a
    runner leaves that was itself killed.
    """

    def __init__(self, worker: Worker, spec: Spec, groups: mmap) -> None:
        self._worker = worker
        self._program = spec.what[0]
        self._command = [os.fsencode(argument) for argument in spec.what]
        self._timeout = spec.timeout
        self._groups = memoryview(groups).cast("i")
        self._free = list(range(spec.width))
        self._running: list[RunningCommand] = []
        self._by_stderr: dict[int, RunningCommand] = {}
        self._stderr = Output(2)
        # A worker that is itself a command has metadata of its own task, which say nothing of ours.
        self._environment = {n: value for n, value in os.environb.items() if not n.startswith(PREFIX)}
        self._poll = select.poll()
        self._ended, writer = os.pipe()
        os.set_blocking(self._ended, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        # SIG_IGN, which may be inherited, would have the system forget exit codes; SIG_DFL tells us nothing.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._default = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD]
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGTTOU):
            # The worker alone decides when we end; a service manager signals all that it finds. And a terminal may stop
            # whoever writes to it in the background (stty tostop), where we are.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._default.append(number)
                signal.signal(number, signal.SIG_IGN)
        self._is_taking = False
        self._is_reading = True

    def serve(self) -> None:
        """Serve until the worker is gone, or wants no more. Nothing is left running."""
        at_once = True
        try:
            at_once = self._serve()
        except BrokenPipeError:
            at_once = False
        finally:
            self._end_all(at_once=at_once)

    def _serve(self) -> bool:
        """Returns whether what still runs is to end at once."""
        for descriptor in (self._ended, self._worker.answers.fileno(), self._worker.lifeline):
            self._poll.register(descriptor, select.POLLIN)
        self._worker.hello()
        while True:
            self._take_tasks()
            one_has_ended = False
            for descriptor, _ in self._poll.poll(self._milliseconds_left()):
                if descriptor in self._by_stderr:
                    self._read(self._by_stderr[descriptor])
                elif descriptor == self._ended:
                    one_has_ended = True  # seen to when all that it wrote before has been read
                elif descriptor == self._worker.lifeline:
                    return bool(os.read(descriptor, 1))
                elif descriptor == self._worker.answers.fileno():
                    if not self._running:
                        return True
                    self._poll.unregister(descriptor)
            if one_has_ended:
                self._reap()
            self._mind_the_time()
            self._pass_on()

    # Tasks in, answers out.

    def _take_tasks(self) -> None:
        while self._free and self._is_reading:
            taken = take(self._worker.tasks)
            if taken is None:
                break
            outcome = self._start(taken)
            taken.drop()
            if outcome is not None:
                self._worker.answer(taken.number, outcome)
        wants = bool(self._free) and self._is_reading
        if wants is not self._is_taking:
            self._is_taking = wants
            if wants:
                self._poll.register(self._worker.tasks, select.POLLIN)
            else:
                self._poll.unregister(self._worker.tasks)

    def _start(self, taken: Taken) -> Outcome | None:
        """Start the command of a task. An outcome: it could not be started."""
        try:
            taken.check()
            body = taken.body
            if taken.file is not None and b"{}" in self._command:
                body = os.pread(taken.file, os.fstat(taken.file).st_size, 0)
            arguments = [body if argument == b"{}" else argument for argument in self._command]
            stdin = file_with(taken.body) if taken.file is None else taken.file
            taken.file = stdin  # closed with it
            environment = self._environment | metadata_of(taken.head)
            pid, stderr = spawn(arguments, environment, stdin=stdin, defaults=self._default)
        except (OSError, ValueError, MemoryError) as error:
            return not_started(self._program, error)
        end_at = None if self._timeout is None else time.monotonic() + self._timeout
        command = RunningCommand(taken.number, self._free.pop(), pid, stderr, end_at)
        self._groups[command.slot] = pid
        self._running.append(command)
        self._by_stderr[stderr] = command
        self._poll.register(stderr, select.POLLIN)
        return None

    def _answer(self, command: RunningCommand, outcome: Outcome) -> None:
        command.answered = True
        self._running.remove(command)
        self._free.append(command.slot)
        self._worker.answer(command.number, outcome)

    # The commands.

    def _read(self, command: RunningCommand) -> None:
        """Pass on what comes, for as long as anybody holds the pipe: what a command left behind gets no SIGPIPE."""
        descriptor = command.stderr
        if descriptor is None:
            return
        data = os.read(descriptor, 65536)
        if data:
            command.said(data)
            with suppress(OSError):  # whatever is wrong with our own stderr is no business of the task's
                self._stderr.write(data)
        else:
            self._poll.unregister(descriptor)
            del self._by_stderr[descriptor]
            os.close(descriptor)
            command.stderr = None
            self._finish(command)

    def _reap(self) -> None:
        """Look which commands have ended, and answer for those whose end is known in full."""
        os.read(self._ended, 4096)
        for command in list(self._running):
            if command.code is None:
                pid, status = os.waitpid(command.pid, os.WNOHANG)
                if not pid:
                    continue
                command.code = os.waitstatus_to_exitcode(status)
                if not command.timed_out:
                    command.end_at = time.monotonic() + END_OF_STDERR
                    # From here on the number can become somebody else's, unless the group has other members.
                    self._groups[command.slot] = 0
            self._finish(command)

    def _finish(self, command: RunningCommand) -> None:
        """Answer for a command that has ended, unless something of it is still to come."""
        if command.code is None or command.timed_out or command.answered:
            return
        if command.stderr is not None and command.code and time.monotonic() < (command.end_at or 0.0):
            return
        if command.code and reader_is_gone(1):
            outcome: Outcome = OutputGone("its reader is gone")
        else:
            outcome = ended(self._program, command.code, command.last_lines())
        self._answer(command, outcome)

    # The time.

    def _milliseconds_left(self) -> int | None:
        """Until something is to be done though nothing happens. None: nothing is."""
        times = [command.end_at for command in self._running if command.end_at is not None]
        if any(command.timed_out for command in self._running):
            times.append(time.monotonic() + _LOOK)
        return int(min(max(min(times) - time.monotonic(), 0.0), _LONGEST_POLL) * 1000) + 1 if times else None

    def _mind_the_time(self) -> None:
        now = time.monotonic()
        for command in list(self._running):
            if command.timed_out:
                self._see_to_the_end(command, now)
            elif command.end_at is not None and now >= command.end_at:
                if command.code is not None:
                    self._finish(command)
                else:
                    command.timed_out, command.end_at, command.kill_at = True, None, now + KILL_AFTER
                    command.signal_group(signal.SIGTERM)

    def _see_to_the_end(self, command: RunningCommand, now: float) -> None:
        """Wait for the whole group of a command whose time is up, and kill what is left of it in the end."""
        if command.kill_at is not None and now >= command.kill_at:
            command.signal_group(signal.SIGKILL)
            command.kill_at = None
        if command.code is not None and (command.kill_at is None or not command.signal_group(0)):
            self._groups[command.slot] = 0
            why = f"timed out after {format_duration(self._timeout or 0.0)}"
            self._answer(command, Failed(why, command.last_lines(), command.code))

    # Our own stderr, which nobody may be reading.

    def _pass_on(self) -> None:
        """While our stderr takes nothing, nothing more is read, and no command is started."""
        if self._stderr.is_waiting:
            with suppress(OSError):
                self._stderr.flush()
        reads = not self._stderr.is_waiting
        if reads is self._is_reading:
            return
        self._is_reading = reads
        for descriptor in self._by_stderr:
            if reads:
                self._poll.register(descriptor, select.POLLIN)
            else:
                self._poll.unregister(descriptor)
        if reads:
            self._poll.unregister(self._stderr)
        else:
            self._poll.register(self._stderr, select.POLLOUT)

    # The end.

    def _end_all(self, *, at_once: bool) -> None:
        """End what runs: its tasks are somebody else's by now."""
        if not at_once:
            self._signal_all(signal.SIGTERM)
            deadline = time.monotonic() + KILL_AFTER
            while self._signal_all(0) and time.monotonic() < deadline:
                time.sleep(_LOOK)
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> bool:
        """Returns whether anybody is left."""
        for command in self._running:
            with suppress(ChildProcessError):
                os.waitpid(command.pid, os.WNOHANG)
        left = [command.signal_group(number) for command in self._running]
        return any(left)
