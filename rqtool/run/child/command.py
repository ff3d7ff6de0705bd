"""Runs commands in a runner process, each in a process group of its own: one loop that blocks as long as it likes.

The body is on stdin, as a file, so a command that never reads it blocks nothing, at any size. It also replaces
placeholders in the arguments. If the command's stdout is our own, its stderr is passed on to our own too; else both go
to the worker.
"""

from __future__ import annotations

import os
import select
import signal
import time
from contextlib import suppress
from math import inf
from mmap import mmap

from rqtool.output import Output
from rqtool.run.channel import Taken, file_with, take
from rqtool.run.child.command_process import PREFIX, CommandProcess, ignore_ends, judge_start, spawn, variables_of
from rqtool.run.child.outlet import Outlet, TaskOutput
from rqtool.run.child.streams import Stream, Streams
from rqtool.run.child.unwritable import why_unwritable
from rqtool.run.child.worker import Worker
from rqtool.run.encoding import Answer, Spec, unpack_task
from rqtool.run.outcome import Outcome, OutputGone, judge_exit, timed_out
from rqtool.run.placeholders import Template
from rqtool.run.process_group import KILL_AFTER, groups_of, signal_groups

END_OF_STDERR = 0.2
"""Seconds that stderr may stay open after a command failed: processes that it left behind may hold it forever."""
_LOOK = 0.02
"""Seconds between two checks of a process group that should end."""
_LONGEST_POLL = 86_400.0
"""Seconds; poll() takes 24 days at most."""


