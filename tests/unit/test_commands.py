"""Real commands: what they get, how they end, and what is seen of them."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.errors import UsageError
from rqtool.handlers import processes
from rqtool.handlers.commands import Command
from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.ports import poll
from rqtool.task import Task

TASK = Task(body=b"task...", queue="q", message_id="id 1", attempt=1, redelivered=False)
SECONDS = 10.0


def _sh(script: str, *arguments: str) -> list[str]:
    return ["sh", "-c", script, "sh", *arguments]


def _run(command: Sequence[str], task: Task = TASK) -> Outcome:
    return Command(command).run(task)


def _output(command: Sequence[str], task: Task = TASK) -> bytes:
    """What the command writes to stdout."""
    with tempfile.TemporaryFile() as stdout:
        assert Command(command, stdout=stdout.fileno()).run(task) == Done()
        stdout.seek(0)
        return stdout.read()


class TestBody:
    """How a command gets the task."""

    @pytest.mark.parametrize("body", [b"", b"task\n", b"\0\xff\r\n", b"x" * 3_000_000])
    def test_the_body_is_on_stdin(self, body: bytes) -> None:
        """Byte for byte, and stdin ends behind it."""
        assert body == _output(["cat"], replace(TASK, body=body))

    def test_where_no_file_can_be_in_memory_it_is_in_the_temporary_folder(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not every system has such files, or allows them."""

        def refuse(_: str) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
        assert _output(["cat"]) == TASK.body
        monkeypatch.delattr(os, "memfd_create")
        assert _output(["cat"]) == TASK.body

    def test_a_command_may_seek_in_it(self) -> None:
        """It is a file: what was read can be read again."""
        assert _output([sys.executable, "-c", "import os; [print(os.pread(0, 99, 0)) for _ in 'ab']"]) == (
            b"b'task...'\nb'task...'\n"
        )

    def test_a_body_that_nobody_reads_blocks_nobody(self) -> None:
        """A command may ignore stdin, or close it half-way, whatever the body's size."""
        large = replace(TASK, body=b"line\n" * 600_000)
        assert _run(["true"], large) == Done()
        assert _run(_sh("read line"), large) == Done()

    def test_braces_are_replaced_by_the_body(self) -> None:
        """An argument `{}` is the body, byte for byte; braces inside an argument are not."""
        task = replace(TASK, body=b"\xff 'a' $(b) \"c\"\n")
        printed = _output(_sh('printf "<%s>" "$@"', "{}", "x{}", "{}"), task)
        assert printed == b"<%s><x{}><%s>" % (task.body, task.body)

    def test_there_is_no_shell(self, tmp_path: Path) -> None:
        """Neither the body nor the arguments are read as a shell would."""
        task = replace(TASK, body=b"; touch %s" % os.fsencode(tmp_path / "made"))
        assert _output(["echo", "$HOME", "{}"], task) == b"$HOME %s\n" % task.body
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("body", [b"a\0b", b"x" * 3_000_000], ids=["NUL", "3 MB"])
    def test_a_body_that_is_no_argument_fails(self, body: bytes) -> None:
        """What can't be an argument is this task's own failure; the worker goes on."""
        assert isinstance(_run(["true", "{}"], replace(TASK, body=body)), Failed)

    def test_tasks_in_several_threads_have_their_own_stdin(self) -> None:
        """Tasks at once don't get each other's body or environment."""
        command = Command(_sh('test "$(cat)" = "$RQTOOL_TASK_ID"'))
        tasks = [replace(TASK, body=b"%d" % number, message_id=str(number)) for number in range(32)]
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(command.run, tasks)) == [Done()] * 32


