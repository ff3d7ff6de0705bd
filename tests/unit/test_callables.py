"""Functions run for tasks: real modules, real processes, real deaths."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from unittest.mock import Mock

import pytest

from rqtool.errors import UsageError
from rqtool.handlers import callable_processes, callables
from rqtool.handlers.callables import Function
from rqtool.handlers.processes import KILL_AFTER
from rqtool.outcomes import CannotRun, Done, Failed, Outcome, Postponed, Rejected
from rqtool.task import Task
from tests.driven import SECONDS, Driven, Run, Seen
from tests.tools import clean_environment, eventually

TASK = Task(body=b"task", queue="q", message_id="id 1", attempt=2, redelivered=True, headers={"a": "é\udcff"})
GRACE = 1.0
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, where users keep their modules. Whatever a test has started is gone after it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    eventually(lambda: not _processes(), what="processes of functions are left over")


def _processes() -> list[str]:
    shown = subprocess.run(
        ["ps", "-A", "-ww", "-o", "ppid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    mine = [line for line in shown.splitlines() if line.split()[0] == str(os.getpid())]
    return [line for line in mine if "callable_process" in line]


def _module(text: str, name: str = "tasks") -> None:
    Path(f"{name}.py").write_text(textwrap.dedent(text))


def _driven(target: str = "tasks:handle", *, jobs: int = 1, **options: float | int | None) -> Driven[Function]:
    return Driven(Function(target, jobs=jobs, **options))  # type: ignore[arg-type]


Opened = Callable[..., Driven[Function]]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens a function, and closes it after the test."""
    all_of_them: list[Driven[Function]] = []

    def opened(target: str = "tasks:handle", *, jobs: int = 1, **options: float | int | None) -> Driven[Function]:
        function = _driven(target, jobs=jobs, **options)
        all_of_them.append(function)
        function.open()
        return function

    yield opened
    for function in all_of_them:
        function.stop()


def _refused(target: str = "tasks:handle") -> str:
    function = _driven(target, jobs=2)
    with pytest.raises(UsageError) as refusal:
        function.open()
    function.stop()
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def _files() -> list[str]:
    """What is in the working folder, but for what Python leaves there by itself."""
    return sorted(name for name in os.listdir() if name != "__pycache__")


def _pid(name: str = "pid") -> int:
    return int(eventually(lambda: Path(name).exists() and Path(name).read_text()))


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True).stdout.strip()[:1] in (b"Z", b"")


WRITE_PID = """
    import asyncio, os, pathlib, signal, subprocess, sys, time
    def pid(name="pid", number=None):
        pathlib.Path(name + ".part").write_text(str(number or os.getpid()))
        os.rename(name + ".part", name)
"""


