"""What is done with a task: dots, and real commands."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.handlers import CannotRun, Command, Done, Dots, Failed, Outcome, Task

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


class TestDots:
    """The tutorial's pretended work."""

    def test_without_dots_it_is_done_at_once(self) -> None:
        """A body without dots is no work."""
        assert Dots().run(replace(TASK, body=b"task")) == Done()

    def test_a_dot_is_a_second(self) -> None:
        """Each dot takes a second."""
        started = time.monotonic()
        assert Dots().run(replace(TASK, body=b"a.b")) == Done()
        assert 1.0 <= time.monotonic() - started < 1.9

    def test_kill_ends_what_runs_and_what_would(self) -> None:
        """A killed handler fails all its tasks at once, the running ones and any later one."""
        dots = Dots()
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(dots.run, replace(TASK, body=b"." * 1000)) for _ in range(2)]
            dots.kill()
            assert [future.result(SECONDS) for future in running] == [Failed("killed")] * 2
        assert dots.run(TASK) == Failed("killed")


class TestBody:
    """How a command gets the task."""

    @pytest.mark.parametrize("body", [b"", b"task\n", b"\0\xff\r\n", b"x" * 3_000_000])
    def test_the_body_is_on_stdin(self, body: bytes) -> None:
        """Byte for byte, and stdin ends behind it."""
        assert body == _output(["cat"], replace(TASK, body=body))

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
        command = Command(_sh('test "$(cat)" = "$RQTOOL_MESSAGE_ID"'))
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
            ("RQTOOL_QUEUE", "Grüße"),
            ("RQTOOL_MESSAGE_ID", "id 1"),
            ("RQTOOL_ATTEMPT", "3"),
            ("RQTOOL_REDELIVERED", "1"),
            ("RQTOOL_HEADER_PLAIN", "a b"),
            ("RQTOOL_HEADER_X_MY_HEADER_2", "ü=1\n"),
            ("RQTOOL_HEADER_NUL", "ab"),
        ],
    )
    def test_the_metadata_are_in_the_environment(self, name: str, value: str) -> None:
        """Queue, id, attempt, redelivered and headers; a NUL, which no variable can hold, is left out."""
        headers = {"plain": "a b", "x-my.header 2": "ü=1\n", "nul": "a\0b"}
        task = Task(b"", "Grüße", "id 1", 3, True, headers)
        assert value == self._variable(name, task)

    def test_a_first_delivery_is_not_redelivered(self) -> None:
        """0 is said as plainly as 1."""
        assert self._variable("RQTOOL_REDELIVERED", TASK) == "0"

    def test_the_rest_is_inherited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The worker's own environment is passed on; what the task says wins."""
        monkeypatch.setenv("SOME_VARIABLE", "kept")
        monkeypatch.setenv("RQTOOL_ATTEMPT", "99")
        assert self._variable("SOME_VARIABLE", TASK) == "kept"
        assert self._variable("RQTOOL_ATTEMPT", TASK) == "1"

    def test_a_nul_in_the_message_id_does_not_fail_the_task(self) -> None:
        """A foreign program's odd message id is no reason that the task can never run."""
        assert _run(["true"], replace(TASK, message_id="a\0b")) == Done()
        assert self._variable("RQTOOL_MESSAGE_ID", replace(TASK, message_id="\0a\0b\0")) == "ab"


class TestOutcome:
    """Exit code → verdict."""

    @pytest.mark.parametrize(
        ("code", "outcome"),
        [
            (0, Done()),
            (1, Failed("exit code 1")),
            (65, Failed("exit code 65")),
            (75, Failed("exit code 75")),
            (126, CannotRun("sh: exit code 126 (not executable)")),
            (127, CannotRun("sh: exit code 127 (not found)")),
            (128, Failed("exit code 128")),
            (255, Failed("exit code 255")),
        ],
    )
    def test_the_exit_code_decides(self, code: int, outcome: Outcome) -> None:
        """0 is done; 126 and 127 stop the worker; anything else is a failed attempt."""
        assert outcome == _run(_sh(f"exit {code}"))

    @pytest.mark.parametrize(
        ("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGKILL, "SIGKILL"), (signal.SIGSEGV, "SIGSEGV")]
    )
    def test_a_command_killed_by_a_signal_failed(self, number: int, name: str) -> None:
        """The signal is named."""
        assert _run(_sh(f"kill -{int(number)} $$")) == Failed(f"killed by {name}")

    def test_a_signal_without_a_name_is_a_failure_too(self) -> None:
        """Real-time signals have no names of their own; the task is settled all the same."""
        outcome = _run([sys.executable, "-c", f"import os; os.kill(os.getpid(), {signal.SIGRTMIN + 1})"])
        assert isinstance(outcome, Failed)
        assert str(signal.SIGRTMIN + 1) in outcome.why

    def test_a_missing_program_stops_the_worker(self, tmp_path: Path) -> None:
        """A typo must not burn the queue."""
        missing = str(tmp_path / "none")
        assert _run([missing]) == CannotRun(f"{missing}: no such file or directory")
        assert isinstance(_run(["rqtool-no-such-program"]), CannotRun)

    def test_a_file_that_is_not_executable_stops_the_worker(self, tmp_path: Path) -> None:
        """A forgotten chmod must not burn the queue."""
        (tmp_path / "script").write_text("#!/bin/sh\n")
        assert _run([str(tmp_path / "script")]) == CannotRun(f"{tmp_path / 'script'}: permission denied")

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
        """A full or missing temporary folder is an outcome, not an exception that leaves the task unsettled."""
        monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
        assert isinstance(_run(["true"]), Failed | CannotRun)


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
            assert running.result(SECONDS) == Failed("killed by SIGKILL")
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

    def test_kill_at_the_moment_when_a_command_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command that has ended by itself, and is not yet taken off the list, is in nobody's way."""

        class EndsFirst(subprocess.Popen[bytes]):
            def wait(self, timeout: float | None = None) -> int:
                code = super().wait(timeout)
                command.kill()
                return code

        monkeypatch.setattr(subprocess, "Popen", EndsFirst)
        command = Command(["true"])
        assert command.run(TASK) == Done()


def _read(descriptor: int) -> bytes:
    """What is there, b"" at the end; an error after SECONDS."""
    ready, _, _ = select.select([descriptor], [], [], SECONDS)
    assert ready, "the pipe is still held open"
    return os.read(descriptor, 4096)