class TestEnvironment:
    """What a command is told besides."""

    def _variable(self, name: str, task: Task) -> str:
        return _output(
            [sys.executable, "-c", f"import os; print(os.environ.get({name!r}, 'unset'), end='')"], task
        ).decode()

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("RQTOOL_TASK_QUEUE", "Grüße"),
            ("RQTOOL_TASK_ID", "id 1"),
            ("RQTOOL_TASK_ATTEMPT", "3"),
            ("RQTOOL_TASK_REDELIVERED", "1"),
            ("RQTOOL_TASK_HEADER_PLAIN", "a b"),
            ("RQTOOL_TASK_HEADER_X_MY_HEADER_2", "ü=1\n"),
            ("RQTOOL_TASK_HEADER_NUL", "ab"),
        ],
    )
    def test_the_metadata_are_in_the_environment(self, name: str, value: str) -> None:
        """Queue, id, attempt, redelivered and headers; a NUL, which no variable can hold, is left out."""
        headers = {"plain": "a b", "x-my.header 2": "ü=1\n", "nul": "a\0b"}
        task = Task(b"", "Grüße", "id 1", 3, True, headers)
        assert value == self._variable(name, task)

    def test_a_first_delivery_is_not_redelivered(self) -> None:
        """0 is said as plainly as 1."""
        assert self._variable("RQTOOL_TASK_REDELIVERED", TASK) == "0"

    def test_the_rest_is_inherited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The worker's own environment is passed on, but for the metadata of a task that the worker itself serves."""
        monkeypatch.setenv("RQTOOL_QUEUE", "kept")
        monkeypatch.setenv("RQTOOL_TASK_ATTEMPT", "99")
        monkeypatch.setenv("RQTOOL_TASK_HEADER_OUTER", "not ours")
        assert self._variable("RQTOOL_QUEUE", TASK) == "kept"
        assert self._variable("RQTOOL_TASK_ATTEMPT", TASK) == "1"
        assert self._variable("RQTOOL_TASK_HEADER_OUTER", TASK) == "unset"

    def test_a_nul_in_the_message_id_does_not_fail_the_task(self) -> None:
        """A foreign program's odd message id is no reason that the task can never run."""
        assert _run(["true"], replace(TASK, message_id="a\0b")) == Done()
        assert self._variable("RQTOOL_TASK_ID", replace(TASK, message_id="\0a\0b\0")) == "ab"