class TestTheCall:
    """What the function is called with, and what it does."""

    @pytest.mark.parametrize("body", [b"", b"caf\xe9 \0\n", os.urandom(1 << 16)])
    def test_it_gets_the_body(self, opened: Opened, body: bytes) -> None:
        """Without an annotation it is called with the bytes, whatever they are."""
        _module("def handle(body): open('out', 'wb').write(body)")
        assert opened().run(replace(TASK, body=body)) == Done()
        assert Path("out").read_bytes() == body

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_a_large_body(self, opened: Opened, keyword: str) -> None:
        """100 MB pass unchanged, and the next task finds everything in order."""
        _module(f"""
            import hashlib
            {keyword} handle(body): open('out', 'w').write(hashlib.sha256(body).hexdigest())
        """)
        import hashlib

        body = os.urandom(1 << 20) * 100
        function = opened(timeout=60.0)
        for each in (body, b"small"):
            assert function.run(replace(TASK, body=each)) == Done()
            assert Path("out").read_text() == hashlib.sha256(each).hexdigest()

    @pytest.mark.parametrize(
        ("head", "parameter"),
        [
            ("import rqtool", "task: rqtool.Task"),
            ("from rqtool import Task", "task: 'Task'"),
            ("from __future__ import annotations\nfrom rqtool import Task", "task: Task, other: Nowhere = None"),
            ("from typing import TYPE_CHECKING\nif TYPE_CHECKING: from rqtool import Task", "task: 'Task | None'"),
            ("import typing, rqtool", "task: typing.Annotated[typing.Optional[rqtool.Task], 1]"),
        ],
    )
    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_it_gets_the_task_where_it_says_so(self, opened: Opened, keyword: str, head: str, parameter: str) -> None:
        """All of the task, where the parameter's annotation names it, in whatever way."""
        Path("tasks.py").write_text(
            f"{head}\n{keyword} handle({parameter}):\n"
            "    import rqtool, sys\n"
            "    assert isinstance(task, rqtool.Task)\n"
            "    open('out', 'w', errors='surrogatepass').write(repr(task))\n"
        )
        assert opened().run(TASK) == Done()
        assert Path("out").read_text() == repr(TASK)

    @pytest.mark.parametrize(
        "annotation", ["bytes", "'bytes'", "object", "'bytes | str'", "'Nowhere'", "typing.Any", "abc.Sequence[int]"]
    )
    def test_annotations_that_allow_bytes(self, opened: Opened, annotation: str) -> None:
        """Bytes come where the annotation allows them, or can't be judged."""
        _module(f"""
            import typing
            from collections import abc
            def handle(body: {annotation}): assert body == b'task'
        """)
        assert opened().run(TASK) == Done()

    @pytest.mark.parametrize("name", ["Worker.static", "Worker.on_class", "worker", "worker.method", "part", "later"])
    def test_anything_that_can_be_called(self, opened: Opened, name: str) -> None:
        """Methods, objects, partial functions, and what returns an awaitable."""
        _module("""
            import asyncio, functools
            class Worker:
                @staticmethod
                def static(body): done(body)
                @classmethod
                def on_class(cls, body): done(body)
                def method(self, body): done(body)
                async def __call__(self, body): await asyncio.sleep(0); done(body)
            worker = Worker()
            def done(body, out='out'): open(out, 'wb').write(body)
            part = functools.partial(done, out='out')
            def later(body): return worker(body)
        """)
        function = opened(f"tasks:{name}")
        for body in (b"1", b"2"):
            assert function.run(replace(TASK, body=body)) == Done()
            assert Path("out").read_bytes() == body

    def test_its_process_stays(self, opened: Opened) -> None:
        """The next task finds what the one before has left in the module."""
        _module("""
            seen = []
            def handle(body): seen.append(body); open('out', 'w').write(repr(seen))
        """)
        function = opened(jobs=3)
        assert [function.run(replace(TASK, body=body)) for body in (b"1", b"2")] == [Done()] * 2
        assert Path("out").read_text() == "[b'1', b'2']"

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_what_it_prints_is_out_before_the_answer(
        self, opened: Opened, monkeypatch: pytest.MonkeyPatch, keyword: str
    ) -> None:
        """print() goes where the worker's output goes, or where it is sent, and is not kept back."""
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        _module(f"print('import')\n{keyword} handle(body): print(body)")
        with tempfile.TemporaryFile() as stdout:
            function = opened(stdout=stdout.fileno())
            assert function.run(TASK) == Done()
            stdout.seek(0)
            assert stdout.read() == b"import\nb'task'\n"

    def test_a_line_is_out_when_it_is_printed(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """Into a file or a pipe too: who looks on need not wait for the end of a long task."""
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        _module("""
            import pathlib, time
            def handle(body):
                print("half")
                while not pathlib.Path("go").exists(): time.sleep(0.01)
        """)
        with Path("out").open("wb") as out:
            function = opened(stdout=out.fileno())
            [run] = function.begin(TASK)
            eventually(lambda: Path("out").read_bytes() == b"half\n")
            Path("go").touch()
            assert _results([run]) == [Done()]

    def test_lines_are_written_whole(self, opened: Opened, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Other processes write there too; PYTHONUNBUFFERED, as images of containers set it, changes nothing."""
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")
        _module("def handle(body): print(body.decode())")
        with (tmp_path / "out").open("wb") as out:
            function = opened(jobs=4, stdout=out.fileno())
            assert function.work_off(*_tasks(*[b"x" * 20] * 2_000)) == [Done()] * 2_000
        assert (tmp_path / "out").read_bytes() == b"%s\n" % (b"x" * 20) * 2_000

    def test_it_sees_an_ordinary_process(self, opened: Opened) -> None:
        """Nothing on stdin, the usual signals, nothing of rqtool's in environment and arguments, the folder first."""
        _module("""
            import os, signal, sys
            def handle(body):
                assert sys.stdin.read() == ''
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
                assert 'RQTOOL_TASK_ID' not in os.environ
                assert len(sys.argv) == 1
                assert sys.path[0] == os.getcwd()
                assert os.getpgid(0) == os.getpid()
                assert len(os.listdir("/dev/fd")) == 6, "stdin, stdout, stderr, the two lines, and this listing"
        """)
        ours, (reader, writer) = os.dup(0), os.pipe()
        os.dup2(reader, 0)
        try:
            assert opened(jobs=3, timeout=SECONDS).run(TASK) == Done()
        finally:
            os.dup2(ours, 0)
            for descriptor in (ours, reader, writer):
                os.close(descriptor)

    def test_modules_in_the_folder_are_in_nobodys_way(self, opened: Opened) -> None:
        """A json.py beside the user's module does not break the start."""
        for name in ("json", "types", "socket", "typing", "asyncio", "traceback", "rqtool"):
            _module("raise Exception('not me')", name)
        _module("def handle(body): pass")
        assert opened().run(TASK) == Done()

    def test_the_folder_goes_first(self, opened: Opened) -> None:
        """A module of the user's wins over one of the same name that is installed."""
        _module("def handle(body): pass", "pika")
        assert opened("pika:handle").run(TASK) == Done()

    def test_rqtool_is_found_as_the_worker_found_it(self, folder: Path) -> None:
        """The very same, though the worker's own sys.path leads to another one than an ordinary start."""
        elsewhere = folder / "elsewhere"
        shutil.copytree(Path(callables.__file__).parents[1], elsewhere / "rqtool")
        _module(f"import rqtool\ndef handle(task: rqtool.Task): assert rqtool.__file__.startswith({str(elsewhere)!r})")
        script = f"""
import sys; sys.path.insert(0, {str(elsewhere)!r})
from rqtool.handlers.callables import Function
from rqtool.task import Task
import asyncio
class Run:
    task, begun = Task(b'', 'q', '', 1, False), lambda _: None
    def ended(self, outcome): print(outcome); over.set()
async def main():
    global over; over = asyncio.Event()
    f = Function('tasks:handle', jobs=1)
    await f.open(); f.begin(Run()); await over.wait(); await f.close()
asyncio.run(main())
"""
        command = [sys.executable, "-Ic", script]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert (ended.stdout, ended.stderr) == ("Done()\n", "")


@pytest.mark.parametrize("keyword", ["def", "async def"])
class TestVerdicts:
    """What comes of an exception."""

    def _run(self, opened: Opened, keyword: str, *lines: str) -> list[Outcome]:
        """Run each of the lines, as line 10, 11, … of the module, all in one process."""
        cases = "".join(f"    if body == b'{number}': {line}\n" for number, line in enumerate(lines))
        Path("tasks.py").write_text(
            "import asyncio, datetime, json, os, sys\n"
            "import rqtool\n"
            "class Mute(Exception):\n"
            "    def __str__(self): raise RuntimeError\n"
            "class Bad(rqtool.Reject):\n"
            "    def __init__(self): pass\n"
            "FIRST = os.getpid()\n"
            f"{keyword} handle(body):\n"
            "    assert os.getpid() == FIRST\n"
            f"{cases}"
        )
        function = opened()
        outcomes = [function.run(replace(TASK, body=b"%d" % number)) for number in range(len(lines))]
        assert function.run(replace(TASK, body=b"next")) == Done(), "it lives on"
        assert len(_processes()) == 1
        return outcomes

    def test_its_own_verdicts(self, opened: Opened, keyword: str) -> None:
        """Retry and Reject are what the function says of the task."""
        cases = {
            "raise rqtool.Retry()": Postponed("it asks for another attempt"),
            "raise rqtool.Retry('10s', 'rate limit')": Postponed("rate limit", 10.0),
            "raise rqtool.Retry(0)": Postponed("it asks for another attempt", 0),
            "raise rqtool.Reject()": Rejected("rejected by the function"),
            "raise rqtool.Reject('no\\n such user')": Rejected("no such user"),
            "raise Bad()": Failed("Bad"),
        }
        assert self._run(opened, keyword, *cases) == list(cases.values())

    def test_anything_else_is_a_failed_attempt(self, opened: Opened, keyword: str) -> None:
        """An exception of any kind, and a delay that is none, fail the attempt, with its place in the user's code."""
        cases = {
            "raise ValueError('bad\\nvery')": "ValueError: bad very (tasks.py:10)",
            "assert not body": "AssertionError (tasks.py:11)",
            "json.loads('{1')": "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 "
            "(char 1) (tasks.py:12)",
            "sys.exit(0)": "SystemExit: 0 (tasks.py:13)",
            "raise KeyboardInterrupt": "KeyboardInterrupt (tasks.py:14)",
            "raise asyncio.CancelledError": "CancelledError (tasks.py:15)",
            "raise Mute": "Mute: <exception str() failed> (tasks.py:16)",
            "raise rqtool.Retry('soon')": "UsageError: 'soon' is not a duration. Write a number and a unit: 200ms, 5s, "
            "10m, 2h. (tasks.py:17)",
            "raise rqtool.Retry(-1)": "Retry(-1): no delay between 0 and 720h (tasks.py:18)",
            "raise rqtool.Retry(float('nan'))": "Retry(nan): no delay between 0 and 720h (tasks.py:19)",
            "raise rqtool.Retry(1e300)": "Retry(1e+300): no delay between 0 and 720h (tasks.py:20)",
            "raise rqtool.Retry(datetime.timedelta(1))": "Retry(datetime.timedelta(days=1)): no delay between 0 and "
            "720h (tasks.py:21)",
        }
        outcomes = self._run(opened, keyword, *cases)
        assert [getattr(outcome, "why", outcome) for outcome in outcomes] == list(cases.values())
        assert {type(outcome) for outcome in outcomes} == {Failed}

    def test_the_traceback(self, opened: Opened, keyword: str, capfd: pytest.CaptureFixture[str]) -> None:
        """It is printed in full for the developer; its last lines are the detail; neither shows rqtool's own frames."""
        _module(f"""
            def deep(n): raise ValueError('x' * 30) if n == 0 else KeyError(n)
            def chained(n):
                try: deep(n)
                except Exception as error: raise RuntimeError(n) from error
            {keyword} handle(body): chained(0)
        """)
        outcome = opened().run(TASK)
        assert isinstance(outcome, Failed)
        printed = capfd.readouterr().err
        assert printed.count("Traceback") == 2
        assert printed.splitlines()[-10:] == outcome.detail.splitlines()
        assert outcome.detail.endswith("RuntimeError: 0")
        assert callables.__file__.removesuffix("callables.py") not in printed

    def test_a_detail_has_an_end(self, opened: Opened, keyword: str) -> None:
        """An exception with a page in it is cut, and its line is a line."""
        [outcome] = self._run(opened, keyword, "raise ValueError('word ' * 10_000)")
        assert isinstance(outcome, Failed)
        assert len(outcome.detail) == 2000
        assert len(outcome.why) < 600


def test_a_cancelled_coroutine_can_cancel_no_more(opened: Opened) -> None:
    """A function that cancels its own asyncio task has failed, and the next one runs."""
    _module("""
        import asyncio
        async def handle(body):
            if body != b"next":
                asyncio.current_task().cancel()
            if body != b"ends":
                await asyncio.sleep(0)
    """)
    function = opened(timeout=60.0)
    for body, why in ((b"task", "CancelledError (tasks.py:7)"), (b"ends", "CancelledError")):
        outcome = function.run(replace(TASK, body=body))
        assert isinstance(outcome, Failed)
        assert outcome.why == why
        assert function.run(replace(TASK, body=b"next")) == Done()


class TestOpen:
    """What can't work is said before the first task."""

    @pytest.mark.parametrize("target", ["tasks", "tasks:", ":handle", "", "tasks:a..b", ".tasks:handle", ":"])
    def test_what_is_no_target(self, target: str) -> None:
        """A module and a name are needed."""
        assert _refused(target).startswith(f"--call {target}: this is not MODULE:FUNCTION. Write MODULE:FUNCTION")

    @pytest.mark.parametrize(
        ("text", "target", "message"),
        [
            ("", "taks:handle", "there is no module 'taks' here or on Python's path. Write"),
            ("", "tasks.py:handle", "there is no module 'tasks.py' here"),
            ("", "json.nothing:handle", "there is no module 'json.nothing' here"),
            (
                "import nowhere",
                "tasks:handle",
                "importing tasks fails: ModuleNotFoundError: No module named 'nowhere' (t",
            ),
            ("\n\nraise ValueError('boom')", "tasks:handle", "importing tasks fails: ValueError: boom (tasks.py:3)."),
            ("raise SystemExit", "tasks:handle", "importing tasks fails: SystemExit (tasks.py:1)."),
            ("def", "tasks:handle", "importing tasks fails: SyntaxError: invalid syntax (tasks.py, line 1)."),
            ("import os; os._exit(3)", "tasks:handle", "the process that was importing tasks ended with exit code 3."),
            (
                "import os; os.kill(0, 11)",
                "tasks:handle",
                "the process that was importing tasks was killed by SIGSEGV.",
            ),
            ("def handle(b): 1", "tasks:handl", "module tasks has no 'handl'. Did you mean 'handle'?"),
            ("class W: 1", "tasks:W.quux", "module tasks has no 'W.quux'."),
            ("handle = 'x'", "tasks:handle", "handle is of the type str, and can't be called. Name"),
            ("def handle(): 1", "tasks:handle", "handle can't be called with one argument: too many positional"),
            ("def handle(a, b): 1", "tasks:handle", "handle can't be called with one argument: missing a required"),
            ("def handle(a, *, b): 1", "tasks:handle", "handle can't be called with one argument: missing a required"),
            ("def handle(a: str): 1", "tasks:handle", "handle gets no such argument as its annotation says. Annotate"),
            ("def handle(a: 'dict[str, int]'): 1", "tasks:handle", "handle gets no such argument"),
            ("def handle(a: int | None): 1", "tasks:handle", "handle gets no such argument"),
            ("def handle(a): yield", "tasks:handle", "handle is a generator, calling it does nothing. Take"),
            (
                "class W:\n  def __call__(self, a): yield\nw = W()",
                "tasks:w",
                "w is a generator, calling it does nothing.",
            ),
            ("async def handle(a): yield", "tasks:handle", "handle is a generator, calling it does nothing. Take"),
        ],
    )
    def test_what_can_not_be_used(self, text: str, target: str, message: str) -> None:
        """One line: what is wrong, and what to do."""
        _module(text)
        assert _refused(target).startswith(f"--call {target}: {message}")

    def test_a_start_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a Python to start there is no traceback, either."""
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert _refused().startswith("--call tasks:handle: its process can't be started: No such file or directory.")

    def test_an_import_that_takes_for_ever(self) -> None:
        """Only kill() ends it, and then it does."""
        _module(f"{WRITE_PID}\n    pid(); time.sleep(1000)")
        function = _driven()
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(function.open)
            _pid()
            function.kill()
            with pytest.raises(UsageError, match="killed by SIGKILL"):
                opening.result(SECONDS)
        with pytest.raises(UsageError, match="killed"):
            function.open()
        function.stop()

    def test_children_that_ended_unseen(self, opened: Opened) -> None:
        """A worker that was started with SIGCHLD ignored still learns how its processes end."""
        _module("import os\ndef handle(body): os._exit(3)")
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert opened().run(TASK) == Failed("the process of the function ended with exit code 3", exit_code=3)
        finally:
            signal.signal(signal.SIGCHLD, before)


class TestDeath:
    """A process that dies, and the next one."""

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    @pytest.mark.parametrize(
        ("death", "outcome"),
        [
            ("os._exit(3)", Failed("the process of the function ended with exit code 3", exit_code=3)),
            ("os._exit(0)", Failed("the process of the function ended with exit code 0", exit_code=0)),
            ("os.kill(os.getpid(), 11)", Failed("the process of the function was killed by SIGSEGV", exit_code=-11)),
        ],
    )
    def test_it_costs_the_task_one_attempt(self, opened: Opened, keyword: str, death: str, outcome: Outcome) -> None:
        """The task has failed, with what the system says of it; the next one runs in a new process."""
        _module(f"import os\n{keyword} handle(body):\n    if body == b'task': {death}")
        function = opened()
        for _ in range(2):
            assert function.run(TASK) == outcome
            assert function.run(replace(TASK, body=b"next")) == Done()

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_while_it_is_idle_it_costs_nothing(self, opened: Opened, keyword: str) -> None:
        """A process that was killed between two tasks is replaced, and no attempt is lost."""
        _module(f"{WRITE_PID}\n    {keyword} handle(body): pid()")
        function = opened(jobs=2)
        assert function.run(TASK) == Done()
        first = _pid()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: _is_gone(first))
        assert function.run(TASK) == Done()
        assert _pid() != first

    def test_all_tasks_of_an_async_process_fail_with_it(self, opened: Opened) -> None:
        """Each of the tasks that were at work in it, and the next ones run together in one new process."""
        _module(f"""{WRITE_PID}
    async def handle(body):
        pid(body.decode())
        if body.startswith(b"wait"):
            await asyncio.sleep(1000)
        if body == b"die":
            os._exit(9)
        """)
        function = opened(jobs=3)
        died = Failed("the process of the function ended with exit code 9", exit_code=9)
        with ThreadPoolExecutor(3) as pool:
            waiting = [pool.submit(function.run, replace(TASK, body=body)) for body in (b"wait1", b"wait2")]
            assert _pid("wait1") == _pid("wait2")
            assert function.run(replace(TASK, body=b"die")) == died
            assert [each.result(SECONDS) for each in waiting] == [died, died]
            fine = [pool.submit(function.run, replace(TASK, body=body)) for body in (b"a", b"b", b"c")]
            assert [each.result(SECONDS) for each in fine] == [Done()] * 3
        assert _pid("a") == _pid("b") == _pid("c") != _pid("die")

    def test_a_new_process_that_can_not_begin(self, opened: Opened) -> None:
        """A module that has changed for the worse is the worker's trouble, not the task's."""
        _module("import os\ndef handle(body): os._exit(3)")
        function = opened()
        assert isinstance(function.run(TASK), Failed)
        _module("raise ValueError('boom, and a size that differs')")
        for _ in range(2):
            outcome = function.run(TASK)
            assert isinstance(outcome, CannotRun)
            assert outcome.why.startswith("--call tasks:handle: importing tasks fails: ValueError: boom")

    def test_an_async_function_that_no_longer_is(self, opened: Opened) -> None:
        """A worker that shares one process among its jobs can't go on with one per job."""
        _module("import os\nasync def handle(body): os._exit(3)")
        function = opened(jobs=2)
        assert isinstance(function.run(TASK), Failed)
        _module("def handle(body): 'no longer async'")
        outcome = function.run(TASK)
        assert isinstance(outcome, CannotRun)
        assert "it was async and no longer is. Start the worker again." in outcome.why

    def test_a_fork_does_not_answer(self, opened: Opened) -> None:
        """A copy of the process that the function leaves behind neither answers for it nor hides its death."""
        _module(f"""{WRITE_PID}
    def handle(body):
        if body == b"task":
            fork = os.fork()
            if fork == 0:
                time.sleep(1000)
            pid("fork", fork)
            os._exit(4)
        if body == b"both":
            os.fork()
        """)
        function = opened()
        assert function.run(TASK) == Failed("the process of the function ended with exit code 4", exit_code=4)
        os.kill(_pid("fork"), signal.SIGKILL)
        for _ in range(5):
            assert function.run(replace(TASK, body=b"both")) == Done()

    def test_what_it_has_started_does_not_hide_its_death(self, opened: Opened) -> None:
        """A program that was given every open file, as os.system() does, holds none of ours."""
        _module(f"""{WRITE_PID}
    def handle(body):
        pid("other", subprocess.Popen(["sleep", "1000"], close_fds=False).pid)
        os._exit(4)
        """)
        function = opened(timeout=SECONDS)
        assert function.run(TASK) == Failed("the process of the function ended with exit code 4", exit_code=4)
        os.kill(_pid("other"), signal.SIGKILL)

    def test_processes_end_with_their_worker(self, folder: Path) -> None:
        """A worker that is killed leaves none behind, once the task at work is over."""
        _module(f"""{WRITE_PID}
    def handle(body):
        pid(body.decode())
        if body == b"at_work":
            while not os.path.exists("go"): time.sleep(0.01)
            pid("over")
        """)
        script = """
import asyncio
from rqtool.handlers.callables import Function
from rqtool.task import Task
from tests.driven import Run
async def main():
    f = Function('tasks:handle', jobs=2)
    await f.open()
    f.begin(Run(Task(b'at_work', 'q', '', 1, False)))
    f.begin(Run(Task(b'idle', 'q', '', 1, False)))
    await asyncio.sleep(1000)
asyncio.run(main())
"""
        worker = subprocess.Popen([sys.executable, "-c", script], env=clean_environment(PYTHONPATH=str(ROOT)))
        try:
            idle, at_work = _pid("idle"), _pid("at_work")
            assert idle != at_work
        finally:
            worker.kill()
            worker.wait()
        eventually(lambda: _is_gone(idle), what="the idle process")
        assert not _is_gone(at_work)
        Path("go").touch()
        assert _pid("over") == at_work
        eventually(lambda: _is_gone(at_work), what="the process that was at work")


class TestJobs:
    """Several tasks at once."""

    def test_a_process_for_each_job(self, opened: Opened) -> None:
        """Functions that are not async meet in different processes, started as they are needed."""
        _module(f"""{WRITE_PID}
    def handle(body):
        pid(body.decode())
        while not (os.path.exists("a") and os.path.exists("b")): time.sleep(0.01)
        """)
        function = opened(jobs=3)
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(function.run, replace(TASK, body=body)) for body in (b"a", b"b")]
            assert [each.result(SECONDS) for each in runs] == [Done()] * 2
        assert _pid("a") != _pid("b")
        assert len(_processes()) == 2

    def test_one_process_for_all_that_is_async(self, opened: Opened) -> None:
        """Async functions meet on one event loop, and each gets its own answer."""
        _module("""
            import asyncio, rqtool
            here = []
            async def handle(body):
                here.append(body)
                while len(here) < 20: await asyncio.sleep(0.01)
                raise rqtool.Reject(body.decode())
        """)
        function = opened(jobs=20)
        bodies = [str(number).encode() for number in range(20)]
        with ThreadPoolExecutor(20) as pool:
            outcomes = list(pool.map(lambda body: function.run(replace(TASK, body=body)), bodies))
        assert outcomes == [Rejected(body.decode()) for body in bodies]
        assert len(_processes()) == 1

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_many_tasks(self, opened: Opened, keyword: str) -> None:
        """Each answer belongs to its task, whoever else runs, and dies, beside it."""
        _module(f"import os, rqtool\n{keyword} handle(body):\n    raise rqtool.Reject(body.decode())")
        function = opened(jobs=4)
        with ThreadPoolExecutor(4) as pool:
            outcomes = list(pool.map(lambda n: function.run(replace(TASK, body=b"%d" % n)), range(500)))
        assert outcomes == [Rejected(str(number)) for number in range(500)]


class TestTimeout:
    """A function that takes too long."""

    @pytest.fixture(autouse=True)
    def short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The grace period is a number; what is tried here is what comes after it."""
        monkeypatch.setattr(callables, "KILL_AFTER", GRACE)
        monkeypatch.setattr(callable_processes, "KILL_AFTER", GRACE)

    def test_it_is_ended(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its process gets SIGTERM when its time is up, and the next task a new one as soon as that has ended."""
        monkeypatch.setattr(callable_processes, "KILL_AFTER", 1000.0)
        _module(f"""{WRITE_PID}
    def handle(body):
        if body == b"task":
            signal.signal(signal.SIGTERM, lambda *_: (pid("term"), os._exit(1)))
            pid(); time.sleep(1000)
        """)
        function = opened(timeout=0.5)
        assert function.run(TASK) == Failed("timed out after 500ms")
        assert _pid("term") == _pid()
        assert function.run(replace(TASK, body=b"next")) == Done()

    def test_what_ignores_sigterm_is_killed(self, opened: Opened) -> None:
        """And so is all that it has started."""
        _module(f"""{WRITE_PID}
    def handle(body):
        if body == b"task":
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            pid("other", subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"]).pid)
            pid(); time.sleep(1000)
        """)
        function = opened(timeout=3.0)
        assert function.run(TASK) == Failed("timed out after 3s")
        assert _is_gone(_pid())
        eventually(lambda: _is_gone(_pid("other")))
        assert function.run(replace(TASK, body=b"next")) == Done()

    def test_what_it_has_started_is_killed_if_it_stays(self, opened: Opened) -> None:
        """The process itself ends at SIGTERM, one that it has started does not."""
        _module(f"""{WRITE_PID}
    def handle(body):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        other = subprocess.Popen(["sleep", "1000"])
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        pid("other", other.pid)
        time.sleep(1000)
        """)
        function = opened(timeout=1.0)
        assert function.run(TASK) == Failed("timed out after 1s")
        eventually(lambda: _is_gone(_pid("other")))

    def test_a_coroutine_is_cancelled(self, opened: Opened) -> None:
        """It can clean up; its process and the others' tasks go on, and the detail says where it was."""
        _module(f"""{WRITE_PID}
    async def handle(body):
        if body == b"task":
            try: await asyncio.sleep(1000)
            finally: pid("cleaned")
        else:
            while not os.path.exists("go"): await asyncio.sleep(0.01)
            pid("other")
        """)
        function = opened(jobs=2, timeout=3.0)
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(function.run, TASK)
            outcome = late.result(SECONDS)
            assert isinstance(outcome, Failed)
            assert outcome.why == "timed out after 3s"
            assert "await asyncio.sleep(1000)" in outcome.detail
            other = pool.submit(function.run, replace(TASK, body=b"other"))
            Path("go").touch()
            assert other.result(SECONDS) == Done()
        assert _pid("cleaned") == _pid("other")

    def test_a_timeout_of_its_own_is_an_exception(self, opened: Opened) -> None:
        """A TimeoutError that the function raises is not ours."""
        _module("async def handle(body): raise TimeoutError('theirs')")
        outcome = opened(timeout=60.0).run(TASK)
        assert isinstance(outcome, Failed)
        assert outcome.why == "TimeoutError: theirs (tasks.py:1)"

    @pytest.mark.parametrize("stubborn", ["time.sleep(1000)", "await stay()"])
    def test_a_coroutine_that_does_not_end(self, opened: Opened, stubborn: str) -> None:
        """Its process is killed, with the tasks beside it, which are told why; the next task gets a new one."""
        _module(f"""{WRITE_PID}
    async def stay():
        while True:
            try: await asyncio.sleep(1000)
            except asyncio.CancelledError: pass
    async def handle(body):
        if body == b"beside":
            pid("beside"); await stay()
        if body == b"task":
            await asyncio.sleep(0.2); {stubborn}
        """)
        function = opened(jobs=2, timeout=1.0)
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(function.run, TASK)
            assert late.result(SECONDS) == Failed("timed out after 1s")
        assert function.run(replace(TASK, body=b"next")) == Done()

    def test_the_tasks_beside_it_are_told_why(self, opened: Opened) -> None:
        """A task that has done nothing wrong says that it was another."""
        _module(f"""{WRITE_PID}
    async def handle(body):
        pid(body.decode())
        if body == b"beside": await asyncio.sleep(1000)
        while not os.path.exists("beside"): await asyncio.sleep(0.01)
        time.sleep(1000)
        """)
        function = opened(jobs=2, timeout=2.0)
        [late] = function.begin(TASK)
        _pid("task")
        [beside] = function.begin(replace(TASK, body=b"beside"))
        assert late.outcome.result(SECONDS) == Failed("timed out after 2s")
        assert "shared its process with a task that did not end" in getattr(beside.outcome.result(SECONDS), "why", "")

    def test_an_endless_timeout(self, opened: Opened) -> None:
        """More than poll() can count is no error."""
        _module("def handle(body): pass")
        assert opened(timeout=1e12).run(TASK) == Done()


def _tasks(*bodies: bytes) -> list[Task]:
    return [replace(TASK, body=body) for body in bodies]


def _results(runs: list[Run]) -> list[Outcome]:
    return [run.outcome.result(SECONDS) for run in runs]


def _begin_and_withdraw(function: Function, run: Run) -> None:
    function.begin(run)
    function.withdraw()


class TestAhead:
    """More tasks than jobs: they wait at the process, and are nobody else's business until they begin."""

    WRITE_AND_WAIT = f"""{WRITE_PID}
    def handle(body):
        pid(body.decode())
        while body.startswith(b"wait") and not os.path.exists("go"): time.sleep(0.01)
        if body == b"die": os._exit(3)
    """

    def test_short_ones_are_wanted_ahead(self, opened: Opened) -> None:
        """How many depends on how long they take; none before that is known."""
        _module("import time\ndef handle(body): time.sleep(float(body))")
        function = opened(jobs=2)
        assert function.handler.capacity == 2
        assert function.work_off(*_tasks(*[b"0"] * 50)) == [Done()] * 50
        assert function.handler.capacity > 10
        assert function.work_off(*_tasks(b"0.3", b"0.3")) == [Done()] * 2
        assert function.handler.capacity == 2

    def test_they_begin_one_by_one(self, opened: Opened) -> None:
        """Whoever looks on sees each begin when the one before has ended, in the order in which they came."""
        _module("def handle(body): pass")
        function = opened()
        seen: list[tuple[str, bytes]] = []

        runs = [Seen(task, seen) for task in _tasks(*(b"%d" % n for n in range(200)))]
        function.call(lambda: [function.handler.begin(run) for run in runs])  # type: ignore[func-returns-value]
        assert _results([*runs]) == [Done()] * 200
        assert seen == [(what, b"%d" % n) for n in range(200) for what in ("begun", "ended")]

    def test_bodies_of_all_sizes(self, opened: Opened) -> None:
        """Those that are too large for a datagram keep their place."""
        _module("import hashlib, rqtool\ndef handle(body): raise rqtool.Reject(hashlib.sha256(body).hexdigest())")
        bodies = [os.urandom(size) for size in (0, 1, 16_000, 16_371, 16_372, 16_373, 20_000, 70_000, 5_000_000) * 5]
        expected = [Rejected(hashlib.sha256(body).hexdigest()) for body in bodies]
        assert opened().work_off(*_tasks(*bodies)) == expected

    def test_what_begins_at_once_is_told_before(self, opened: Opened, tmp_path: Path) -> None:
        """What it prints comes after that it was received."""
        _module("def handle(body): open('log', 'a').write('ran')")

        class Told(Run):
            def begun(self) -> None:
                with (tmp_path / "log").open("a") as log:
                    log.write("begun ")

        function = opened()
        for _ in range(50):
            run = Told(TASK)
            function.call(partial(function.handler.begin, run))
            assert run.outcome.result(SECONDS) == Done()
        assert (tmp_path / "log").read_text() == "begun ran" * 50

    def test_withdrawn(self, opened: Opened) -> None:
        """What waits behind a task is returned at once, and only that; it is not run, and can be handed over again."""
        _module(self.WRITE_AND_WAIT)
        function = opened()
        at_work, *behind = function.begin(*_tasks(b"wait", b"a", b"b" * 20_000, b"c"))
        _pid("wait")
        function.call(function.handler.withdraw)
        assert [run.told for run in (at_work, *behind)] == [["begun"], *[["returned"]] * 3]
        function.call(lambda: function.handler.begin(behind[0]))
        Path("go").touch()
        assert _results([at_work, behind[0]]) == [Done()] * 2
        assert _files() == ["a", "go", "tasks.py", "wait"]

    def test_withdrawn_before_it_is_taken(self, opened: Opened) -> None:
        """A task that has begun, as far as anyone can know, goes on, whether its process has taken it or not."""
        _module("def handle(body): pass")
        function = opened()
        for _ in range(200):
            [run] = (Run(task) for task in _tasks(b"x"))
            function.call(partial(_begin_and_withdraw, function.handler, run))
            assert run.outcome.result(SECONDS) == Done()
            assert run.told == ["begun", "ended"]

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_withdrawn_again_and_again(self, opened: Opened, keyword: str) -> None:
        """While we take a task back, the process may take the one behind it: each of them has its end all the same."""
        _module(f"import rqtool\n{keyword} handle(body): raise rqtool.Reject(body.decode())")
        function = opened(jobs=2)
        left = iter(_tasks(*(b"%d" % number for number in range(5_000))))
        ended: dict[bytes, Outcome] = {}
        over = threading.Event()

        class Persistent(Run):
            def ended(self, outcome: Outcome) -> None:
                assert ended.setdefault(self.task.body, outcome) is outcome
                if len(ended) == 5_000:
                    over.set()

            def returned(self) -> None:
                function.loop.call_soon(function.handler.begin, self)

        def hand_over_and_withdraw() -> None:
            if over.is_set():
                return
            for task in islice(left, 5):
                function.handler.begin(Persistent(task))
            function.handler.withdraw()
            function.loop.call_later(0.0002, hand_over_and_withdraw)

        function.call(hand_over_and_withdraw)
        assert over.wait(SECONDS), f"{len(ended)} have ended"
        assert ended == {b"%d" % number: Rejected(str(number)) for number in range(5_000)}

    def test_nothing_waits_behind_a_slow_one(self, opened: Opened) -> None:
        """What waits behind it is returned, and goes to other processes from then on."""
        _module(self.WRITE_AND_WAIT)
        function = opened(jobs=2)
        slow, beside, behind = function.begin(*_tasks(b"wait", b"a", b"b"))
        for run in (beside, behind):
            eventually(lambda run=run: run.told[-1:] in (["returned"], ["ended"]))  # type: ignore[misc]
        for n in range(20):
            assert function.work_off(replace(TASK, body=b"c%d" % n)) == [Done()]
        assert not slow.outcome.done()
        Path("go").touch()
        assert slow.outcome.result(SECONDS) == Done()

    def test_a_death_is_nobody_elses(self, opened: Opened) -> None:
        """Of all that wait at a process that dies only the task at work has failed."""
        _module(self.WRITE_AND_WAIT)
        outcomes = opened().work_off(*_tasks(b"a", b"die", b"b", b"c", b"die", b"d"))
        died = Failed("the process of the function ended with exit code 3", exit_code=3)
        assert outcomes == [Done(), died, Done(), Done(), died, Done()]

    def test_a_task_that_was_not_taken_is_for_the_next_process(self, opened: Opened) -> None:
        """It has begun, as far as anyone can know, and yet not died with a process that had not taken it."""
        _module(f"{WRITE_PID}\n    def handle(body): pid()")
        function = opened()
        assert function.run(TASK) == Done()
        first = _pid()
        os.kill(first, signal.SIGSTOP)
        [run] = function.begin(TASK)
        assert run.told == ["begun"]
        os.kill(first, signal.SIGKILL)
        assert run.outcome.result(SECONDS) == Done()
        assert _pid() != first

    def test_a_timeout_is_nobody_elses(self, opened: Opened) -> None:
        """Its time begins when the one before has ended; what waits behind one that is late is returned."""
        _module("import time\ndef handle(body): time.sleep(float(body))")
        function = opened(timeout=1.0)
        runs = function.begin(*_tasks(b"0.6", b"0.6"))
        eventually(lambda: runs[1].told == ["returned"])
        assert runs[0].outcome.result(SECONDS) == Done()
        late, behind = function.begin(*_tasks(b"1000", b"0"))
        assert late.outcome.result(SECONDS) == Failed("timed out after 1s")
        assert behind.told == ["returned"]

    def test_a_killed_workers_are_not_begun(self) -> None:
        """The broker gives them to others: the process ends after the task at work."""
        _module(self.WRITE_AND_WAIT)
        script = """
import asyncio
from rqtool.handlers.callables import Function
from tests.driven import Run
from tests.unit.test_callables import _tasks
async def main():
    f = Function('tasks:handle', jobs=1)
    await f.open()
    f._pace.add(0.0)
    for task in _tasks(b'wait', b'a', b'b'): f.begin(Run(task))
    import time; time.sleep(1000)
asyncio.run(main())
"""
        worker = subprocess.Popen([sys.executable, "-c", script], env=clean_environment(PYTHONPATH=str(ROOT)))
        try:
            at_work = _pid("wait")
        finally:
            worker.kill()
            worker.wait()
        Path("go").touch()
        eventually(lambda: _is_gone(at_work))
        assert _files() == ["go", "tasks.py", "wait"]

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_a_killed_workers_are_not_begun_by_an_idle_process(self, keyword: str) -> None:
        """What it was handed in the worker's last moment, and had not taken, is others' by now."""
        _module(f"""{WRITE_PID}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # it comes with the wake-up
    {keyword} handle(body): pid("begun")
        """)
        script = """
import asyncio, os, signal
from rqtool.handlers.callables import Function
from tests.unit.test_callables import Run, _tasks
async def main():
    f = Function('tasks:handle', jobs=1)
    await f.open()
    child = f._lines[0].child.process.pid
    os.kill(child, signal.SIGSTOP)
    for task in _tasks(b'a'): f.begin(Run(task))
    print(child, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
asyncio.run(main())
"""
        # Its process has the same stdout, and would keep a pipe open.
        with Path("child").open("wb") as stdout:
            environment = clean_environment(PYTHONPATH=str(ROOT))
            subprocess.run([sys.executable, "-c", script], env=environment, stdout=stdout, timeout=SECONDS)
        idle = int(Path("child").read_text())
        with suppress(ProcessLookupError):
            os.kill(idle, signal.SIGCONT)
        eventually(lambda: _is_gone(idle))
        assert "begun" not in os.listdir()

    def test_a_full_disk(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """A body that can't be stored is that task's trouble."""
        _module("def handle(body): pass")
        monkeypatch.setattr("tempfile.TemporaryFile", Mock(side_effect=OSError(28, "No space left")))
        large = replace(TASK, body=b"x" * 100_000)
        assert opened().work_off(TASK, large, TASK) == [Done(), Failed("[Errno 28] No space left"), Done()]

    def test_a_disk_that_has_room_for_a_part(self, opened: Opened) -> None:
        """No function is called with the beginning of a body: the system writes what fits, and calls that no error."""
        _module("import rqtool\ndef handle(body): raise rqtool.Reject(str(len(body)))")
        function = opened()
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
        try:
            outcomes = function.work_off(*_tasks(b"x" * 100_000, b"x" * 40_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert outcomes == [Failed("[Errno 27] File too large"), Rejected("40000")]

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_a_process_that_may_open_no_more_files(self, opened: Opened, keyword: str) -> None:
        """It can't take a large body, and says so; the next one it can."""
        _module(f"""
            import os, resource
            {keyword} handle(body):
                most = os.dup(0) if body == b"few" else 1024
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        """)
        large = b"x" * 100_000
        function = opened()
        # One by one: what is handed over ahead may be in the process before the limit is.
        outcomes = [function.run(task) for task in _tasks(large, b"few", large, b"many", large)]
        assert outcomes == [Done(), Done(), Failed("[Errno 24] Too many open files"), Done(), Done()]

    def test_an_async_one_has_its_jobs_and_no_more(self, opened: Opened) -> None:
        """Whatever waits there, no more tasks are at work at once than there are jobs."""
        _module("""
            import asyncio, rqtool
            here = 0
            async def handle(body):
                global here
                here += 1
                most = here
                await asyncio.sleep(0.001)
                most = max(most, here)
                here -= 1
                raise rqtool.Reject(str(most))
        """)
        outcomes = opened(jobs=3).work_off(*_tasks(*[b""] * 100))
        assert {int(outcome.why) for outcome in outcomes if isinstance(outcome, Rejected)} <= {1, 2, 3}


class TestTheEnd:
    """kill() and close()."""

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_kill(self, opened: Opened, keyword: str) -> None:
        """What runs fails soon, in all processes with all that they have started; what would run fails at once."""
        _module(f"""{WRITE_PID}
    {keyword} handle(body):
        pid(body.decode() + "other", subprocess.Popen(["sleep", "1000"]).pid)
        pid(body.decode())
        {"await asyncio" if keyword == "async def" else "time"}.sleep(1000)
        """)
        function = opened(jobs=3)
        with ThreadPoolExecutor(2) as pool:
            runs = [pool.submit(function.run, replace(TASK, body=body)) for body in (b"a", b"b")]
            pids = [_pid(name) for name in ("a", "b", "aother", "bother")]
            function.kill()
            assert [each.result(SECONDS) for each in runs] == [Failed("killed")] * 2
        assert function.run(TASK) == Failed("killed")
        eventually(lambda: all(map(_is_gone, pids)))

    def test_kill_while_a_process_is_timed_out(self, opened: Opened) -> None:
        """Nobody waits for the grace period of a process that ignores SIGTERM."""
        _module(f"""{WRITE_PID}
    def handle(body):
        signal.signal(signal.SIGTERM, lambda *_: pid("term"))
        while True: time.sleep(1)
        """)
        function = opened(timeout=0.5)
        with ThreadPoolExecutor(1) as pool:
            late = pool.submit(function.run, TASK)
            _pid("term")
            started = time.monotonic()
            function.kill()
            assert late.result(SECONDS) == Failed("killed")
        assert time.monotonic() - started < KILL_AFTER - 1

    @pytest.mark.parametrize("keyword", ["def", "async def"])
    def test_close_lets_an_idle_process_end_by_itself(self, opened: Opened, keyword: str) -> None:
        """What the module wants done at its end is done."""
        _module(f"{WRITE_PID}\n    import atexit; atexit.register(pid, 'end')\n    {keyword} handle(body): pid()")
        function = opened(jobs=2)
        assert function.run(TASK) == Done()
        function.close()
        assert _pid("end") == _pid()
        assert _processes() == []

    def test_close_kills_what_does_not_end(self, opened: Opened) -> None:
        """A thread that the function has left running holds nobody up."""
        _module("import threading, time\ndef handle(body): threading.Thread(target=time.sleep, args=(1000,)).start()")
        function = opened()
        assert function.run(TASK) == Done()
        function.close()
        assert _processes() == []
        function.close()

    def test_no_descriptor_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However often processes die, time out or end: their sockets are closed."""
        monkeypatch.setattr(callables, "KILL_AFTER", GRACE)
        monkeypatch.setattr(callable_processes, "KILL_AFTER", GRACE)
        _module("""
            import asyncio, os, time
            def handle(body): os._exit(1) if body == b"task" else time.sleep(1000)
            async def later(body): os._exit(1) if body == b"task" else time.sleep(1000)
        """)
        for target in ("tasks:handle", "tasks:later"):
            function = _driven(target, jobs=5, timeout=0.3)
            before = set(os.listdir("/dev/fd"))
            function.open()
            assert len(os.listdir("/dev/fd")) == len(before) + 3
            for body in (b"task", b"sleep", b"task"):
                assert isinstance(function.run(replace(TASK, body=body)), Failed)
            function.close()
            assert set(os.listdir("/dev/fd")) == before
            function.stop()


def test_the_process_imports_no_more_than_it_needs(opened: Opened) -> None:
    """Neither the AMQP client nor the command line, nor asyncio for a function without it."""
    _module("import sys, json\nNAMES = list(sys.modules)\ndef handle(body): json.dump(NAMES, open('out', 'w'))")
    assert opened().run(TASK) == Done()
    loaded = {name.split(".")[0] for name in json.loads(Path("out").read_text())}
    assert "rqtool" in loaded
    assert loaded & {"pika", "typer", "rich", "asyncio", "urllib3", "subprocess"} == set()


def test_tasks_are_run_from_several_threads_and_by_one_loop(opened: Opened) -> None:
    """As many tasks as there are jobs never wait for each other."""
    _module("def handle(body): pass")
    function = opened(jobs=3)
    meeting = threading.Barrier(3)

    def work() -> list[Outcome]:
        meeting.wait(SECONDS)
        return [function.run(TASK) for _ in range(100)]

    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(work) for _ in range(3)]
        assert [outcome for each in runs for outcome in each.result(SECONDS)] == [Done()] * 300
