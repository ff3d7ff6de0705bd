"""Real commands in real runners: what they get, how they end, and what is seen of them."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.errors import UsageError
from rqtool.run.encoding import PRETENDED, Spec
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from rqtool.run.placeholders import Template
from rqtool.run.pool import Pool
from rqtool.run.process_group import KILL_AFTER
from rqtool.run.task import Task
from tests.driven import SECONDS, Driven
from tests.tools import eventually, sigkill

TASK = Task(body=b"task...", queue="q", message_id="id 1", attempt=1, redelivered=False)
BODY = ("sh", "-c", 'eval "$(cat)"')
"""A command that does what the body says."""
LARGE = b"0123456789" * 500_000
HOSTILE = [
    b"$(touch x)",
    b"; touch x",
    b"`touch x`",
    b"| touch x",
    b"'; touch x; '",
    b'"; touch x; "',
    b"a\ntouch x\n",
    b"\\",
    b"*",
    b"~",
    b"-rf",
    b"--help",
    b"--",
    b"-cimport os; os.system('touch x')",
    b"../../etc/passwd",
    b"%s%n$0{}{.}",
    b"\xff\xfe'\x80 \xc3",
    b"\r\n\t\x1b[2J",
    b"",
    b"x" * 100_000,
]


@contextmanager
def driving(
    *command: str, kind: str = "command", jobs: int = 1, timeout: float | None = None, stdout: int | None = None
) -> Iterator[Driven]:
    driven = Driven(Pool(Spec(kind, list(command), timeout), jobs, stdout=stdout))  # type: ignore[arg-type]
    try:
        driven.open()
        yield driven
    finally:
        driven.stop()


def tasks(*bodies: str | bytes) -> list[Task]:
    """A task for each body, whose id is its place."""
    return [
        replace(TASK, body=body.encode() if isinstance(body, str) else body, message_id=str(place))
        for place, body in enumerate(bodies)
    ]


def _run(*command: str, task: Task = TASK) -> Outcome:
    with driving(*command) as pool:
        return pool.run(task)


def _output(*command: str, task: Task = TASK) -> bytes:
    """What the command writes to stdout."""
    with tempfile.TemporaryFile() as stdout:
        with driving(*command, stdout=stdout.fileno()) as pool:
            assert pool.run(task) == Done(0)
        stdout.seek(0)
        return stdout.read()


class Pipe:
    """A pipe whose reader waits no longer than SECONDS."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self._open = {self.reader, self.writer}

    def read(self, most: int = 65536) -> bytes:
        """What is there, b"" at the end."""
        ready, _, _ = select.select([self.reader], [], [], SECONDS)
        assert ready, "the pipe is still held open"
        return os.read(self.reader, most)

    def line(self) -> bytes:
        """Read one line, and nothing behind it."""
        text = b""
        while not text.endswith(b"\n"):
            text += self.read(1)
        return text

    def rest(self) -> bytes:
        """All that comes from others until they have closed it."""
        self.close(self.writer)
        return b"".join(iter(self.read, b""))

    def close(self, *numbers: int) -> None:
        for number in self._open & set(numbers or self._open):
            os.close(number)
            self._open.discard(number)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


class Gate:
    """Where commands wait until they are let through; `wait` is how a shell does."""

    def __init__(self, path: str | Path) -> None:
        self.path = path
        self.wait = f"read line <{path}"
        self._fifo = os.open(path, os.O_RDWR)

    def let(self, count: int) -> None:
        os.write(self._fifo, b"\n" * count)

    def close(self) -> None:
        os.close(self._fifo)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    os.mkfifo(tmp_path / "gate")
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.close()