class TestOutcome:
    """Exit code → verdict."""

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            (0, Done()),
            (1, Failed("exit code 1", "why", 1)),
            (65, Rejected("exit code 65", "why", 65)),
            (75, Postponed("exit code 75", None, "why", 75)),
            (126, CannotRun("The command can't be run: sh: exit code 126 (not executable)")),
            (127, CannotRun("The command can't be run: sh: exit code 127 (not found)")),
            (128, Failed("exit code 128", "why", 128)),
            (255, Failed("exit code 255", "why", 255)),
        ],
    )
    def test_the_exit_code_decides(self, code: int, outcome: Outcome) -> None:
        """0 is done; 65 gives up, 75 asks for later; 126 and 127 stop the worker; any other is a failed attempt."""
        assert outcome == _run(_sh(f"echo why >&2; exit {code}"))

    @pytest.mark.parametrize(
        ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")]
    )
    def test_a_command_killed_by_a_signal_failed(self, number: int, name: str) -> None:
        """The signal is named."""
        assert _run(_sh(f"echo why >&2; kill -{int(number)} $$")) == Failed(f"killed by {name}", "why", -number)

    def test_a_signal_without_a_name_is_a_failure_too(self) -> None:
        """Real-time signals have no names of their own; the task is settled all the same."""
        outcome = _run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 1})"])
        assert isinstance(outcome, Failed)
        assert str(signal.SIGRTMIN + 1) in outcome.why

    def test_a_missing_program_stops_the_worker(self, tmp_path: Path) -> None:
        """A typo must not burn the queue."""
        missing = str(tmp_path / "none")
        assert _run([missing]) == CannotRun(f"The command can't be run: {missing}: no such file or directory")
        assert isinstance(_run(["rqtool-no-such-program"]), CannotRun)

    def test_a_file_that_is_not_executable_stops_the_worker(self, tmp_path: Path) -> None:
        """A forgotten chmod must not burn the queue."""
        (tmp_path / "script").write_text("#!/bin/sh\n")
        assert _run([str(tmp_path / "script")]) == CannotRun(
            f"The command can't be run: {tmp_path / 'script'}: permission denied"
        )

    @pytest.mark.parametrize("text", ["echo without a first line\n", "#!/no/such/interpreter\n", "\x7fELF"])
    def test_a_file_that_the_system_can_not_run_stops_the_worker(self, tmp_path: Path, text: str) -> None:
        """A script without `#!`, or with a wrong one, fares no better with the next task."""
        script = tmp_path / "script"
        script.write_text(text)
        script.chmod(0o755)
        assert isinstance(_run([str(script)]), CannotRun)

    def test_a_path_through_a_file_stops_the_worker(self, tmp_path: Path) -> None:
        """A folder that is none is a typo like any other."""
        (tmp_path / "file").touch()
        assert isinstance(_run([str(tmp_path / "file" / "program")]), CannotRun)

    def test_without_room_for_the_body_the_task_is_settled(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No memory, a full or missing temporary folder: an outcome, no exception that leaves the task unsettled."""

        def refuse(_: str) -> int:
            raise OSError(errno.ENOMEM, "No memory")

        monkeypatch.setattr(os, "memfd_create", refuse, raising=False)
        assert _run(["true"]) == Failed("[Errno 12] No memory")
        monkeypatch.delattr(os, "memfd_create")
        monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
        assert isinstance(_run(["true"]), Failed | CannotRun)


class TestLookUp:
    """Where a program is looked for."""

    @pytest.fixture
    def folders(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
        """Two folders that are the PATH, before what it was."""
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        monkeypatch.setenv("PATH", os.pathsep.join([str(first), str(second), os.environ["PATH"]]))
        return first, second

    def _program(self, path: Path, says: str, mode: int = 0o755) -> None:
        path.write_text(f"#!/bin/sh\necho {says}\n")
        path.chmod(mode)

    def test_the_first_one_in_path_is_run(self, folders: tuple[Path, Path]) -> None:
        """A name without a slash is looked for in PATH, in its order, for each task anew."""
        first, second = folders
        self._program(second / "rqtool-program", "second")
        assert _output(["rqtool-program"]) == b"second\n"
        self._program(first / "rqtool-program", "first")
        assert _output(["rqtool-program"]) == b"first\n"

    def test_what_is_not_executable_is_passed_over(self, folders: tuple[Path, Path]) -> None:
        """And where there is nothing else, it is what is wrong."""
        first, second = folders
        self._program(first / "rqtool-program", "first", mode=0o644)
        assert _run(["rqtool-program"]) == CannotRun("The command can't be run: rqtool-program: permission denied")
        self._program(second / "rqtool-program", "second")
        assert _output(["rqtool-program"]) == b"second\n"

    def test_a_path_is_not_looked_for(self, folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        """A name with a slash starts from the working directory, whatever is in PATH."""
        first, second = folders
        self._program(first / "rqtool-program", "first")
        monkeypatch.chdir(second)
        assert _run(["./rqtool-program"]) == CannotRun(
            "The command can't be run: ./rqtool-program: no such file or directory"
        )
        monkeypatch.chdir(first)
        assert _output(["./rqtool-program"]) == b"first\n"


class TestInherited:
    """What a command has from us besides its task."""

    def test_a_descriptor_that_was_left_open_to_us_is_not_passed_on(self) -> None:
        """A lock, say, that a process left behind would hold for ever."""
        ended = _program(
            """
            os.fstat(5)
            assert Command(["sh", "-c", "test ! -e /dev/fd/5"]).run(TASK) == Done()
            """,
            before="exec 5</dev/null;",
        )
        assert ended == 0

    @pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_standard_streams_that_are_closed_to_us_confuse_nobody(self, closed: str) -> None:
        """The body is on stdin, stderr is heard; stdout is /dev/null where it is closed to us."""
        ended = _program(
            """
            import concurrent.futures
            script = 'test "$(cat)" = task... || exit 3; echo heard >&2; echo || exit 2; exit 1'
            command = Command(["sh", "-c", script])
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                outcomes = list(pool.map(command.run, [TASK] * 80))
            told = {(outcome.detail, outcome.exit_code) for outcome in outcomes}
            os._exit(told != {("heard", 1)})
            """,
            before=f"exec {closed};",
        )
        assert ended == 0

    def test_signals_that_python_ignores_end_it_as_usual(self) -> None:
        """`yes | head` must not go on for ever."""
        assert _run(_sh("kill -PIPE $$")) == Failed("killed by SIGPIPE", "", -signal.SIGPIPE)


class TestKill:
    """Ending commands that run."""

    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        reader, writer = os.pipe()
        yield reader, writer
        os.close(reader)

    def test_a_command_has_a_process_group_of_its_own(self) -> None:
        """Ctrl-C at the terminal reaches the worker, not its commands."""
        printed = _output([sys.executable, "-c", "import os; print(os.getpid(), os.getpgrp())"])
        pid, group = map(int, printed.split())
        assert pid == group

    def test_kill_ends_the_command_and_its_children(self, pipe: tuple[int, int]) -> None:
        """The whole group dies: the pipe that all of them hold open comes to its end."""
        reader, writer = pipe
        command = Command(_sh("sleep 1000 & echo started; wait"), stdout=writer)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(command.run, TASK)
            assert _read(reader) == b"started\n"
            os.close(writer)
            command.kill()
            assert running.result(SECONDS) == Failed("killed by SIGKILL", "", -signal.SIGKILL)
        assert _read(reader) == b""

    def test_after_kill_nothing_is_started(self, tmp_path: Path) -> None:
        """A task that was on its way to a thread fails there, without its command."""
        command = Command(["touch", str(tmp_path / "made")])
        command.kill()
        assert command.run(TASK) == Failed("killed")
        assert list(tmp_path.iterdir()) == []

    def test_kill_with_nothing_at_work_is_harmless(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What ended by itself is not killed again: its number may be another program's by now."""
        command = Command(["true"])
        assert command.run(TASK) == Done()
        killed: list[int] = []
        monkeypatch.setattr(os, "killpg", lambda group, _: killed.append(group))
        command.kill()
        assert killed == []

    def test_kill_at_the_moment_when_a_command_ends(self) -> None:
        """A command that has ended by itself, and is not yet taken off the list, is in nobody's way."""
        killed = Failed("killed by SIGKILL", "", -signal.SIGKILL)
        with ThreadPoolExecutor(1) as pool:
            for _ in range(200):
                command = Command(["true"])
                running = pool.submit(command.run, TASK)
                command.kill()
                assert running.result(SECONDS) in (Done(), killed, Failed("killed"))

    def test_kill_reaches_a_group_whose_leader_is_gone(
        self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever outlives a timed-out command is killed by a second signal, and not a moment of KILL_AFTER later."""
        monkeypatch.setattr(processes, "KILL_AFTER", 1000.0)
        reader, writer = pipe
        child = "trap 'while kill -0 $leader; do sleep 0.01; done; echo alone' TERM; while :; do sleep 0.01; done"
        command = Command(_sh('leader=$$ sh -c "$1" 2>&- & wait', child), stdout=writer, timeout=0.5)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(command.run, TASK)
            assert _read(reader) == b"alone\n"
            os.close(writer)
            command.kill()
            assert running.result(SECONDS) == Failed("timed out after 500ms", "", -signal.SIGTERM)
        assert _read(reader) == b""


class TestTimeout:
    """A command has so much time and no more."""

    @pytest.fixture
    def pipe(self) -> Iterator[tuple[int, int]]:
        reader, writer = os.pipe()
        yield reader, writer
        os.close(reader)

    @pytest.mark.parametrize(("timeout", "text"), [(0.01, "10ms"), (0.2, "200ms"), (1.0, "1s")])
    def test_a_command_that_takes_too_long_is_ended(self, timeout: float, text: str) -> None:
        """SIGTERM, and the attempt has failed; what it wrote tells how far it came."""
        outcome = Command(["sleep", "1000"], timeout=timeout).run(TASK)
        assert outcome == Failed(f"timed out after {text}", "", -signal.SIGTERM)

    @pytest.mark.parametrize("timeout", [SECONDS, 1e12])
    def test_within_its_time_the_exit_code_decides(self, timeout: float) -> None:
        """A limit that is not reached changes nothing, however far away it is."""
        assert Command(_sh("sleep 0.3"), timeout=timeout).run(TASK) == Done()
        assert Command(["false"], timeout=timeout).run(TASK) == Failed("exit code 1", "", 1)

    def test_exit_code_0_after_the_time_is_a_failure(self) -> None:
        """A command that ends in good order when it is told to has not done its work."""
        script = "trap 'echo bye >&2; exit 0' TERM; echo began >&2; sleep 1000 & wait"
        assert Command(_sh(script), timeout=0.5).run(TASK) == Failed("timed out after 500ms", "began\nbye", 0)

    def test_a_command_without_stdout_and_stderr_is_timed_out_too(self) -> None:
        """The clock does not hang on the pipe."""
        outcome = Command(_sh("exec >&- 2>&-; exec sleep 1000"), timeout=0.3).run(TASK)
        assert outcome == Failed("timed out after 300ms", "", -signal.SIGTERM)

    def test_who_ignores_sigterm_is_killed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """SIGKILL follows after KILL_AFTER."""
        monkeypatch.setattr(processes, "KILL_AFTER", 0.3)
        outcome = Command(_sh("trap '' TERM; exec sleep 1000"), timeout=0.5).run(TASK)
        assert outcome == Failed("timed out after 500ms", "", -signal.SIGKILL)

    def test_who_outlives_the_leader_is_killed(self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        """A child that ignores SIGTERM does not get away because its parent heeded it."""
        monkeypatch.setattr(processes, "KILL_AFTER", 0.3)
        reader, writer = pipe
        command = Command(_sh("(trap '' TERM; echo ready; exec sleep 1000) & wait"), stdout=writer, timeout=0.5)
        assert command.run(TASK) == Failed("timed out after 500ms", "", -signal.SIGTERM)
        os.close(writer)
        assert _read(reader) == b"ready\n"
        assert _read(reader) == b""

    def test_a_child_may_clean_up_after_the_leader_is_gone(self, tmp_path: Path) -> None:
        """The rest of the group has its KILL_AFTER too, and the result waits for it."""
        made = tmp_path / "made"
        child = "trap \"sleep 0.3; touch '$1'; exit\" TERM; exec 2>&-; while :; do sleep 0.01; done"
        outcome = Command(_sh('sh -c "$1" sh "$2" & wait', child, str(made)), timeout=0.5).run(TASK)
        assert outcome == Failed("timed out after 500ms", "", -signal.SIGTERM)
        assert made.exists()

    def test_nobody_waits_for_an_empty_group(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The result is there when the last member has ended, not after KILL_AFTER."""
        monkeypatch.setattr(processes, "KILL_AFTER", 1000.0)
        command = Command(_sh("sleep 1000 & wait"), timeout=0.2)
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(command.run, TASK)
            try:
                assert isinstance(running.result(SECONDS), Failed)
            finally:
                command.kill()


class TestStderr:
    """What a command writes to stderr is seen at once, and its end is kept."""

    @pytest.fixture
    def fifo(self, tmp_path: Path) -> Path:
        os.mkfifo(tmp_path / "fifo")
        return tmp_path / "fifo"

    def test_it_is_passed_on_byte_for_byte(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        """Our own stderr gets all of it, whether the command succeeds or not."""
        assert _run(_sh(r"printf '\377\0a\r\n' >&2; cat >&2"), replace(TASK, body=b"x" * 1_000_000)) == Done()
        assert capfdbinary.readouterr().err == b"\xff\0a\r\n" + b"x" * 1_000_000

    def test_it_is_passed_on_at_once(self, fifo: Path, capfd: pytest.CaptureFixture[str]) -> None:
        """The line is there while the command still runs."""
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_run, _sh('echo line >&2; read line <"$1"', str(fifo)))
            _until(lambda: capfd.readouterr().err == "line\n")
            assert not running.done()
            fifo.write_text("go on\n")
            assert running.result(SECONDS) == Done()

    def test_the_last_ten_lines_are_the_detail(self) -> None:
        """The end of a traceback says more than its start."""
        outcome = _run(_sh("seq 1000 >&2; exit 3"))
        assert outcome == Failed("exit code 3", "\n".join(map(str, range(991, 1001))), 3)

    def test_the_detail_is_never_large(self) -> None:
        """Lines can be long: some 2,000 bytes are kept."""
        outcome = _run(_sh("cat >&2; exit 3"), replace(TASK, body=b"x" * 1_000_000))
        assert outcome == Failed("exit code 3", "x" * 2000, 3)

    def test_what_is_not_utf_8_is_replaced(self) -> None:
        """Any bytes make a detail."""
        assert _run(_sh(r"printf 'a\377b' >&2; exit 3")) == Failed("exit code 3", "a\ufffdb", 3)

    def test_a_command_may_close_it(self) -> None:
        """The exit code decides, not the end of the pipe."""
        assert _run(_sh("exec >&- 2>&-; sleep 0.3; exit 3")) == Failed("exit code 3", "", 3)

    def test_a_process_left_behind_holds_nothing_up(
        self, fifo: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """It lives on, can write without a signal, and is heard."""
        script = '(read line <"$1"; echo later >&2; sleep 0.1; echo again >&2; touch "$2") & echo now >&2; exit 3'
        made = tmp_path / "made"
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_run, _sh(script, str(fifo), str(made)))
            try:
                assert running.result(SECONDS) == Failed("exit code 3", "now", 3)
            finally:
                fifo.write_text("go on\n")
        _until(made.exists)
        assert _heard(capfd, "again\n") == "now\nlater\nagain\n"

    @pytest.mark.parametrize("stream", ["stdout", "stderr"])
    def test_50_mb_need_no_memory(self, stream: str) -> None:
        """What passes through is not kept."""
        ended = _program(f"""
            import resource
            command = Command(["sh", "-c", "head -c 50000000 /dev/zero >&{1 if stream == "stdout" else 2}"])
            command.run(TASK)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            assert command.run(TASK) == Done()
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            sys.exit(grown * (1 if sys.platform == "darwin" else 1024) > 10_000_000 or before > 10 ** 9)
        """)
        assert ended == 0

    @pytest.mark.parametrize("how", ["closed", "broken"])
    def test_without_a_stderr_of_our_own_the_task_runs(self, how: str) -> None:
        """Nobody listens, and the task is done as ever; a file of ours in that place is not written to."""
        reader, writer = os.pipe()
        os.close(reader)
        ended = _program(
            """
            import tempfile
            with tempfile.TemporaryFile() as file:
                assert (sys.stderr is None) == (file.fileno() == 2)
                outcome = Command(["sh", "-c", "head -c 1000000 /dev/zero >&2; echo end >&2; exit 3"]).run(TASK)
                assert outcome.detail.endswith("end")
                assert outcome.exit_code == 3
                file.seek(0)
                assert file.read() == b""
            """,
            stderr=writer,
            before="exec 2>&-;" if how == "closed" else "",
        )
        os.close(writer)
        assert ended == 0

    def test_a_non_blocking_stderr_gets_all(self) -> None:
        """Who shares our terminal may have made it non-blocking: nothing is lost, it only takes longer."""
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        code = 'assert Command(["sh", "-c", "head -c 1000000 /dev/zero >&2"]).run(TASK) == Done()'
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(_program, code, stderr=writer)
            received = len(os.read(reader, 1))
            time.sleep(0.3)  # let the pipe fill up
            while received < 1_000_000:
                received += len(_read(reader))
            assert running.result(SECONDS) == 0
        os.close(writer)
        assert _read(reader) == b""
        os.close(reader)

    def test_neither_threads_nor_descriptors_are_left(self) -> None:
        """However the commands end, all is closed behind them."""

        def state() -> tuple[int, int]:
            return len(os.listdir("/dev/fd")), threading.active_count()

        before = state()
        for script in ("exit 0", "echo line >&2", "sleep 0.2", "sleep 1000", "exec 2>&-", "sleep 0.5 &"):
            Command(_sh(script), timeout=0.3).run(TASK)
        Command(["rqtool-no-such-program"], timeout=0.3).run(TASK)
        _until(lambda: state() == before)

    def test_without_a_thread_no_command_runs(self) -> None:
        """A command that nobody could watch is killed, and its task has failed."""
        ended = _program("""
            import threading
            threading.stack_size(1 << 47)
            command = Command(["sleep", "1000"], timeout=1000)
            outcome = command.run(TASK)
            assert "thread" in outcome.why
            try:
                os.wait()
            except ChildProcessError:
                sys.exit(0)
            sys.exit("it still runs")
        """)
        assert ended == 0


class TestOpen:
    """What is wrong with the command is said before a task is taken."""

    def test_a_command_that_is_there_is_fine(self) -> None:
        """By its name, or by its path."""
        Command(["true"]).open()
        Command([sys.executable]).open()

    @pytest.mark.parametrize("name", ["missing", "text"])
    def test_a_command_that_can_not_be_run_is_refused(self, name: str, tmp_path: Path) -> None:
        """The name is in the message."""
        (tmp_path / "text").touch()
        program = str(tmp_path / name)
        with pytest.raises(UsageError) as caught:
            Command([program]).open()
        assert str(caught.value) == f"The command can't be run: {program} is not there or not executable. Correct it."

    def test_an_ignored_sigchld_loses_no_exit_code(self) -> None:
        """Whoever started us may ignore it; a failed task does not look done for that."""
        ended = _program("""
            import signal
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
            command = Command(["false"])
            command.open()
            assert command.run(TASK).exit_code == 1
        """)
        assert ended == 0


def _read(descriptor: int) -> bytes:
    """What is there, b"" at the end; an error after SECONDS."""
    ready, _, _ = select.select([descriptor], [], [], SECONDS)
    assert ready, "the pipe is still held open"
    return os.read(descriptor, 4096)


def _until(condition: Callable[[], bool]) -> None:
    assert poll(condition, SECONDS)


def _heard(capfd: pytest.CaptureFixture[str], end: str) -> str:
    """What comes through our stderr until `end` does."""
    heard = ""

    def complete() -> bool:
        nonlocal heard
        heard += capfd.readouterr().err
        return heard.endswith(end)

    _until(complete)
    return heard


def _program(code: str, *, stderr: int = subprocess.DEVNULL, before: str = "") -> int:
    """Run the code in a Python of its own and return the exit code."""
    start = f"import os, sys\nfrom rqtool.handlers.commands import *\nTASK = {TASK!r}\n"
    return subprocess.run(
        ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-c", start + textwrap.dedent(code)],
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        timeout=60,
        check=False,
    ).returncode