class Commands:
    """A command for each task that comes, at most `width` at once. `groups`: memory shared with the worker that holds
    the process group of each, so that the worker can kill what is left if the runner itself is killed.
    """

    def __init__(self, worker: Worker, spec: Spec, groups: mmap) -> None:
        self._worker = worker
        self._program = spec.what[0]
        self._template = Template(spec.what, spec.placeholder)
        self._spec = spec
        self._groups = memoryview(groups).cast("i")
        self._free = list(range(spec.width))
        self._running: set[CommandProcess] = set()
        """The commands that have not been answered for."""
        self._by_pid: dict[int, CommandProcess] = {}
        self._deadlines: dict[CommandProcess, float] = {}
        """When a command needs attention even if nothing happens."""
        self._unanswered = False  # whether output of an ended command had no room
        worker.outputs.setblocking(False)
        self._stderr, self._outlet = Output(2), Outlet(worker.outputs, spec)
        self._is_direct = spec.output == "direct"
        # A worker that is itself a command has the variables of its own task, which don't describe ours.
        self._environment = {n: value for n, value in os.environb.items() if not n.startswith(PREFIX)}
        self._poll = select.poll()
        self._streams = Streams[CommandProcess](self._poll, self._stderr if self._is_direct else self._outlet)
        self._wakeups, writer = os.pipe()
        os.set_blocking(self._wakeups, False)
        os.set_blocking(writer, False)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        # SIG_IGN, which may be inherited, would have the system forget exit codes; SIG_DFL would not wake us.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._default = [signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, *ignore_ends()]
        self._is_taking = False

    def serve(self) -> None:
        """Serve until the worker is gone or wants no more. Leaves nothing running."""
        at_once = True
        try:
            at_once = self._serve()
        except BrokenPipeError:
            at_once = False
        finally:
            self._end_all(at_once=at_once)

    def _serve(self) -> bool:
        """Returns whether the running commands should end at once."""
        answers, lifeline = self._worker.answers.fileno(), self._worker.lifeline
        for descriptor in (self._wakeups, answers, lifeline):
            self._poll.register(descriptor, select.POLLIN)
        self._worker.hello()
        while True:
            self._take_tasks()
            some_have_ended = False
            for descriptor, _ in self._poll.poll(self._milliseconds_left() if self._deadlines else None):
                if (read := self._streams.get(descriptor)) is not None:
                    if self._streams.have_room:
                        self._read(*read)
                elif descriptor == self._wakeups:
                    some_have_ended = True  # handled when all their earlier output has been read
                elif descriptor == lifeline:
                    return bool(os.read(descriptor, 1))
                elif descriptor == answers:
                    if not self._running:
                        return True
                    self._poll.unregister(descriptor)
            if some_have_ended:
                self._reap()
            if self._deadlines:
                self._meet_deadlines()
            self._go_on()

    def _go_on(self) -> None:
        """Write the output that had no room, and answer for the commands that wrote it."""
        while self._unanswered or not (self._streams.are_read and self._streams.have_room):
            self._streams.go_on()
            if not (self._unanswered and self._streams.have_room):
                return
            self._unanswered = False
            for command in list(self._running):
                self._finish(command)

    # Tasks in, answers out.

    def _take_tasks(self) -> None:
        while self._free and self._streams.are_read:
            taken = take(self._worker.tasks)
            if taken is None:
                break
            outcome = self._start(taken)
            taken.drop()
            if outcome is not None:
                self._worker.answer(taken.number, Answer(outcome))
        wants = bool(self._free) and self._streams.are_read
        if wants is not self._is_taking:
            self._is_taking = wants
            if wants:
                self._poll.register(self._worker.tasks, select.POLLIN)
            else:
                self._poll.unregister(self._worker.tasks)

    def _start(self, taken: Taken) -> Outcome | None:
        """Start the command of a task. Returns an outcome if it could not be started."""
        try:
            taken.check()
            body = taken.body
            if taken.file is not None and self._template.takes_body:
                body = os.pread(taken.file, os.fstat(taken.file).st_size, 0)
            arguments = self._template.fill(body)
            if taken.file is None:
                taken.file = file_with(taken.body)
            environment = self._environment | variables_of(unpack_task(taken.head, b""))
            numbers, output = ((2,), None) if self._is_direct else ((1, 2), self._outlet.of_task(taken))
            pid, streams = spawn(arguments, environment, stdin=taken.file, streams=numbers, defaults=self._default)
        except (OSError, ValueError, MemoryError) as error:
            return judge_start(self._program, error)
        command = CommandProcess(taken.number, self._free.pop(), pid, streams, output)
        self._groups[command.slot] = pid
        if self._spec.timeout is not None:
            self._deadlines[command] = time.monotonic() + self._spec.timeout
        self._running.add(command)
        self._by_pid[pid] = command
        for stream in streams:
            self._streams.add(command, stream)
        return None

    def _answer(self, command: CommandProcess, outcome: Outcome) -> None:
        self._deadlines.pop(command, None)
        self._running.discard(command)
        self._free.append(command.slot)
        output = command.output
        answer = Answer(outcome) if output is None else Answer(outcome, output.last, output.written)
        self._worker.answer(command.number, answer)

    # The commands.

    def _read(self, command: CommandProcess, stream: Stream) -> None:
        """Pass on output as long as any process holds the pipe, so that processes left behind get no SIGPIPE."""
        data = stream.read()
        if not data:
            self._streams.close(stream)
            self._finish(command)
            return
        if stream.number == 2:
            command.wrote(data)
        if command.output is None:
            with suppress(OSError):  # trouble with our own stderr is not the task's
                self._stderr.write(data)
            return
        command.output.write(stream.number, data)
        if command.output.trouble:
            for each in command.streams:
                if each.number == 1 and each.is_open:  # a SIGPIPE, as it would get without rqtool
                    self._streams.close(each)

    def _reap(self) -> None:
        """Find the commands that have ended, and answer for those whose output is complete."""
        os.read(self._wakeups, 4096)
        while self._by_pid:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            command = self._by_pid.pop(pid)
            command.code = os.waitstatus_to_exitcode(status)
            if command.kill_at is None:
                self._deadlines[command] = time.monotonic() + END_OF_STDERR
                # From here on, the number can be reused unless the group has other members.
                self._groups[command.slot] = 0
                self._finish(command)

    def _finish(self, command: CommandProcess) -> None:
        """Answer for a command that has ended, unless more of its output is still to come."""
        code = command.code
        if code is None or command.kill_at is not None:
            return
        if command not in self._running:
            if command.output is not None:
                command.output.end()  # of processes that it left behind
            return
        if code and command.stderr.is_open and time.monotonic() < self._deadlines.get(command, 0.0):
            return
        if command.output is not None and not self._is_on_its_way(command, command.output):
            self._deadlines.pop(command, None)  # nothing to do before there is room
            self._unanswered = True
            return
        self._answer(command, self._judge(command, code))

    def _is_on_its_way(self, command: CommandProcess, output: TaskOutput) -> bool:
        """Pass on all output of a command that has ended. Returns whether it is on its way."""
        for stream in command.streams:
            stream.measure()
            while stream.due and self._streams.have_room:
                self._read(command, stream)
            if stream.due:
                return False
        output.end()
        return output.is_on_its_way

    def _judge(self, command: CommandProcess, code: int) -> Outcome:
        if command.groups:
            return timed_out(self._spec.timeout or 0.0, command.last_lines(), code)
        if command.output is not None and command.output.trouble:
            return command.output.trouble
        if code and self._is_direct and (why := why_unwritable(1)):
            return OutputGone(why)
        return judge_exit(self._program, code, command.last_lines() if code else "")

    # Their time.

    def _milliseconds_left(self) -> int:
        left = min(self._deadlines.values()) - time.monotonic()
        return int(min(max(left, 0.0), _LONGEST_POLL) * 1000) + 1

    def _meet_deadlines(self) -> None:
        now = time.monotonic()
        late: dict[int, CommandProcess] = {}
        for command, deadline in list(self._deadlines.items()):
            if now < deadline:
                continue
            if command.kill_at is not None:
                self._see_it_end(command, now)
            elif command.code is not None:
                self._finish(command)
            else:
                late[command.pid] = command
        for pid, groups in groups_of(late).items():
            late[pid].groups, late[pid].kill_at = groups, now + KILL_AFTER
            signal_groups(groups, signal.SIGTERM)
            self._deadlines[late[pid]] = now + _LOOK

    def _see_it_end(self, command: CommandProcess, now: float) -> None:
        """Wait for all that a command whose time is up has started, and finally kill what is left of it."""
        if now >= (command.kill_at or 0.0):
            signal_groups(command.groups, signal.SIGKILL)
            command.kill_at = inf
        self._deadlines[command] = now + _LOOK
        if command.code is not None and (command.kill_at == inf or not signal_groups(command.groups, 0)):
            self._groups[command.slot] = 0
            self._deadlines[command], command.kill_at = now, None
            self._finish(command)

    # The end.

    def _end_all(self, *, at_once: bool) -> None:
        """End what runs: its tasks go to other workers."""
        pids = [command.pid for command in self._running]
        groups = set[int]().union(*groups_of(pids).values())
        if not at_once:
            signal_groups(groups, signal.SIGTERM)
            deadline = time.monotonic() + KILL_AFTER
            while self._are_left(groups) and time.monotonic() < deadline:
                time.sleep(_LOOK)
        signal_groups(groups, signal.SIGKILL)

    def _are_left(self, groups: set[int]) -> bool:
        """Whether any process is left in them."""
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        return signal_groups(groups, 0)