@contextmanager
def _as_stderr(descriptor: int) -> Iterator[None]:
    """Give those who are started meanwhile this stderr."""
    ours = os.dup(2)
    os.dup2(descriptor, 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _start(code: str, *arguments: str, before: str = "", prefix: tuple[str, ...] = (), **streams: int) -> Started:
    """Start a Python of its own that runs the code, after what a shell does before; the program takes up closed
    streams first of all, as rqtool does.
    """
    start = """\
        import os, resource, signal, sys
        from rqtool.output import take_standard_numbers
        take_standard_numbers()
        from rqtool.run.outcome import Done, Failed, Shortage
        from tests.integration.run.test_commands import *
        """
    program = [sys.executable, "-c", textwrap.dedent(start) + textwrap.dedent(code), *arguments]
    return subprocess.Popen([*prefix, "sh", "-c", f'{before} exec "$@"', "sh", *program], **streams)  # type: ignore[call-overload,no-any-return]


Started = subprocess.Popen[bytes]


def _program(code: str, *arguments: str, before: str = "", prefix: tuple[str, ...] = (), **streams: int) -> None:
    """Run the code in a Python of its own, which must succeed."""
    streams = {"stdout": subprocess.DEVNULL} | streams
    assert _start(code, *arguments, before=before, prefix=prefix, **streams).wait(60) == 0


class TestOpen:
    """What is wrong with the command is said before a task is taken."""

    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("{}/missing", "'{}/missing' is not there"),
            ("{}/text", "'{}/text' is not executable (chmod +x {}/text)"),
            ("{}", "'{}' is a folder"),
            ("text", "'text' is not on the PATH (the file in this folder is ./text)"),
            ("missing", "'missing' is not on the PATH"),
            ("cat | wc -c", "'cat | wc -c' is no program (a line for a shell goes behind sh -c: sh -c 'cat | wc -c')"),
        ],
        ids=["missing", "not executable", "a folder", "here", "not on the PATH", "shell"],
    )
    def test_a_command_that_can_not_be_run_is_refused(
        self, name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The name is in the message, and what is wrong with it."""
        monkeypatch.chdir(tmp_path)
        Path("text").touch()
        name, why = (text.replace("{}", str(tmp_path)) for text in (name, why))
        with pytest.raises(UsageError) as caught, driving(name):
            pass
        assert str(caught.value) == f"The command can't be run: {why}. Correct it."

    def test_a_line_for_a_shell_with_a_placeholder(self) -> None:
        """What is advised is not refused in its turn: a task is never code."""
        with pytest.raises(UsageError, match=re.escape("""sh -c 'cat "$1"' sh {})""")), driving("cat {}"):
            pass

    def test_what_others_may_know_of_it(self) -> None:
        """Neither a folder nor an argument, which can be secret."""
        assert Spec("command", ["/bin/echo", "secret"], None).runs == "echo"
        assert Spec("function", [PRETENDED], None).runs == "dots"


class TestOutcome:
    """The end of a command → verdict."""

    def test_how_it_ends_decides(self) -> None:
        """0 is done; 65 gives up, 75 asks for later; 126 and 127 stop the worker; all else is a failed attempt."""
        unnamed = signal.SIGRTMIN + 1
        verdicts: dict[str, Outcome] = {
            "exit 0": Done(0),
            "echo not at all >&2": Done(0),
            "exit 1": Failed("exit code 1", "", 1),
            "echo why >&2; exit 1": Failed("exit code 1", "why", 1),
            "echo why >&2; exit 65": Rejected("exit code 65", "why", 65),
            "echo why >&2; exit 75": Postponed("exit code 75", None, "why", 75),
            "echo why >&2; exit 126": CannotRun("The command can't be run: 'sh': exit code 126 (not executable)", 126),
            "exit 127": CannotRun("The command can't be run: 'sh': exit code 127 (not found)", 127),
            "exit 128": Failed("exit code 128", "", 128),
            "exit 255": Failed("exit code 255", "", 255),
            "echo why >&2; kill -TERM $$": Failed("killed by SIGTERM", "why", -signal.SIGTERM),
            "kill -KILL $$": Failed("killed by SIGKILL", "", -signal.SIGKILL),
            "kill -SEGV $$": Failed("killed by SIGSEGV", "", -signal.SIGSEGV),
            f"kill -{unnamed} $$": Failed(f"killed by signal {unnamed}", "", -unnamed),
        }
        with driving(*BODY, jobs=3) as pool:
            assert dict(zip(verdicts, pool.work_off(*tasks(*verdicts)), strict=True)) == verdicts

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            (Path.unlink, "{}: no such file or directory"),
            (lambda program: program.chmod(0o644), "{} is not executable (chmod +x PATH)"),
            (lambda program: program.write_text("echo without\n"), "{} has no first line such as #!/bin/sh"),
            (lambda program: program.write_text("#!/no/sh -e\n"), "'/no/sh', the interpreter of {}, is not there"),
            (
                lambda program: program.write_text("#! /bin/sh\r\ntrue\r\n"),
                "the lines of {} end with CR LF, and so does the name of its interpreter, '/bin/sh\\r'",
            ),
            (lambda program: program.write_text("\x7fELF"), "{}: exec format error"),
            (
                lambda program: program.parent.rename(f"{program.parent}2").with_name("folder").touch(),
                "{}: not a directory",
            ),
        ],
        ids=["gone", "not executable", "no first line", "no interpreter", "CR LF", "no ELF", "no folder"],
    )
    def test_what_can_not_be_run_any_more_stops_the_worker(
        self, change: Callable[[Path], object], why: str, tmp_path: Path
    ) -> None:
        """A program that was taken away, or broken, must not burn the queue."""
        program = tmp_path / "folder" / "program"
        program.parent.mkdir()
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        with driving(str(program)) as pool:
            assert pool.run(TASK) == Done(0)
            change(program)
            why = why.format(repr(str(program))).replace("PATH", str(program))
            assert pool.run(TASK) == CannotRun(f"The command can't be run: {why}")

    def test_a_program_that_is_being_written(self, tmp_path: Path) -> None:
        """As by a deployment: that is no verdict on the task."""
        program = tmp_path / "program"
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
        with driving(str(program)) as pool:
            with program.open("a"):
                assert pool.run(TASK) == Shortage("text file busy")
            assert pool.run(TASK) == Done(0)

    def test_where_a_program_is_looked_for(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """In PATH, in its order, for each task anew, passing over what is not executable; not so a name with a slash,
        which starts from the working directory.
        """
        first, second = tmp_path / "first" / "rqtool-program", tmp_path / "second" / "rqtool-program"
        for program in (first, second):
            program.parent.mkdir()
            program.write_text('#!/bin/sh\nbasename "$(dirname "$0")"\n')
            program.chmod(0o755)
        first.chmod(0o644)
        monkeypatch.setenv("PATH", os.pathsep.join([str(first.parent), str(second.parent), os.environ["PATH"]]))
        monkeypatch.chdir(second.parent)
        with tempfile.TemporaryFile() as stdout:
            with driving("rqtool-program", stdout=stdout.fileno()) as pool:
                assert pool.run(TASK) == Done(0)
                first.chmod(0o755)
                assert pool.run(TASK) == Done(0)
            stdout.seek(0)
            assert stdout.read() == b"second\nfirst\n"
        assert _output("./rqtool-program") == b".\n"


class TestBody:
    """How a command gets the task."""

    @pytest.mark.parametrize("body", [b"", b"task\n", b"\0\xff\r\n", LARGE], ids=["empty", "line", "NUL", "5 MB"])
    def test_the_body_is_on_stdin(self, body: bytes) -> None:
        """Byte for byte, from the start of a file: who opens it anew reads it once more."""
        assert _output("sh", "-c", "cat; cat /dev/stdin", task=replace(TASK, body=body)) == body * 2

    def test_a_body_that_nobody_reads_blocks_nobody(self) -> None:
        """A command may ignore stdin, or close it half-way, whatever the body's size."""
        for command in (("true",), ("head", "-c", "1")):
            assert _run(*command, task=replace(TASK, body=LARGE)) == Done(0)

    def test_where_no_file_can_be_in_memory_it_is_in_the_temporary_folder(self) -> None:
        """A service may be kept from such files."""
        _program(
            """
            import ctypes, struct
            number = 319 if os.uname().machine == "x86_64" else 279  # memfd_create; newer machines share a table
            # Load the number of the system call; EPERM for that one, all others are allowed (seccomp(2)).
            rules = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (0x06, 0, 0, 0x50001), (0x06, 0, 0, 0x7FFF0000)]
            code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
            program = struct.pack("HxxxxxxP", len(rules), ctypes.addressof(code))
            call = ctypes.CDLL(None, use_errno=True).prctl
            assert call(38, 1, 0, 0, 0) == 0
            assert call(22, 2, program) == 0
            try:
                os.memfd_create("refused")
                sys.exit("it was made")
            except PermissionError:
                pass
            with driving("sh", "-c", 'test "$(wc -c)$(wc -c </dev/stdin)" = $RQTOOL_TASK_QUEUE') as pool:
                assert pool.run(replace(TASK, queue="77")) == Done(0)
                assert pool.run(replace(TASK, body=LARGE, queue="50000005000000")) == Done(0)
            """
        )

    def test_braces_are_replaced_by_the_body(self, tmp_path: Path) -> None:
        """An argument `{}` is the body, byte for byte; braces inside an argument are not, and no shell reads it."""
        task = replace(TASK, body=b"\xff 'a' $(touch %s) \"c\"\n" % bytes(tmp_path / "made"))
        long = replace(TASK, body=b"x" * 100_000)
        command = ("sh", "-c", 'printf "<%s>" "$@"', "$HOME", "{}", "x{}", "{}")
        assert _output(*command, task=task) == b"<%s><x%s><%s>" % (task.body, task.body, task.body)
        assert _output(*command, task=long) == b"<%s><x%s><%s>" % (long.body, long.body, long.body)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("body", HOSTILE)
    @pytest.mark.parametrize("command", [("printf", "%s\\0"), ("sh", "-c", 'printf "%s\\0" "$@"', "sh")])
    def test_hostile_bodies(
        self, body: bytes, command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever a task says, it is data, byte for byte, in every form and on stdin."""
        monkeypatch.chdir(tmp_path)
        forms = ("{}", "--in={}", "{}.bak", "{.}", "{/}", "{//}", "{/.}")
        filled = Template(list(forms)).fill(body)
        assert filled[:3] == [body, b"--in=" + body, body + b".bak"]
        output = _output(*command, *forms, task=replace(TASK, body=body))
        assert output == b"".join(argument + b"\0" for argument in filled)
        assert _output("cat", task=replace(TASK, body=body)) == body
        assert list(tmp_path.iterdir()) == []

    def test_a_body_that_is_no_argument_runs_nothing(self, tmp_path: Path) -> None:
        """The command is not started without it."""
        with driving("touch", str(tmp_path / "made"), "{}") as pool:
            outcomes = pool.work_off(*tasks(b"\0; touch made", b"x" * 200_000))
        assert [type(outcome) for outcome in outcomes] == [Failed, Failed]
        assert list(tmp_path.iterdir()) == []

    def test_a_body_that_is_no_argument_fails(self) -> None:
        """What can't be an argument is this task's own failure; the worker goes on."""
        with driving("true", "{}") as pool:
            outcomes = pool.work_off(*tasks(b"a\0b", LARGE, b"fine"))
        nul = Failed("a NUL byte, which no argument can hold: the task can be read from stdin")
        long = Failed("argument list too long (128 KiB for one argument on Linux): the task can be read from stdin")
        assert outcomes == [nul, long, Done(0)]

    def test_tasks_at_once_have_their_own_stdin(self) -> None:
        """They don't get each other's body or environment."""
        with driving("sh", "-c", 'test "$(cat)" = "$RQTOOL_TASK_ID"', jobs=8) as pool:
            assert pool.work_off(*tasks(*map(str, range(32)))) == [Done(0)] * 32


class TestInherited:
    """What a command has from us besides its body."""

    def _environment(self, task: Task) -> dict[str, str]:
        printed = _output("env", "-0", task=task).decode().split("\0")
        variables = dict(line.split("=", 1) for line in printed if line)
        return {name: value for name, value in variables.items() if name.startswith("RQTOOL_")}

    def test_the_metadata_are_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a NUL, which no variable can hold; and without those of a task that the worker itself serves. The
        rest is inherited.
        """
        monkeypatch.delenv("RQTOOL_RABBITMQ_SERVER", raising=False)
        monkeypatch.setenv("RQTOOL_QUEUE", "kept")
        monkeypatch.setenv("RQTOOL_TASK_ATTEMPT", "99")
        monkeypatch.setenv("RQTOOL_TASK_HEADER_OUTER", "not ours")
        headers = {"plain": "a b", "x-my.header ü2": "ü=1\n", "nul": "a\0b", "long": "x" * 20_000}
        assert self._environment(Task(LARGE, "Grüße", "\0a\0b\0", 3, True, headers)) == {
            "RQTOOL_QUEUE": "kept",
            "RQTOOL_TASK_QUEUE": "Grüße",
            "RQTOOL_TASK_ID": "ab",
            "RQTOOL_TASK_ATTEMPT": "3",
            "RQTOOL_TASK_REDELIVERED": "1",
            "RQTOOL_TASK_HEADER_PLAIN": "a b",
            "RQTOOL_TASK_HEADER_X_MY_HEADER__2": "ü=1\n",
            "RQTOOL_TASK_HEADER_NUL": "ab",
            "RQTOOL_TASK_HEADER_LONG": "x" * 20_000,
        }
        assert self._environment(TASK)["RQTOOL_TASK_REDELIVERED"] == "0"

    def test_a_header_that_is_too_long_is_left_out(self) -> None:
        """And no more: the command starts, with as much as has room."""
        headers = {"rows": str([True] * 30_000), **{f"h{n}": "x" * 50_000 for n in range(40)}, "short": "y"}
        given = self._environment(Task(b"", "queue", "id", 1, False, headers))
        left = {name.removeprefix("RQTOOL_TASK_HEADER_") for name in given if "_HEADER_" in name}
        assert left == {"H0", "H1", "SHORT"}

    def test_letters_that_the_locale_lacks_are_utf8(self) -> None:
        code = (
            "from rqtool.run.child.command_process import variables_of\nfrom rqtool.run.task import Task\n"
            "print(variables_of(Task(b'', 'queue', 'id', 1, False, {'n': '\\u0141ukasz\\udcff'})))"
        )
        ascii_only = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
        shown = subprocess.run([sys.executable, "-c", code], env=ascii_only, capture_output=True, text=True, check=True)
        assert "b'RQTOOL_TASK_HEADER_N': b'\\xc5\\x81ukasz\\xff'" in shown.stdout

    @pytest.mark.parametrize(
        ("ignored", "kill"),
        [([], ["PIPE", "XFSZ", "TERM", "INT", "HUP"]), (["HUP", "INT", "CHLD"], ["PIPE", "XFSZ", "TERM"])],
    )
    def test_what_python_and_we_ignore_ends_it_as_usual(self, ignored: list[str], kill: list[str]) -> None:
        """`yes | head` must not go on for ever; what our caller has had ignored still is, and no exit code is lost."""
        _program(
            """
            ignored, kill = sys.argv[1].split(), sys.argv[2].split()
            for name in ("HUP", "INT", "TERM", "CHLD"):
                signal.signal(signal.Signals[f"SIG{name}"], signal.SIG_IGN if name in ignored else signal.SIG_DFL)
            with driving("sh", "-c", 'kill -s "$(cat)" $$; exit 3') as pool:
                outcomes = pool.work_off(*tasks(*kill, *ignored))
            told = [outcome.why for outcome in outcomes]
            assert told == [f"killed by SIG{name}" for name in kill] + ["exit code 3"] * len(ignored), told
            """,
            " ".join(ignored),
            " ".join(kill),
        )

    def test_it_has_a_process_group_of_its_own(self) -> None:
        """Ctrl-C at the terminal reaches the worker, not its commands."""
        pid, group = _output("sh", "-c", "echo $$ $(ps -o pgid= -p $$)").split()
        assert pid == group

    def test_a_descriptor_that_was_left_open_to_us_is_not_passed_on(self) -> None:
        """A lock, say, that a process left behind would hold for ever."""
        _program(
            """
            os.fstat(5)
            with driving("sh", "-c", "ls /dev/fd/ | tr '\\n' ' ' >&2; exit 1") as pool:
                assert pool.run(TASK).detail.split() == ["0", "1", "2", "3"]  # and what ls itself opens
            """,
            before="exec 5</dev/null;",
        )

    @pytest.mark.parametrize("closed", ["<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
    def test_standard_streams_that_are_closed_to_us_confuse_nobody(self, closed: str) -> None:
        """The body is on stdin, stderr is heard; stdout is /dev/null where it is closed to us."""
        _program(
            """
            script = 'test "$(cat)" = task... || exit 3; echo heard >&2; echo || exit 2; exit 1'
            with driving("sh", "-c", script) as pool:
                assert pool.work_off(*[TASK] * 20) == [Failed("exit code 1", "heard", 1)] * 20
            """,
            before=f"exec {closed};",
        )


class TestKill:
    """Ending commands that run."""

    def test_it_ends_the_command_and_its_children(self, pipe: Pipe) -> None:
        """The whole group dies, and what comes later is not started."""
        with driving("sh", "-c", "sleep 1000 & echo started; wait", stdout=pipe.writer) as pool:
            [run] = pool.begin(TASK)
            assert pipe.line() == b"started\n"
            pool.kill()
            assert run.outcome.result(SECONDS) == Failed("killed")
            assert pool.run(TASK) == Failed("killed")
        assert pipe.rest() == b""

    def test_it_reaches_a_group_whose_leader_is_gone(self, pipe: Pipe) -> None:
        """Whoever outlives a timed-out command is killed, and not a moment of KILL_AFTER later."""
        child = "trap 'while kill -0 $leader; do sleep 0.01; done; echo alone' TERM; while :; do sleep 0.01; done"
        script = f'leader=$$ sh -c "{child}" 2>&- & wait'.replace("$leader", r"\$leader")
        with driving("sh", "-c", script, stdout=pipe.writer, timeout=1) as pool:
            [run] = pool.begin(TASK)
            assert pipe.line() == b"alone\n"
            killed = time.monotonic()
            pool.kill()
            assert run.outcome.result(SECONDS) == Failed("killed")
        assert pipe.rest() == b""
        assert time.monotonic() - killed < KILL_AFTER

    def test_at_any_moment(self) -> None:
        """A command that starts, or has just ended, is in nobody's way."""
        for _ in range(5):
            with driving("true", jobs=2) as pool:
                runs = pool.begin(TASK, TASK)
                runs[0].outcome.result(SECONDS)
                pool.kill()
                assert {run.outcome.result(SECONDS) for run in runs} <= {Done(0), Failed("killed")}


class TestTimeout:
    """A command has so much time and no more."""

    @pytest.mark.parametrize(("timeout", "text"), [(0.01, "10ms"), (0.2, "200ms"), (1.0, "1s")])
    def test_a_command_that_takes_too_long_is_ended(self, timeout: float, text: str) -> None:
        """SIGTERM, and the attempt has failed."""
        with driving("sleep", "1000", timeout=timeout) as pool:
            assert pool.run(TASK) == Failed(f"timed out after {text}", "", -signal.SIGTERM)

    @pytest.mark.parametrize("timeout", [SECONDS, 1e12])
    def test_within_its_time_the_exit_code_decides(self, timeout: float) -> None:
        """A limit that is not reached changes nothing, however far away it is."""
        with driving(*BODY, timeout=timeout) as pool:
            assert pool.work_off(*tasks("sleep 0.3", "exit 1")) == [Done(0), Failed("exit code 1", "", 1)]

    def test_the_whole_group_is_ended(self, pipe: Pipe, tmp_path: Path) -> None:
        """It has KILL_AFTER to end by itself, and nobody waits longer than for its last member."""
        stubborn = "trap '' TERM; echo ready; exec sleep 1000"
        tidy = f"trap 'sleep 0.3; touch {tmp_path}/tidied; exit' TERM; exec 2>&-; while :; do sleep 0.01; done"
        ends = {
            "trap 'echo bye >&2; exit 0' TERM; echo began >&2; sleep 1000 & wait": ("began\nbye", 0, False),
            "exec >&- 2>&-; exec sleep 1000": ("", -signal.SIGTERM, False),
            "sleep 1000 & wait": ("", -signal.SIGTERM, False),
            f"({tidy}) & wait": ("", -signal.SIGTERM, False),
            stubborn: ("", -signal.SIGKILL, True),
            f"({stubborn}) & wait": ("", -signal.SIGTERM, True),
        }
        with driving(*BODY, jobs=len(ends), timeout=0.5, stdout=pipe.writer) as pool:
            started = time.monotonic()
            took: dict[int, float] = {}
            runs = pool.begin(*tasks(*ends))
            for place, run in enumerate(runs):
                run.outcome.add_done_callback(
                    lambda _, place=place: took.update({place: time.monotonic() - started})  # type: ignore[misc]
                )
            outcomes = [run.outcome.result(SECONDS) for run in runs]
            # Of none is anything left: nobody but us and the runners holds the pipe.
        assert outcomes == [Failed("timed out after 500ms", detail, code) for detail, code, _ in ends.values()]
        assert [took[place] > KILL_AFTER for place in range(len(ends))] == [killed for _, _, killed in ends.values()]
        assert pipe.rest() == b"ready\n" * 2
        assert (tmp_path / "tidied").exists()


class TestStderr:
    """What a command writes to stderr is seen at once, and its end is kept."""

    def test_it_is_passed_on_byte_for_byte(self, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        """Our own stderr gets all of it, whether the command succeeds or not."""
        assert _run("sh", "-c", r"printf '\377\0a\r\n' >&2; cat >&2", task=replace(TASK, body=LARGE)) == Done(0)
        assert capfdbinary.readouterr().err == b"\xff\0a\r\n" + LARGE

    def test_the_last_lines_are_the_detail(self) -> None:
        """Ten lines, some 2,000 bytes; whatever they are. The exit code decides, not the end of the pipe."""
        details = {
            "seq 1000 >&2; exit 3": "\n".join(map(str, range(991, 1001))),
            "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 3": "x" * 2000,
            r"printf 'a\377b' >&2; exit 3": "a\ufffdb",
            "exec >&- 2>&-; sleep 0.3; exit 3": "",
            "(sleep 0.01; echo from behind >&2) & exit 3": "from behind",
        }
        with driving(*BODY) as pool:
            outcomes = pool.work_off(*tasks(*details))
        assert outcomes == [Failed("exit code 3", detail, 3) for detail in details.values()]

    def test_it_is_passed_on_at_once_and_a_process_left_behind_holds_nothing_up(self, pipe: Pipe, gate: Gate) -> None:
        """A line is there while the command runs. What it left behind lives on, can write without a signal, and is
        heard.
        """
        behind = f"{gate.wait}; echo later >&2; sleep 0.1; echo again >&2"
        script = f"echo now >&2; {gate.wait}; ({behind}) & exit 3"
        with _as_stderr(pipe.writer), driving("sh", "-c", script) as pool:
            [run] = pool.begin(TASK)
            assert pipe.line() == b"now\n"
            assert not run.outcome.done()
            gate.let(1)
            assert run.outcome.result(SECONDS) == Failed("exit code 3", "now", 3)
            gate.let(1)
            assert pipe.line() == b"later\n"
            assert pipe.line() == b"again\n"

    def test_50_mb_need_no_memory(self) -> None:
        """What passes through is not kept: not even in a runner's greatest size, which the command asks for."""
        script = "head -c 50000000 /dev/zero >&2; grep VmHWM /proc/$PPID/status"
        with open(os.devnull, "wb") as nobody, _as_stderr(nobody.fileno()):
            _, kilobytes, _ = _output("sh", "-c", script).split()
        assert int(kilobytes) < 40_000

    @pytest.mark.parametrize("how", ["closed", "broken"])
    def test_without_a_stderr_of_our_own_the_task_runs(self, how: str, pipe: Pipe) -> None:
        """Nobody listens, and all is as ever; a file of ours in that place is not written to."""
        pipe.close(pipe.reader)
        _program(
            """
            import tempfile
            with tempfile.TemporaryFile() as file:
                with driving("sh", "-c", "head -c 1000000 /dev/zero >&2; echo end >&2; exit 3") as pool:
                    outcome = pool.run(TASK)
                assert outcome.detail.endswith("end")
                assert outcome.exit_code == 3
                assert file.read() == b""
            """,
            stderr=pipe.writer,
            before="exec 2>&-;" if how == "closed" else "",
        )

    def test_while_nobody_reads_ours_no_command_starts(self, pipe: Pipe, tmp_path: Path) -> None:
        """The loop goes on, and the time is minded. When somebody reads again, nothing is lost and all goes on."""
        script = f"""
            case $(cat) in loud) head -c 1000000 /dev/zero >&2; exec sleep 1000;; esac
            touch {tmp_path}/ran; echo end >&2
        """
        with _as_stderr(pipe.writer), driving("sh", "-c", script, timeout=1.0) as pool:
            outcome = pool.run(*tasks("loud"))
            assert isinstance(outcome, Failed)
            assert outcome.why == "timed out after 1s"
            [quick] = pool.begin(*tasks("quick"))
            with pytest.raises(TimeoutError):
                quick.outcome.result(0.3)
            assert not (tmp_path / "ran").exists()
            heard = b""
            while not heard.endswith(b"end\n"):
                heard += pipe.read()
            assert quick.outcome.result(SECONDS) == Done(0)
        assert len(heard) > 100_000
        assert heard.strip(b"\0") == b"end\n"

    def test_a_terminal_that_stops_who_writes_in_the_background_does_not_stop_us(self) -> None:
        """So it is after `stty tostop`; runners are not in the foreground. A command can ask nobody, and ends."""
        master, terminal = pty.openpty()
        _program(
            """
            import termios
            os.setsid()
            terminal = os.open(sys.argv[1], os.O_RDWR)  # which is ours from here on
            about = termios.tcgetattr(terminal)
            about[3] |= termios.TOSTOP
            termios.tcsetattr(terminal, termios.TCSANOW, about)
            os.dup2(terminal, 2)
            with driving("sh", "-c", "echo heard >&2; exit 3") as pool:
                assert pool.run(TASK) == Failed("exit code 3", "heard", 3)
            with driving("sh", "-c", "echo said; exec 2>&-; read answer </dev/tty; exit 3", stdout=terminal) as pool:
                assert pool.run(TASK) == Failed("exit code 3", "", 3)
            """,
            os.ttyname(terminal),
        )
        assert os.read(master, 1000) == b"heard\r\nsaid\r\n"
        os.close(master)
        os.close(terminal)


class TestStdout:
    """It is the worker's own, or what it was told to use."""

    @pytest.fixture(params=["pipe", "socket", "terminal"])
    def gone(self, request: pytest.FixtureRequest) -> Iterator[int]:
        """A stream whose reader is gone."""
        makes = {
            "pipe": os.pipe,
            "socket": lambda: [end.detach() for end in socket.socketpair()],
            "terminal": pty.openpty,
        }
        reader, writer = makes[request.param]()
        os.close(reader)
        yield writer
        os.close(writer)

    def test_when_its_reader_is_gone_nothing_has_failed(self, gone: int) -> None:
        """Whatever fails then is no verdict on the task; what succeeds is done."""
        scripts = ["kill -PIPE $$", "exit 141", "exit 1", "exit 65", "exit 75", "exit 127", "echo more; echo and more"]
        with driving(*BODY, stdout=gone) as pool:
            *outcomes, last = pool.work_off(*tasks(*scripts, "exit 0"))
        assert outcomes == [OutputGone("its reader is gone")] * len(scripts)
        assert last == Done(0)

    def test_when_its_disk_is_full_nothing_has_failed(self, tmp_path: Path) -> None:
        """Nor at a limit of the size of a file, whether it is appended to or not."""
        full = os.open("/dev/full", os.O_WRONLY)
        with driving("cat", stdout=full) as pool:
            assert pool.work_off(*tasks("x", "")) == [OutputGone("no space left on device"), Done(0)]
        os.close(full)
        for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
            _program(
                """
                resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
                stdout = os.open(sys.argv[1], int(sys.argv[2]) | os.O_CREAT)
                with driving(*BODY, stdout=stdout) as pool:
                    assert pool.run(replace(TASK, body=b"exit 1")) == Failed("exit code 1", "", 1)
                    for body in (b"yes", b"exit 1"):
                        assert pool.run(replace(TASK, body=body)) == OutputGone("file too large")
                    assert pool.run(replace(TASK, body=b"exit 0")) == Done(0)
                """,
                str(tmp_path / str(flags)),
                str(flags),
            )


class TestShortage:
    """What the system has no more of is no verdict on the task."""

    def test_no_descriptor_is_left(self, gate: Gate) -> None:
        """As many run as can; the others are told so, and later ones run again."""
        _program(
            """
            resource.setrlimit(resource.RLIMIT_NOFILE, (36, 36))
            with driving("sh", "-c", sys.argv[1], jobs=80) as pool:
                runs = pool.begin(*[TASK] * 80)
                eventually(lambda: any(run.outcome.done() for run in runs))
                Gate(sys.argv[2]).let(80)
                told = [run.outcome.result(SECONDS) for run in runs]
                assert set(told) == {Done(0), Shortage("too many open files")}, told
                assert told.count(Done(0)) > 20, told
                Gate(sys.argv[2]).let(20)
                assert pool.work_off(*[TASK] * 20) == [Done(0)] * 20
            """,
            gate.wait,
            str(gate.path),
        )

    def test_no_process_is_left(self, tmp_path: Path) -> None:
        """The limit is one for all processes of a user, and none for root: then it is tried as another user."""
        able = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
        prefix = () if os.getuid() else ("setpriv", "--reuid=54321", "--clear-groups", *able)
        _program(
            """
            with open(sys.argv[1], "w+") as stdout:
                with driving("sh", "-c", "echo $PPID", stdout=stdout.fileno()) as pool:
                    assert pool.run(TASK) == Done(0)
                    stdout.seek(0)
                    runner = int(stdout.read())
                    _, most = resource.prlimit(runner, resource.RLIMIT_NPROC)
                    resource.prlimit(runner, resource.RLIMIT_NPROC, (1, most))
                    assert pool.run(TASK) == Shortage("resource temporarily unavailable")
                    resource.prlimit(runner, resource.RLIMIT_NPROC, (most, most))
                    assert pool.run(TASK) == Done(0)
            """,
            str(tmp_path / "out"),
            prefix=prefix,
        )

    def test_nothing_is_left_open(self) -> None:
        """However the commands end, the same runner goes on, and has closed all behind them."""
        count = "echo $PPID $(ls /proc/$PPID/fd | wc -l)"
        lives = ["exit 1", "echo line >&2", "sleep 0.1", "sleep 1000", "exec 2>&-", "sleep 0.5 &", "kill -KILL $$"]
        with tempfile.TemporaryFile() as stdout, driving(*BODY, timeout=2.0, stdout=stdout.fileno()) as pool:

            def counted() -> bytes:
                assert pool.run(tasks(count)[0]) == Done(0)
                return os.pread(stdout.fileno(), 65_536, 0).splitlines()[-1]

            before = counted()
            pool.work_off(*tasks(*lives, "exit 0 #" + "x" * 50_000))
            eventually(lambda: counted() == before)  # what a command leaves running is let go a moment later


class TestRunners:
    """The processes that run the commands, one for each processor."""

    def test_they_share_the_jobs(self, pipe: Pipe, gate: Gate) -> None:
        """All of the jobs run at once, and no more than those."""
        with driving("sh", "-c", f"echo $PPID; {gate.wait}", jobs=100, stdout=pipe.writer) as pool:
            *runs, waiting = pool.begin(*[TASK] * 101)
            said = [pipe.line() for _ in range(100)]
            shares = [said.count(runner) for runner in set(said)]
            assert len(shares) == min(len(os.sched_getaffinity(0)), 100)
            assert max(shares) - min(shares) <= 1
            pool.call(pool.pool.withdraw)
            assert waiting.told == ["returned"]
            gate.let(100)
            assert [run.outcome.result(SECONDS) for run in runs] == [Done(0)] * 100
        assert pipe.rest() == b""

    @pytest.mark.parametrize("jobs", [1, 2, 3])
    def test_no_more_at_once_than_jobs(self, jobs: int, tmp_path: Path) -> None:
        """However many wait here."""
        script = f'cd "{tmp_path}"; touch "at_work_$$"; ls at_work_* | wc -l >> seen; rm "at_work_$$"'
        with driving("sh", "-c", script, jobs=jobs) as pool:
            assert pool.work_off(*[TASK] * 20) == [Done(0)] * 20
        seen = [int(line) for line in (tmp_path / "seen").read_text().split()]
        assert len(seen) == 20
        assert max(seen) <= jobs

    def test_one_that_is_killed_is_replaced(self, pipe: Pipe, tmp_path: Path) -> None:
        """Its commands are killed and run again, as redelivered ones; no attempt has failed."""
        about = "$PPID $$ $RQTOOL_TASK_REDELIVERED $RQTOOL_TASK_ATTEMPT"
        script = f"mkdir {tmp_path}/again; first=$?; echo {about}; [ $first != 0 ] || exec sleep 1000"
        with driving("sh", "-c", script, stdout=pipe.writer) as pool:
            [run] = pool.begin(TASK)
            runner, command, *first = map(int, pipe.line().split())
            _wait_until_it_waits(runner)
            sigkill(runner)
            assert run.outcome.result(SECONDS) == Done(0)
            assert run.told == ["begun", "ended"]
            eventually(lambda: _state(command) in ("", "Z"))
            other, _, *second = map(int, pipe.line().split())
        assert other != runner
        assert (first, second) == ([0, 1], [1, 1])

    def test_what_one_that_is_stopped_has_not_taken_is_done_by_another(self, pipe: Pipe, gate: Gate) -> None:
        """All but its share, which waits for it."""
        script = f"echo $PPID; [ $(cat) = quick ] || {gate.wait}"
        with driving("sh", "-c", script, jobs=2, stdout=pipe.writer) as pool:
            slow = pool.begin(*tasks("slow", "slow"))
            stopped, other = int(pipe.line()), int(pipe.line())
            os.kill(stopped, signal.SIGSTOP)
            gate.let(2)
            eventually(lambda: any(run.outcome.done() for run in slow))
            assert pool.work_off(*tasks(*["quick"] * 20)) == [Done(0)] * 20
            os.kill(stopped, signal.SIGCONT)
            assert [run.outcome.result(SECONDS) for run in slow] == [Done(0)] * 2
        assert set(map(int, pipe.rest().split())) == {other}

    def test_the_commands_of_one_that_is_stopped_can_be_killed(self, pipe: Pipe) -> None:
        """It can't end them itself."""
        with driving("sh", "-c", "echo $PPID; exec sleep 1000", jobs=2, stdout=pipe.writer) as pool:
            runs = pool.begin(TASK, TASK)
            stopped, _ = int(pipe.line()), pipe.line()
            _wait_until_it_waits(stopped)
            os.kill(stopped, signal.SIGSTOP)
            pool.kill()
            assert [run.outcome.result(SECONDS) for run in runs] == [Failed("killed")] * 2
        assert pipe.rest() == b""

    def test_one_that_hangs_costs_what_is_late_and_nothing_else(
        self, pipe: Pipe, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is killed when it does not end a command whose time is up; what runs beside that command runs again."""
        monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", 0.1)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})
        script = "echo $PPID; [ $RQTOOL_TASK_REDELIVERED = 1 ] || exec sleep 1000"
        with driving("sh", "-c", script, jobs=2, timeout=2.0, stdout=pipe.writer) as pool:
            started = time.monotonic()
            [late] = pool.begin(TASK)
            runner = int(pipe.line())
            eventually(lambda: time.monotonic() - started > 1.0)
            [beside] = pool.begin(TASK)
            assert int(pipe.line()) == runner
            os.kill(runner, signal.SIGSTOP)
            assert late.outcome.result(SECONDS) == Failed("timed out after 2s")
            assert beside.outcome.result(SECONDS) == Done(0)

    def test_they_end_with_a_worker_that_is_killed(self, pipe: Pipe) -> None:
        """Commands are asked to end, and after KILL_AFTER they have no choice: all who hold the pipe are gone then."""
        code = """
            with driving(*BODY, jobs=2) as pool:
                pool.begin(*tasks("trap 'echo asked; exit' TERM; echo ready; while :; do sleep 0.01; done",
                                  "trap '' TERM; echo ready; exec sleep 1000"))
                signal.pause()
        """
        worker = _start(code, stdout=pipe.writer)
        assert {pipe.line(), pipe.line()} == {b"ready\n"}
        sigkill(worker.pid)
        worker.wait()
        killed = time.monotonic()
        assert pipe.rest() == b"asked\n"
        assert time.monotonic() - killed < 10.0


def _state(pid: int) -> str:
    """The letter that ps has for a process's state."""
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout[:1]


def _wait_until_it_waits(runner: int) -> None:
    """A command may have begun before its runner has noted it."""
    eventually(lambda: _state(runner) == "S")


class TestPretended:
    """The tutorial's pretended work."""

    def test_a_dot_is_a_second(self) -> None:
        """Without dots there is no work, and kill ends it."""
        with driving(PRETENDED, kind="function", jobs=3) as pool:
            none, one, many = pool.begin(*tasks("task", "a.b", "." * 1000))
            started = time.monotonic()
            assert none.outcome.result(SECONDS) == Done()
            assert not one.outcome.done()
            assert one.outcome.result(SECONDS) == Done()
            assert time.monotonic() - started > 0.9
            pool.kill()
            assert many.outcome.result(SECONDS) == Failed("killed")
