"""Functions run for tasks: real modules, real processes, real deaths."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

import rqtool
from rqtool.errors import UsageError
from rqtool.run.encoding import PRETENDED, Spec
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from rqtool.run.pool import Pool
from rqtool.run.runner import CLOSE_SECONDS
from rqtool.run.task import Task
from tests.driven import SECONDS, Driven, Run, Seen
from tests.tools import clean_environment, eventually, is_alive

TASK = Task(body=b"task", queue="q", message_id="id 1", attempt=2, redelivered=True, headers={"a": "é\udcff"})
ROOT = Path(__file__).parents[3]
KEYWORDS = pytest.mark.parametrize("keyword", ["def", "async def"])
DIED = "the process of the function "
BESIDE = """
here = 0
with open("started", "a") as log: log.write(f"{os.getpid()}\\n")
def end(): time.sleep(0.2); os._exit(9)
async def handle(body):
    global here
    here += 1
    with open("begun", "a") as log: log.write(f"{body.decode()} {here}\\n")
    match body.split()[0]:
        case b"die": await asyncio.sleep(0.2); os._exit(9)
        case b"block": await asyncio.sleep(0.1); time.sleep(1000)
        case b"thread": await asyncio.to_thread(end)
        case b"fork":
            if not (child := os.fork()): sys.exit()
            os.waitpid(child, 0); time.sleep(1000)
        case b"busy":
            for _ in range(500): await asyncio.sleep(0); sum(range(20_000))
        case _: await asyncio.sleep(0.5)
    here -= 1
"""
"""A module that notes in `begun` how many tasks are there when each begins."""
PRELUDE = """
import asyncio, os, pathlib, signal, subprocess, sys, time
import rqtool
def pid(name="pid", number=None):
    pathlib.Path(name + ".part").write_text(str(number or os.getpid()))
    os.rename(name + ".part", name)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, where users keep their modules. Whatever a test has started is gone after it."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    eventually(lambda: not _processes(), what="processes of functions are left over")


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """The grace period is a number; what is tried here is what comes after it."""
    monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", 1.0)


@pytest.fixture
def endless_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A grace period that never ends: a test hangs if anything waits for it."""
    monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", 1000.0)


def _processes() -> list[str]:
    shown = subprocess.run(["ps", "-A", "-ww", "-o", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if line.split()[0] == str(os.getpid()) and "rqtool.run.child" in line]


def _module(text: str, name: str = "tasks") -> None:
    Path(f"{name}.py").write_text(PRELUDE + textwrap.dedent(text))


def _driven(
    target: str = "tasks:handle", *, jobs: int = 1, timeout: float | None = None, stdout: int | None = None
) -> Driven:
    return Driven(Pool(Spec("function", [target], timeout), jobs, stdout=stdout))


Opened = Callable[..., Driven]


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Opens a function, and closes it after the test."""
    all_of_them: list[Driven] = []

    def opened(
        target: str = "tasks:handle", *, jobs: int = 1, timeout: float | None = None, stdout: int | None = None
    ) -> Driven:
        function = _driven(target, jobs=jobs, timeout=timeout, stdout=stdout)
        all_of_them.append(function)
        function.open()
        return function

    yield opened
    for function in all_of_them:
        function.stop()


@contextmanager
def _worker(script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that does with `pool` what the script says; it is killed in the end."""
    head = (
        "import os, resource, signal, time\n"
        "from tests.driven import *\nfrom tests.integration.run.test_functions import *\n"
    )
    command = [sys.executable, "-c", head + textwrap.dedent(script)]
    worker = subprocess.Popen(command, env=clean_environment(PYTHONPATH=str(ROOT)))
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def driven(jobs: int, timeout: float | None = None) -> Driven:
    """A pool that is open, for scripts."""
    function = _driven(jobs=jobs, timeout=timeout)
    function.open()
    return function


def tasks(*bodies: bytes) -> list[Task]:
    """Tasks that differ in their bodies alone."""
    return [replace(TASK, body=body) for body in bodies]


def _results(runs: list[Run]) -> list[Outcome]:
    return [run.outcome.result(SECONDS) for run in runs]


def _whys(outcomes: list[Outcome]) -> list[str]:
    return [getattr(outcome, "why", repr(outcome)) for outcome in outcomes]


def _alive() -> list[str]:
    """The pids and states of our children that have not ended."""
    shown = subprocess.run(["ps", "-A", "-o", "pid=,stat="], capture_output=True, text=True, check=True).stdout
    return [line for line in shown.splitlines() if "Z" not in line]


def _pid(name: str = "pid") -> int:
    return int(eventually(lambda: Path(name).exists() and Path(name).read_text(), what=name))


def _begun() -> list[str]:
    return Path("begun").read_text().splitlines()


def _started() -> list[str]:
    return Path("started").read_text().split()


class TestTheCall:
    """What the function is called with, and what it does."""

    @pytest.mark.parametrize("parameter", ["body", "task: rqtool.Task"])
    @KEYWORDS
    def test_bodies_of_all_sizes(self, opened: Opened, keyword: str, parameter: str) -> None:
        """They come unchanged, whether they fit into the line or not; and so does all else of a task, on request."""
        _module(f"""
            import hashlib
            {keyword} handle({parameter}):
                raise rqtool.Reject(hashlib.sha256(ascii({parameter[:4]}).encode()).hexdigest())
        """)
        given = [
            replace(TASK, body=os.urandom(size), headers={"a": "é\udcff", "long": "x" * (size % 100_000 // 2)})
            for size in (0, 1, 16_000, 16_383, 16_384, 16_385, 70_000, 5_000_000, 3) * 2
        ]
        arguments = [task.body if parameter == "body" else task for task in given]
        expected = [Rejected(hashlib.sha256(ascii(argument).encode()).hexdigest()) for argument in arguments]
        assert opened(jobs=2, timeout=60.0).work_off(*given) == expected

    @pytest.mark.parametrize("name", ["Worker.static", "Worker.on_class", "worker", "worker.method", "part", "later"])
    def test_anything_that_can_be_called(self, opened: Opened, name: str) -> None:
        """Methods, objects, partial functions, and what returns an awaitable."""
        _module("""
            import functools
            class Worker:
                @staticmethod
                def static(body): done(body)
                @classmethod
                def on_class(cls, body): done(body)
                def method(self, body): done(body)
                async def __call__(self, body): await asyncio.sleep(0); done(body)
            worker = Worker()
            def done(body, why='x'): raise rqtool.Reject(body.decode())
            part = functools.partial(done, why='y')
            def later(body): return worker(body)
        """)
        assert opened(f"tasks:{name}").work_off(*tasks(b"1", b"2")) == [Rejected("1"), Rejected("2")]

    @KEYWORDS
    def test_what_it_prints_is_out_before_the_answer(
        self, opened: Opened, monkeypatch: pytest.MonkeyPatch, keyword: str
    ) -> None:
        """print() goes where the worker's output goes, or where it is sent, and is not kept back."""
        monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
        _module(f"print('import')\n{keyword} handle(body): print(body, end='')")
        with Path("out").open("wb") as out:
            assert opened(stdout=out.fileno()).run(TASK) == Done()
        assert Path("out").read_bytes() == b"import\nb'task'"

    def test_lines_are_written_at_once_and_whole(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """Other processes write there too; PYTHONUNBUFFERED, as images of containers set it, changes nothing."""
        monkeypatch.setenv("PYTHONUNBUFFERED", "1")
        _module("""
            def handle(body):
                print(body.decode())
                while body == b"half" and not pathlib.Path("go").exists(): time.sleep(0.01)
        """)
        with Path("out").open("wb") as out:
            function = opened(jobs=4, stdout=out.fileno())
            [run] = function.begin(*tasks(b"half"))
            eventually(lambda: Path("out").read_bytes() == b"half\n")
            Path("go").touch()
            assert function.work_off(*tasks(*[b"x" * 20] * 1_000)) == [Done()] * 1_000
            assert _results([run]) == [Done()]
        assert Path("out").read_bytes() == b"half\n" + b"%s\n" % (b"x" * 20) * 1_000

    @KEYWORDS
    @pytest.mark.parametrize("how", ["close", "detach"])
    def test_one_that_closes_the_streams(
        self, opened: Opened, keyword: str, how: str, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """The next one has them again."""
        _module(f"""
            {keyword} handle(body):
                print(body.decode()); print("err", file=sys.stderr)
                for stream in sys.stdout, sys.stderr: stream.{how}()
        """)
        with Path("out").open("wb") as out:
            function = opened(stdout=out.fileno())
            assert [function.run(task) for task in tasks(b"a", b"b")] == [Done()] * 2
        assert Path("out").read_text() == "a\nb\n"
        assert capfd.readouterr().err == "err\nerr\n"

    def test_nobody_reads_what_it_prints(self, opened: Opened) -> None:
        """That is no fault of the task's."""
        _module("def handle(body): print(body)")
        reader, writer = os.pipe()
        function = opened(stdout=writer)
        os.close(writer)
        os.close(reader)
        assert function.run(TASK) == OutputGone("its reader is gone")

    def test_it_sees_an_ordinary_process(self, opened: Opened) -> None:
        """Nothing on stdin, the usual signals, nothing of rqtool's in the arguments, the folder first."""
        _module("""
            def handle(body):
                assert sys.stdin.read() == ''
                assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
                assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
                assert len(sys.argv) == 1
                assert sys.path[0] == os.getcwd()
                assert os.getpgid(0) == os.getpid()
                assert len(os.listdir("/dev/fd")) == 7, "stdin, stdout, stderr, the three lines, and this listing"
                assert not {"pika", "typer", "rich", "asyncio", "urllib3", "subprocess"} & BEFORE
        """)
        Path("tasks.py").write_text("import sys\nBEFORE = set(sys.modules)\n" + Path("tasks.py").read_text())
        ours, (reader, writer) = os.dup(0), os.pipe()
        os.dup2(reader, 0)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind an `&`
        try:
            assert opened(jobs=3, timeout=SECONDS).run(TASK) == Done()
        finally:
            signal.signal(signal.SIGINT, before)
            os.dup2(ours, 0)
            for descriptor in (ours, reader, writer):
                os.close(descriptor)

    def test_the_folder_goes_first(self, opened: Opened) -> None:
        """A module of the user's wins over one that is installed; a json.py there does not break the start."""
        for name in ("json", "types", "socket", "typing", "asyncio", "traceback", "rqtool"):
            Path(f"{name}.py").write_text("raise Exception('not me')")
        Path("pika.py").write_text("def handle(body): pass")
        assert opened("pika:handle", timeout=1e12).run(TASK) == Done()  # more than poll() can count

    def test_rqtool_is_found_as_the_worker_found_it(self, folder: Path) -> None:
        """The very same, though the worker's own sys.path leads to another one than an ordinary start."""
        elsewhere = folder / "elsewhere"
        shutil.copytree(Path(rqtool.__file__).parent, elsewhere / "rqtool")
        _module("def handle(body): raise rqtool.Reject(rqtool.__file__)")
        script = f"""
import sys; sys.path[:0] = [{str(elsewhere)!r}, {str(ROOT)!r}]
from tests.integration.run.test_functions import *
print(driven(1).run(TASK), flush=True)
"""
        command = [sys.executable, "-Ic", script]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
        assert (ended.stdout, ended.stderr) == (f"{Rejected(str(elsewhere / 'rqtool/__init__.py'))}\n", "")

    def test_pretended_work(self, opened: Opened) -> None:
        """The tutorial's dots are a function too: a second for each."""
        function = opened(PRETENDED, jobs=3)
        started = time.monotonic()
        assert _results(function.begin(*tasks(b"a.b", b".", b"c"))) == [Done()] * 3
        assert time.monotonic() - started >= 1.0
        assert (function.pool.spec.runs, _driven("tasks:handle").pool.spec.runs) == ("dots", "tasks:handle")


@KEYWORDS
class TestVerdicts:
    """What comes of an exception."""

    CASES = (
        ("raise rqtool.Retry()", Postponed("Retry, without a reason")),
        ("raise rqtool.Retry('10s', 'rate limit')", Postponed("rate limit", 10.0)),
        ("raise rqtool.Retry(0)", Postponed("Retry, without a reason", 0)),
        ("raise rqtool.Retry(None, None)", Postponed("Retry, without a reason")),
        ("raise rqtool.Reject(None)", Rejected("rejected by the function")),
        ("raise rqtool.Reject()", Rejected("rejected by the function")),
        ("raise rqtool.Reject('no\\n such user')", Rejected("no such user")),
        ("raise Bad()", "Bad"),
        ("raise ValueError('bad\\nvery')", "ValueError: bad very"),
        ("assert not body", "AssertionError"),
        ("json.loads('{1')", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (ch"),
        ("sys.exit(0)", "SystemExit: 0"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("raise TimeoutError('theirs')", "TimeoutError: theirs"),
        ("raise Mute", "Mute: <exception str() failed>"),
        ("raise rqtool.Retry('soon')", "UsageError: 'soon' is not a duration."),
        ("raise rqtool.Retry(-1)", "Retry(-1): no delay between 0 and 720h"),
        ("raise rqtool.Retry(float('nan'))", "Retry(nan): no delay between 0 and 720h"),
        ("raise rqtool.Retry(1e300)", "Retry(1e+300): no delay between 0 and 720h"),
        ("raise rqtool.Retry(datetime.timedelta(1))", "Retry(datetime.timedelta(days=1)): no delay between 0 and"),
    )

    def test_each_exception(self, opened: Opened, keyword: str) -> None:
        """Retry and Reject are verdicts, all else a failed attempt, with its place; the process lives on."""
        cases = "".join(f"    if body == b'{number}': {line}\n" for number, (line, _) in enumerate(self.CASES))
        Path("tasks.py").write_text(
            "import asyncio, datetime, json, os, sys\nimport rqtool\n"
            "class Mute(Exception):\n    def __str__(self): raise RuntimeError\n"
            "class Bad(rqtool.Reject):\n    def __init__(self): pass\n"
            f"{keyword} handle(body):\n{cases}"
        )
        function = opened(timeout=60.0)
        for number, (_, expected) in enumerate(self.CASES):
            outcome = function.run(replace(TASK, body=b"%d" % number))
            if isinstance(expected, str):
                assert isinstance(outcome, Failed)
                assert outcome.why.startswith(expected)
                assert outcome.why.endswith(f" (tasks.py:{number + 8})") or expected == "Bad"
            else:
                assert outcome == expected
        assert function.run(TASK) == Done()
        assert len(_processes()) == 1

    def test_the_traceback(self, opened: Opened, keyword: str, capfd: pytest.CaptureFixture[str]) -> None:
        """It is printed in full for the developer; its last lines are the detail; neither shows rqtool's own frames."""
        _module(f"""
            def chained(body):
                try: raise KeyError(body)
                except Exception as error: raise RuntimeError(("word " * 10_000) if body == b"long" else 0) from error
            {keyword} handle(body): chained(body)
        """)
        function = opened()
        outcome, cut = function.run(TASK), function.run(replace(TASK, body=b"long"))
        assert isinstance(outcome, Failed)
        printed = capfd.readouterr().err
        assert printed.count("Traceback") == 4
        assert outcome.detail.endswith("RuntimeError: 0")
        assert outcome.detail in printed
        assert len(outcome.detail.splitlines()) == 10
        assert str(Path(rqtool.__file__).parent) not in printed
        assert isinstance(cut, Failed)
        assert (len(cut.detail), len(cut.why) < 600) == (2000, True)


def test_a_cancelled_coroutine_can_cancel_no_more(opened: Opened) -> None:
    """A function that cancels its own asyncio task has failed, and the next one runs."""
    _module("""
        async def handle(body):
            if body != b"next":
                asyncio.current_task().cancel()
            if body != b"ends":
                await asyncio.sleep(0)
    """)
    outcomes = opened(timeout=60.0).work_off(*tasks(b"task", b"next", b"ends", b"next"))
    assert _whys(outcomes) == ["CancelledError (tasks.py:12)", repr(Done()), "CancelledError", repr(Done())]


class TestOpen:
    """What can't work is said before the first task."""

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("raise ValueError('boom')", "importing tasks fails: ValueError: boom (tasks.py:7)."),
            ("os._exit(3)", "its process ended with exit code 3 while it was getting ready."),
            ("os.kill(os.getpid(), 11)", "its process was killed by SIGSEGV while it was getting ready."),
            ("sys.executable = None", "module tasks has no 'handle'."),
        ],
    )
    def test_a_pool_that_can_not_open(self, text: str, message: str) -> None:
        """Whatever happens to the process, one line tells of it."""
        _module(text)
        function = _driven(jobs=2)
        with pytest.raises(UsageError) as refused:
            function.open()
        function.stop()
        assert str(refused.value) == f"--call tasks:handle: {message}"

    def test_a_start_that_fails(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without a Python to start there is no traceback, either."""
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        function = _driven()
        with pytest.raises(UsageError, match="--call tasks:handle: its process can't be started: no such file or dir"):
            function.open()
        function.stop()

    @pytest.mark.parametrize("end", [Driven.kill, Driven.close])
    def test_an_import_that_takes_for_ever(self, end: Callable[[Driven], None]) -> None:
        """There is no limit to it, but the end of the worker."""
        _module("pid(); time.sleep(1000)")
        function = _driven()
        with ThreadPoolExecutor(1) as pool:
            opening = pool.submit(function.open)
            _pid()
            end(function)
            with pytest.raises(UsageError, match="its process was killed by SIG"):
                opening.result(SECONDS)
        with pytest.raises(UsageError, match="was killed"):
            function.open()
        function.stop()

    def test_close_while_many_import(self, opened: Opened) -> None:
        """However many processes are getting ready, for ever: none of them holds up the end, and no task is judged."""
        _module("""
            if os.path.exists("0"): pid(f"importing{os.getpid()}"); time.sleep(1000)
            def handle(body): pid(body.decode()); time.sleep(1000)
        """)
        function = opened(jobs=10)
        runs = function.begin(*tasks(*[b"%d" % number for number in range(10)]))
        eventually(lambda: len(list(Path().glob("importing*[0-9]"))) == 9)
        started = time.monotonic()
        function.close()
        assert time.monotonic() - started < 9 * CLOSE_SECONDS  # one after the other
        assert [run.outcome.done() for run in runs] == [False] * 10

    def test_children_that_ended_unseen(self, opened: Opened) -> None:
        """A worker that was started with SIGCHLD ignored still learns how its processes end."""
        _module("def handle(body): os._exit(3)")
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            assert opened().run(TASK) == Failed(f"{DIED}ended with exit code 3", exit_code=3)
        finally:
            signal.signal(signal.SIGCHLD, before)


class TestDeath:
    """A process that dies, and the next one."""

    @KEYWORDS
    def test_it_costs_the_task_one_attempt(self, opened: Opened, keyword: str) -> None:
        """The task has failed, with what the system says of it; the next one runs in a new process."""
        _module(f"{keyword} handle(body): exec(body)")
        cases = {
            b"os._exit(3)": Failed(f"{DIED}ended with exit code 3", exit_code=3),
            b"pass": Done(),
            b"os._exit(0)": Failed(f"{DIED}ended with exit code 0", exit_code=0),
            b"os.kill(os.getpid(), 11)": Failed(f"{DIED}was killed by SIGSEGV", exit_code=-11),
            b"0": Done(),
        }
        assert opened().work_off(*tasks(*cases)) == list(cases.values())

    @KEYWORDS
    def test_while_it_is_idle_it_costs_nothing(self, opened: Opened, keyword: str) -> None:
        """A process that stays is killed between two tasks: it is replaced, and no attempt is lost."""
        _module(f"seen = []\n{keyword} handle(body): pid(); seen.append(1); raise rqtool.Reject(str(len(seen)))")
        function = opened(jobs=2)
        assert [function.run(TASK) for _ in range(2)] == [Rejected("1"), Rejected("2")]
        first = _pid()
        os.kill(first, signal.SIGKILL)
        eventually(lambda: not is_alive(first))
        assert function.run(TASK) == Rejected("1")

    @pytest.mark.parametrize("timeout", [None, 0.5])
    def test_a_task_that_was_not_taken(self, opened: Opened, short_grace: None, timeout: float | None) -> None:
        """It has begun, as far as anyone can know; and yet it did not die, nor take too long, with a process that had
        not taken it: the next one does.
        """
        _module("def handle(body): pid()")
        function = opened(timeout=timeout)
        assert function.run(TASK) == Done()
        first = _pid()
        os.kill(first, signal.SIGSTOP)
        [run] = function.begin(TASK)
        assert run.told == ["begun"]
        if timeout is None:
            os.kill(first, signal.SIGKILL)
        assert run.outcome.result(SECONDS) == Done()
        assert run.told == ["begun", "ended"]
        assert not is_alive(first)
        assert _pid() != first

    def test_tasks_beside_the_one_that_kills_an_async_process(self, opened: Opened) -> None:
        """It was in a step, and runs alone after all others, which run again at once: it has failed, no other."""
        _module(BESIDE)
        function = opened(jobs=4)
        runs = function.begin(*tasks(b"a", b"die", b"b", b"c"))
        assert _results(runs) == [Done(), Failed(f"{DIED}ended with exit code 9", exit_code=9), Done(), Done()]
        assert [run.told for run in runs] == [["begun", "ended"]] * 4
        again = _begun()[4:]
        assert sorted(again[:3]) == ["a 1", "b 2", "c 3"]
        assert again[3:] == ["die 1"]
        assert len(_started()) == 2

    def test_tasks_beside_a_thread_that_kills_the_process(self, opened: Opened) -> None:
        """None is in a step: all run again, half of them at a time, until the one that does it again is alone."""
        _module(BESIDE)
        function = opened(jobs=4)
        runs = function.begin(*tasks(b"a", b"thread", b"b", b"c"))
        assert _results(runs) == [Done(), Failed(f"{DIED}ended with exit code 9", exit_code=9), Done(), Done()]
        assert _begun()[4:] == ["a 1", "thread 2", "a 1", "thread 1", "b 1", "c 2"]
        assert len(_started()) == 4

    def test_a_thread_that_kills_the_process_of_busy_tasks(self, opened: Opened) -> None:
        """Others are in a step whenever it does: none of them is blamed."""
        _module(BESIDE)
        bodies = [b"busy %d" % n for n in range(5)]
        outcomes = opened(jobs=6).work_off(*tasks(b"thread", *bodies))
        assert outcomes == [Failed(f"{DIED}ended with exit code 9", exit_code=9), *[Done()] * 5]

    def test_many_that_kill_their_process(self, opened: Opened) -> None:
        """Each costs two processes: the one that it shared, and one that it had for itself."""
        _module(BESIDE)
        bodies = [b"die %d" % n if n % 15 == 7 else b"a %d" % n for n in range(150)]
        outcomes = opened(jobs=30).work_off(*tasks(*bodies))
        assert [isinstance(outcome, Failed) for outcome in outcomes] == [b"die" in body for body in bodies]
        assert len(_started()) <= 2 * 10 + 1

    def test_one_that_has_killed_its_process(self, opened: Opened) -> None:
        """Its next attempt runs alone from the start."""
        _module(BESIDE)
        function = opened(jobs=2)
        died = Failed(f"{DIED}ended with exit code 9", exit_code=9)
        assert function.work_off(*tasks(b"die", b"a")) == [died, Done()]
        before = len(_begun())
        assert function.work_off(*tasks(b"die", b"a")) == [died, Done()]
        assert _begun()[before:] == ["die 1", "a 1"]

    def test_withdrawn_when_the_process_has_just_ended(self, opened: Opened) -> None:
        """What it had not taken has not begun, though nobody has seen the end to its end."""
        _module("def handle(body): pid(); time.sleep(1000)")
        function = opened()
        runs = [Run(replace(TASK, body=body)) for body in (b"a", b"b", b"c")]

        def kill_and_withdraw() -> None:
            for run in runs:
                function.pool.begin(run)
            os.kill(_pid(), signal.SIGKILL)
            eventually(lambda: not any(str(_pid()) in line for line in _alive()), what="a zombie")
            function.loop.call_later(0, function.pool.withdraw)  # right after the end is read

        function.call(kill_and_withdraw)
        died = Failed(f"{DIED}was killed by SIGKILL", exit_code=-signal.SIGKILL)
        assert runs[0].outcome.result(SECONDS) == died
        assert [run.told for run in runs[1:]] == [["returned"]] * 2

    def test_a_new_process_that_can_not_begin(self, opened: Opened) -> None:
        """A module that has changed for the worse is the worker's trouble, not the task's."""
        _module("async def handle(body): os._exit(3)")
        function = opened(jobs=2)
        for text, why in (
            ("raise ValueError('boom')", "--call tasks:handle: importing tasks fails: ValueError: boom (tasks.py:7)."),
            ("def handle(body): 'no longer'", "--call tasks:handle: it was async and no longer is. Start the worker a"),
        ):
            [before, run] = function.begin(*tasks(b"1", b"2"))
            _module(text)
            for outcome in _results([before, run]):
                assert isinstance(outcome, CannotRun | Failed)
            outcome = function.run(TASK)
            assert isinstance(outcome, CannotRun)
            assert outcome.why.startswith(why)
        assert _processes() == []

    def test_a_module_that_nobody_waits_for_any_more(self, opened: Opened) -> None:
        """A process that can't begin is no error where its task was returned; the next task hears of it."""
        _module("def handle(body): os._exit(3)")
        function = opened()
        assert isinstance(function.run(TASK), Failed)
        _module("pid()\nwhile not os.path.exists('go'): time.sleep(0.01)\nraise ValueError('boom')")
        [run] = function.begin(TASK)
        _pid()
        function.call(function.pool.withdraw)
        assert run.told == ["returned"]
        Path("go").touch()
        eventually(lambda: not _processes())
        assert isinstance(function.run(TASK), CannotRun)

    def test_what_it_leaves_behind(self, opened: Opened) -> None:
        """A copy of the process neither answers for it nor hides its death; nor does a program with its open files."""
        _module("""
            def handle(body):
                if body == b"fork":
                    if os.fork() == 0:
                        pid("fork"); time.sleep(1000)
                    while not os.path.exists("fork"): time.sleep(0.01)
                    os._exit(4)
                if body == b"other":
                    pid("other", subprocess.Popen(["sleep", "1000"], close_fds=False).pid)
                    os._exit(4)
                os.fork()
        """)
        function = opened(timeout=SECONDS)
        for body in (b"fork", b"other"):
            assert function.run(replace(TASK, body=body)) == Failed(f"{DIED}ended with exit code 4", exit_code=4)
            os.kill(_pid(body.decode()), signal.SIGKILL)
        assert [function.run(TASK) for _ in range(5)] == [Done()] * 5


class TestTheWorkersDeath:
    """A worker that is killed can't tell anybody."""

    @KEYWORDS
    def test_what_holds_the_interpreter(self, keyword: str) -> None:
        """An idle process, one at work that can't even look, and what it has started: all end with their worker."""
        _module(f"""
            import re
            {keyword} handle(body):
                if body == b"idle": return pid("idle")
                pid("other", subprocess.Popen(["sleep", "1000"]).pid)
                pid("at_work")
                re.match(r"(x+x+)+y", "x" * 100)
        """)
        with _worker("""
            function = driven(jobs=2)
            function.run(*tasks(b"idle"))
            function.begin(*tasks(b"task"))
            time.sleep(1000)
        """):
            pids = [_pid(name) for name in ("idle", "other", "at_work")]
        eventually(lambda: all(not is_alive(pid) for pid in pids))

    def test_what_was_not_taken_does_not_begin(self) -> None:
        """What a process was handed in the worker's last moment is others' by now."""
        _module("def handle(body): pid(body.decode())")
        with _worker("""
            function = driven(jobs=1)
            function.run(*tasks(b"first"))
            os.kill(int(open("first").read()), signal.SIGSTOP)
            function.begin(*tasks(b"handed_over"))
            open("over", "w").close()
            time.sleep(1000)
        """):
            eventually(lambda: Path("over").exists())
        idle = _pid("first")
        with suppress(ProcessLookupError):
            os.kill(idle, signal.SIGCONT)
        eventually(lambda: not is_alive(idle))
        assert not Path("handed_over").exists()


class TestJobs:
    """Several tasks at once."""

    def test_a_process_for_each_job(self, opened: Opened) -> None:
        """Functions that are not async meet in different processes, started as they are needed."""
        _module("""
            def handle(body):
                pid(body.decode())
                while not (os.path.exists("a") and os.path.exists("b")): time.sleep(0.01)
        """)
        function = opened(jobs=3)
        assert _results(function.begin(*tasks(b"a", b"b"))) == [Done()] * 2
        assert _pid("a") != _pid("b")
        assert len(_processes()) == 2

    @pytest.mark.parametrize("size", [0, 16_000, 100_000])
    def test_one_process_for_all_that_is_async(self, opened: Opened, size: int) -> None:
        """Async functions meet on one event loop, all that there are jobs for and no more, though not all fit into the
        line at once.
        """
        _module("""
            pid()
            here = most = 0
            async def handle(body):
                global here, most
                here += 1
                most = max(most, here)
                while most < 30: await asyncio.sleep(0.01)
                await asyncio.sleep(0.01)
                here -= 1
                raise rqtool.Reject(f"{body[:2].decode()} {most}")
        """)
        function = opened(jobs=30)
        os.kill(_pid(), signal.SIGSTOP)
        runs = function.begin(*tasks(*[b"%02d" % number + b"x" * size for number in range(30)]))
        os.kill(_pid(), signal.SIGCONT)
        assert _results(runs) == [Rejected(f"{number:02d} 30") for number in range(30)]
        outcomes = function.work_off(*tasks(*[b"xx"] * 100))
        assert outcomes == [Rejected("xx 30")] * 100
        assert len(_processes()) == 1

    @KEYWORDS
    def test_withdrawn_again_and_again(self, opened: Opened, keyword: str) -> None:
        """While we take a task back, the process may take the one behind it: each of them has its end all the same."""
        _module(f"{keyword} handle(body): raise rqtool.Reject(body.decode())")
        function = opened(jobs=2)
        left = iter(tasks(*(b"%d" % number for number in range(3_000))))
        ended: dict[bytes, Outcome] = {}
        over = threading.Event()

        class Persistent(Run):
            def ended(self, outcome: Outcome, written: int) -> None:
                assert ended.setdefault(self.task.body, outcome) is outcome
                if len(ended) == 3_000:
                    over.set()

            def returned(self) -> None:
                function.loop.call_soon(function.pool.begin, self)

        def hand_over_and_withdraw() -> None:
            if over.is_set():
                return
            for task in islice(left, 5):
                function.pool.begin(Persistent(task))
            function.pool.withdraw()
            function.loop.call_later(0.0002, hand_over_and_withdraw)

        function.call(hand_over_and_withdraw)
        assert over.wait(SECONDS), f"{len(ended)} have ended"
        assert ended == {b"%d" % number: Rejected(str(number)) for number in range(3_000)}


class TestTimeout:
    """A function that takes too long."""

    def test_it_is_ended(self, opened: Opened, endless_grace: None) -> None:
        """Its process gets SIGTERM when its time is up, and the next task a new one as soon as that has ended."""
        _module("""
            def handle(body):
                signal.signal(signal.SIGTERM, lambda *_: (pid("term"), os._exit(1)))
                pid(); time.sleep(float(body))
        """)
        function = opened(timeout=0.5)
        assert function.run(replace(TASK, body=b"1000")) == Failed("timed out after 500ms")
        assert _pid("term") == _pid()
        assert function.run(replace(TASK, body=b"0")) == Done()

    @pytest.mark.parametrize("after", ["IGN", "DFL"])
    def test_what_ignores_sigterm_is_killed(self, opened: Opened, short_grace: None, after: str) -> None:
        """The process, or what it has started and leaves behind."""
        _module(f"""
            def handle(body):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                other = subprocess.Popen(["sleep", "1000"])
                signal.signal(signal.SIGTERM, signal.SIG_{after})
                pid("other", other.pid); pid(); time.sleep(1000)
        """)
        assert opened(timeout=1.0).run(TASK) == Failed("timed out after 1s")
        assert not is_alive(_pid())
        eventually(lambda: not is_alive(_pid("other")))

    def test_what_has_a_process_group_of_its_own(self, opened: Opened) -> None:
        """It ends too, but not what has a session of its own."""
        _module("""
            def handle(body):
                script = "timeout 1000 sh -c 'echo $$ > other; sleep 1000; :'; :"
                detached = subprocess.Popen(["sleep", "1000"], start_new_session=True)
                pid("detached", detached.pid); subprocess.run(["sh", "-c", script])
        """)
        assert opened(timeout=1.0).run(TASK) == Failed("timed out after 1s")
        eventually(lambda: not is_alive(_pid("other")))
        assert is_alive(_pid("detached"))
        os.kill(_pid("detached"), signal.SIGKILL)

    def test_many_that_ignore_sigterm(self, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
        """They end together, not one after the other; and no new task waits for that where another process is free."""
        _module("""
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            def handle(body): time.sleep(float(body))
        """)
        monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", 4.0)
        function = opened(jobs=12, timeout=1.0)
        assert _results(function.begin(*tasks(*[b"0.5"] * 12))) == [Done()] * 12
        started = time.monotonic()
        late = function.begin(*tasks(*[b"1000"] * 11))
        eventually(lambda: time.monotonic() - started > 1.2)
        assert function.run(replace(TASK, body=b"0")) == Done()
        assert not any(run.outcome.done() for run in late)
        assert _results(late) == [Failed("timed out after 1s")] * 11
        assert time.monotonic() - started < 11 * 4.0

    def test_a_coroutine_is_cancelled(self, opened: Opened) -> None:
        """It can clean up; its process and the others' tasks go on, and the detail says where it was."""
        _module("""
            async def handle(body):
                try: await asyncio.sleep(float(body))
                finally: pid(body.decode())
        """)
        late, beside = _results(opened(jobs=2, timeout=1.0).begin(*tasks(b"1000", b"0.5")))
        assert (beside, _whys([late])) == (Done(), ["timed out after 1s"])
        assert "await asyncio.sleep(float(body))" in getattr(late, "detail", "")
        assert _pid("1000") == _pid("0.5")

    @pytest.mark.parametrize(
        "stubborn",
        ["time.sleep(1000)", "await stay()", "await asyncio.gather(block())", "later(); await asyncio.sleep(1000)"],
    )
    def test_a_coroutine_that_does_not_end(self, opened: Opened, short_grace: None, stubborn: str) -> None:
        """Its process is killed; the tasks beside it run again, in whatever order they came, and it alone has failed.
        Its next attempt runs alone.
        """
        _module(f"""
            async def block(): time.sleep(1000)
            def later(): asyncio.get_running_loop().call_soon(time.sleep, 1000)
            async def stay():
                while True:
                    with __import__("contextlib").suppress(asyncio.CancelledError): await asyncio.sleep(1000)
            async def handle(body):
                if body == b"blocks":
                    await asyncio.sleep(0.1); {stubborn}
                else:
                    open("log", "ab").write(body)
                    await asyncio.sleep(0.3)
        """)
        function = opened(jobs=3, timeout=1.0)
        assert function.work_off(*tasks(b"a", b"blocks", b"b")) == [Done(), Failed("timed out after 1s"), Done()]
        assert function.work_off(*tasks(b"blocks", b"c")) == [Failed("timed out after 1s"), Done()]
        assert Path("log").read_bytes().count(b"c") == 1

    def test_many_that_block_their_process(self, opened: Opened, short_grace: None) -> None:
        """Each costs two processes, and those beside it no attempt."""
        _module(BESIDE)
        bodies = [b"block %d" % n if n % 20 == 7 else b"a %d" % n for n in range(80)]
        outcomes = opened(jobs=20, timeout=1.0).work_off(*tasks(*bodies))
        assert outcomes == [Failed("timed out after 1s") if b"block" in body else Done() for body in bodies]
        assert len(_started()) <= 2 * 4 + 1

    def test_a_fork_of_one_that_blocks_its_process(self, opened: Opened, short_grace: None) -> None:
        """A copy that goes on after the fork says nothing of who is in a step: the suspect is known all the same."""
        _module(BESIDE)
        outcomes = opened(jobs=4, timeout=1.0).work_off(*tasks(b"a", b"b", b"fork", b"c"))
        assert outcomes == [Done(), Done(), Failed("timed out after 1s"), Done()]
        assert len(_started()) == 2

    def test_a_suspect_that_is_cancelled(self, opened: Opened) -> None:
        """It has blocked its process; when it runs alone and merely takes too long, it has time to clean up."""
        _module("""
            async def handle(body):
                if body != b"suspect": return await asyncio.sleep(0.2)
                if not os.path.exists("pid"): pid(); await asyncio.sleep(0.1); time.sleep(1000)
                try: await asyncio.sleep(1000)
                finally:
                    for _ in range(70): await asyncio.sleep(0.01)
                    pid("cleaned")
        """)
        late, beside = _results(opened(jobs=2, timeout=1.0).begin(*tasks(b"suspect", b"beside")))
        assert (_whys([late]), beside) == (["timed out after 1s"], Done())
        assert _pid("cleaned") != _pid()

    def test_tasks_that_wait_for_each_other(self, opened: Opened, short_grace: None) -> None:
        """Each blocks the others for a while, all of them for much longer than any may take: none is late."""
        _module("""
            async def handle(body):
                open("log", "ab").write(body)
                for _ in range(2): await asyncio.sleep(0.01); time.sleep(0.3)
        """)
        function = opened(jobs=10, timeout=1.0)
        assert function.work_off(*tasks(*[b"a"] * 10)) == [Done()] * 10
        assert Path("log").read_bytes() == b"a" * 10, "nothing ran again"

    def test_a_coroutine_that_blocks_past_its_time(self, opened: Opened) -> None:
        """It has failed, though it returns soon after; those beside it had no part in it, and lose no time."""
        _module("""
            async def handle(body):
                open("log", "ab").write(body)
                if body == b"blocks":
                    await asyncio.sleep(0.2); time.sleep(2); return
                for _ in range(3): await asyncio.sleep(0.25)
                if body == b"late": await asyncio.sleep(1000)
        """)
        function = opened(jobs=4, timeout=1.0)
        late = Failed("timed out after 1s")
        assert function.run(replace(TASK, body=b"blocks")) == late
        outcomes = function.work_off(*tasks(b"a", b"blocks", b"b", b"late"))
        assert outcomes[:3] == [Done(), late, Done()]
        assert _whys(outcomes[3:]) == [late.why]
        assert Path("log").read_bytes().count(b"a") == 2, "a, and that of late: nothing ran again"

    def test_its_time_begins_with_it(self, opened: Opened) -> None:
        """It waits behind another for nothing; what waits behind one that is late is returned, and can run then."""
        _module("def handle(body): time.sleep(float(body))")
        function = opened(timeout=1.0)
        runs = function.begin(*tasks(b"0.6", b"0.6"))
        eventually(lambda: runs[1].told == ["returned"])
        assert runs[0].outcome.result(SECONDS) == Done()
        outcomes = function.work_off(*tasks(b"0.6", b"0.6", b"1000", b"0"))
        assert outcomes == [Done(), Done(), Failed("timed out after 1s"), Done()]


class TestAhead:
    """More tasks than jobs: they wait at the process, and are nobody else's business until they begin."""

    WRITE_AND_WAIT = """
        def handle(body):
            pid(body.decode())
            while body.startswith(b"wait") and not os.path.exists("go"): time.sleep(0.01)
            if body == b"die": os._exit(3)
    """

    def test_short_ones_are_wanted_ahead(self, opened: Opened) -> None:
        """How many depends on how long they take; none before that is known."""
        _module("def handle(body): time.sleep(float(body))")
        function = opened(jobs=2)
        assert function.pool.capacity == 2

        def many_are_wanted() -> bool:  # how quick they are is up to the machine as well
            assert function.work_off(*tasks(*[b"0"] * 50)) == [Done()] * 50
            return function.pool.capacity > 10

        eventually(many_are_wanted)
        assert function.work_off(*tasks(b"0.3", b"0.3")) == [Done()] * 2
        assert function.pool.capacity == 2

    def test_they_begin_one_by_one(self, opened: Opened) -> None:
        """Each begins when the one before has ended, in the order in which they came; and is told before it begins."""
        _module("def handle(body): open('log', 'ab').write(body)")

        class Told(Seen):
            def begun(self) -> None:
                super().begun()
                if self.task.body == b"first":
                    Path("log").write_text("told ")

        function = opened()
        seen: list[tuple[str, bytes]] = []
        bodies = [b"first", *(b"%d" % number for number in range(200))]
        runs: list[Run] = [Told(task, seen) for task in tasks(*bodies)]
        for run in runs:
            function.loop.call_soon_threadsafe(function.pool.begin, run)
        assert _results(runs) == [Done()] * 201
        assert seen == [(what, body) for body in bodies for what in ("begun", "ended")]
        assert Path("log").read_bytes() == b"told " + b"".join(bodies)

    def test_withdrawn(self, opened: Opened) -> None:
        """What waits behind a task is returned at once, and only that; it is not run, and can be handed over again."""
        _module(self.WRITE_AND_WAIT)
        function = opened()
        at_work, *behind = function.begin(*tasks(b"wait", b"a", b"b" * 20_000, b"c"))
        _pid("wait")
        function.call(function.pool.withdraw)
        assert [run.told for run in (at_work, *behind)] == [["begun"], *[["returned"]] * 3]
        function.call(partial(function.pool.begin, behind[0]))
        Path("go").touch()
        assert _results([at_work, behind[0]]) == [Done()] * 2
        assert not Path("c").exists()

    def test_nothing_waits_behind_a_slow_one(self, opened: Opened) -> None:
        """What waits behind it is returned, and goes to other processes from then on."""
        _module(self.WRITE_AND_WAIT)
        function = opened(jobs=2)
        slow, beside, behind = function.begin(*tasks(b"wait", b"a", b"b"))
        eventually(lambda: all(run.told[-1:] in (["returned"], ["ended"]) for run in (beside, behind)))
        for number in range(20):
            assert function.work_off(replace(TASK, body=b"c%d" % number)) == [Done()]
        assert not slow.outcome.done()
        Path("go").touch()
        assert slow.outcome.result(SECONDS) == Done()

    def test_a_death_is_nobody_elses(self, opened: Opened) -> None:
        """Of all that wait at a process that dies only the task at work has failed."""
        _module(self.WRITE_AND_WAIT)
        died = Failed(f"{DIED}ended with exit code 3", exit_code=3)
        outcomes = opened().work_off(*tasks(b"a", b"die", b"b", b"c", b"die", b"d"))
        assert outcomes == [Done(), died, Done(), Done(), died, Done()]


class TestShortage:
    """What has no room here is no fault of the task's."""

    def test_a_worker_that_may_open_no_more_files(self) -> None:
        """A large body can't be handed over, a small one can; later the large one can, too."""
        _module("def handle(body): pass")
        with _worker("""
            function = driven(jobs=1)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            several = tasks(b"x" * 100_000, b"", b"x" * 100_000, b"")
            least = os.dup(0)
            os.close(least)
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, before[1]))
            outcomes = function.work_off(*several)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            outcomes += function.work_off(*several)
            with open("out.part", "w") as out: out.write(repr(outcomes))
            os.rename("out.part", "out")
        """):
            eventually(lambda: Path("out").exists())
        short = Shortage("too many open files")
        assert Path("out").read_text() == repr([short, Done(), short, Done(), *[Done()] * 4])

    def test_no_room_for_one_more_process(self) -> None:
        """A job that can't have a process of its own yet is no verdict on its task, and not the end of the worker."""
        _module("def handle(body): time.sleep(0.3)")
        with _worker("""
            function = driven(jobs=2)
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            least = os.dup(0)
            os.close(least)
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, before[1]))
            outcomes = function.work_off(*tasks(b"1", b"2"))
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            outcomes += function.work_off(*tasks(b"1", b"2"))
            with open("out.part", "w") as out: out.write(repr(outcomes))
            os.rename("out.part", "out")
        """):
            eventually(lambda: Path("out").exists())
        assert Path("out").read_text() == repr([Done(), Shortage("too many open files"), Done(), Done()])

    def test_a_timeout_without_a_descriptor_left(self) -> None:
        """What can't be looked for is not the end of the worker."""
        _module("def handle(body): time.sleep(1000)")
        with _worker("""
            function = driven(jobs=1, timeout=1.0)
            least = os.dup(0)
            os.close(least)
            limit = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (least, limit[1]))
            outcome = function.run(tasks(b"")[0])
            resource.setrlimit(resource.RLIMIT_NOFILE, limit)
            with open("out.part", "w") as out: out.write(repr(outcome))
            os.rename("out.part", "out")
        """):
            eventually(lambda: Path("out").exists())
        assert Path("out").read_text() == repr(Failed("timed out after 1s"))

    @KEYWORDS
    def test_a_process_that_may_open_no_more_files(self, opened: Opened, keyword: str) -> None:
        """It can't take a large body, and says so; the next one it can."""
        _module(f"""
            import resource
            {keyword} handle(body):
                most = os.dup(0) if body == b"few" else 1024
                resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        """)
        large = b"x" * 100_000
        function = opened()
        # One by one: what is handed over ahead may be in the process before the limit is.
        outcomes = [function.run(task) for task in tasks(large, b"few", large, b"many", large)]
        assert outcomes == [Done(), Done(), Shortage("too many open files"), Done(), Done()]

    def test_a_disk_that_has_room_for_a_part(self, opened: Opened) -> None:
        """No function is called with the beginning of a body: the system writes what fits, and calls that no error."""
        _module("def handle(body): raise rqtool.Reject(str(len(body)))")
        function = opened()
        limit = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limit[1]))
        try:
            outcomes = function.work_off(*tasks(b"x" * 100_000, b"x" * 40_000))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        assert outcomes == [Shortage("file too large"), Rejected("40000")]


class TestTheEnd:
    """kill() and close()."""

    @KEYWORDS
    def test_kill(self, opened: Opened, keyword: str) -> None:
        """What runs fails soon, in all processes with all that they have started; what would run fails at once."""
        _module(f"""
            {keyword} handle(body):
                pid(body.decode() + "other", subprocess.Popen(["sleep", "1000"]).pid)
                pid(body.decode())
                {"await asyncio" if keyword == "async def" else "time"}.sleep(1000)
        """)
        function = opened(jobs=3)
        runs = function.begin(*tasks(b"a", b"b"))
        pids = [_pid(name) for name in ("a", "b", "aother", "bother")]
        function.kill()
        assert _results(runs) == [Failed("killed")] * 2
        assert function.run(TASK) == Failed("killed")
        eventually(lambda: all(not is_alive(pid) for pid in pids))

    def test_kill_while_a_process_is_timed_out(self, opened: Opened, endless_grace: None) -> None:
        """Nobody waits for the grace period of a process that ignores SIGTERM, nor for one that ignores SIGIO."""
        _module("""
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            def handle(body):
                signal.signal(signal.SIGTERM, lambda *_: pid("term"))
                while True: time.sleep(1)
        """)
        function = opened(timeout=0.5)
        [late] = function.begin(TASK)
        _pid("term")
        function.kill()
        assert late.outcome.result(SECONDS) == Failed("killed")

    @KEYWORDS
    def test_close_lets_an_idle_process_end_by_itself(self, opened: Opened, keyword: str) -> None:
        """What the module wants done at its end is done."""
        _module(f"import atexit; atexit.register(pid, 'end')\n{keyword} handle(body): pid()")
        function = opened(jobs=2)
        assert function.run(TASK) == Done()
        function.close()
        assert Path("end").read_text() == Path("pid").read_text()
        assert _processes() == []

    def test_close_kills_what_does_not_end(self, opened: Opened) -> None:
        """A thread that the function has left running holds nobody up."""
        _module("import threading\ndef handle(body): threading.Thread(target=time.sleep, args=(1000,)).start()")
        function = opened()
        assert function.run(TASK) == Done()
        function.close()
        assert _processes() == []
        function.close()

    @KEYWORDS
    def test_no_descriptor_is_left(self, short_grace: None, keyword: str) -> None:
        """However often processes die, time out or end: their lines are closed."""
        _module(f"{keyword} handle(body): os._exit(1) if body == b'task' else time.sleep(1000)")
        before = set(os.listdir("/dev/fd"))
        function = _driven(jobs=5, timeout=0.3)
        function.open()
        outcomes = [function.run(replace(TASK, body=body)) for body in (b"task", b"sleep", b"task")]
        assert {type(outcome) for outcome in outcomes} == {Failed}
        function.stop()
        del function
        assert set(os.listdir("/dev/fd")) == before
