"""Functions run for tasks: real modules, real processes, real deaths. Async ones: test_async_functions.py."""

from __future__ import annotations

import hashlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import rqtool
from rqtool.errors import UsageError
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, Shortage
from tests.driven import SECONDS, Driven
from tests.integration.run.conftest import LATE, ROOT, TASK, Opened, died, driven, module, pid, processes, tasks
from tests.tools import eventually

KEYWORDS = pytest.mark.parametrize("keyword", ["def", "async def"])
ENDLESS = pytest.mark.parametrize("grace", [1000.0], indirect=True)
FEW = Shortage("too many open files")
LARGE = b"x" * 100_000
RUN = """
{} handle(body):
    space = {{**globals()}}
    exec(body, space)
    return space.get("result")
async def later(): await asyncio.sleep(0); raise rqtool.Reject("later")
"""
"""Does what the body says."""
WAIT = """
def handle(body):
    pid(body.decode()[:9])
    while body.startswith(b"wait") and not os.path.exists("go"): time.sleep(0.01)
"""
SLEEP = "def handle(body): time.sleep(float(body.strip(b'x') or 0))"
OUTCOMES: dict[str, Outcome | str] = {
    "pass": Done(),
    "raise rqtool.Retry('10s', 'rate limit')": Postponed("rate limit", 10.0),
    "raise rqtool.Reject('no\\n such user')": Rejected("no such user"),
    "assert 0": "AssertionError (<string>:1)",
    "sys.exit(0)": "SystemExit: 0 (<string>:1)",
    "raise KeyboardInterrupt": "KeyboardInterrupt (<string>:1)",
    "os._exit(3)": died("ended with exit code 3", 3),
    "0": Done(),
    "os._exit(0)": died("ended with exit code 0", 0),
    "os.kill(os.getpid(), 11)": died("was killed by SIGSEGV", -11),
    # A copy of the process neither answers for it nor hides its death; nor does a program with its open files.
    "os.fork()": Done(),
    "if not os.fork(): pid('fork'); time.sleep(1000)\nwhile not os.path.exists('fork'): time.sleep(0.01)\nos._exit(4)":
        died("ended with exit code 4", 4),
    "pid('sleep', subprocess.Popen(['sleep', '1000'], close_fds=False).pid); os._exit(5)":
        died("ended with exit code 5", 5),
    "1": Done(),
}  # fmt: skip


@contextmanager
def _limited(which: int, value: int | None) -> Iterator[None]:
    """A limit of this process; None: not one more descriptor."""
    before = resource.getrlimit(which)
    if value is None:
        os.close(value := os.dup(0))
    resource.setrlimit(which, (value, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


# What it is called with, what it sees, and what comes of it.


@pytest.mark.parametrize(("keyword", "parameter"), [("def", "task: rqtool.Task"), ("async def", "body")])
def test_bodies_of_all_sizes_come_unchanged(opened: Opened, keyword: str, parameter: str) -> None:
    """Whether they fit into the line or not; and so does all else of a task, on request."""
    given = [
        replace(TASK, body=os.urandom(size), headers={"a": "é\udcff", "long": "x" * (size % 100_000 // 2)})
        for size in (0, 1, 16_000, 16_383, 16_384, 16_385, 70_000, 5_000_000, 3)
    ]
    arguments = [task if "task" in parameter else task.body for task in given]
    function = opened(f"""
        import hashlib
        {keyword} handle({parameter}):
            raise rqtool.Reject(hashlib.sha256(ascii({parameter[:4]}).encode()).hexdigest())
    """)
    expected = [Rejected(hashlib.sha256(ascii(argument).encode()).hexdigest()) for argument in arguments]
    assert function.work_off(*given) == expected


def test_it_sees_an_ordinary_process(opened: Opened) -> None:
    """Nothing on stdin, the usual signals, nothing of rqtool's in the arguments, the folder first."""
    text = """
        import sys
        BEFORE = set(sys.modules)
        import os, signal
        def handle(body):
            assert sys.stdin.read() == ''
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
            assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
            assert len(sys.argv) == 1
            assert sys.path[0] == os.getcwd()
            assert os.getpgid(0) == os.getpid()
            assert len(os.listdir("/dev/fd")) == 7, "stdin, stdout, stderr, the three lines, and this listing"
            assert not {"pika", "typer", "rich", "asyncio", "urllib3", "subprocess"} & BEFORE
    """
    Path("tasks.py").write_text(textwrap.dedent(text))
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


def test_a_module_of_the_users_wins_over_an_installed_one(opened: Opened) -> None:
    """A json.py in the folder does not break the start."""
    for name in ("json", "types", "socket", "typing", "asyncio", "traceback", "rqtool"):
        Path(f"{name}.py").write_text("raise Exception('not me')")
    Path("pika.py").write_text("def handle(body): pass")
    assert opened(target="pika:handle", timeout=1e12).run(TASK) == Done()  # more than poll() can count


def test_rqtool_is_found_as_the_worker_found_it(tmp_path: Path) -> None:
    """The very same, though the worker's own sys.path leads to another one than an ordinary start."""
    shutil.copytree(Path(rqtool.__file__).parent, tmp_path / "elsewhere/rqtool")
    script = f"""if 1:
        import sys; sys.path[:0] = ["{tmp_path}/elsewhere", "{ROOT}"]
        from tests.integration.run.conftest import *
        (function := driven("def handle(body): raise rqtool.Reject(rqtool.__file__)")).open()
        print(function.run(TASK), flush=True)
    """
    command = [sys.executable, "-Ic", script]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, cwd=tmp_path)
    assert (ended.stdout, ended.stderr) == (f"{Rejected(f'{tmp_path}/elsewhere/rqtool/__init__.py')}\n", "")


@pytest.mark.parametrize(
    ("keyword", "more"),
    [
        ("def", {"result = later()": Rejected("later")}),  # whatever can be awaited
        ("async def", {"asyncio.current_task().cancel()": "CancelledError", "2": Done()}),
    ],
)
def test_each_task_gets_its_own_outcome(opened: Opened, keyword: str, more: dict[str, Outcome | str]) -> None:
    """Though all of them wait at the same process: a death is nobody else's."""
    outcomes = opened(RUN.format(keyword), timeout=SECONDS).work_off(*tasks(*OUTCOMES, *more))
    for (body, expected), outcome in zip((OUTCOMES | more).items(), outcomes, strict=True):
        assert (getattr(outcome, "why", "") if isinstance(expected, str) else outcome) == expected, body
    for name in ("fork", "sleep"):
        os.kill(pid(name), signal.SIGKILL)


@pytest.mark.parametrize(
    ("limit", "options", "outcomes"),
    [
        # The system writes what fits, and calls that no error: no function is called with the beginning of a body.
        ((resource.RLIMIT_FSIZE, 50_000), {}, [(LARGE, Shortage("file too large")), (LARGE[:40_000], Done())]),
        ((resource.RLIMIT_NOFILE, None), {}, [(LARGE, FEW), ("0", Done()), (LARGE, FEW), ("0", Done())]),
        ((resource.RLIMIT_NOFILE, None), {"jobs": 2}, [("0.3", Done()), ("0.3", FEW)]),
        ((resource.RLIMIT_NOFILE, None), {"timeout": 1.0}, [("1000", LATE)]),
    ],
    ids=["a disk with room for a part", "a large body", "one more process", "processes that time out"],
)
def test_what_has_no_room_here_is_no_fault_of_the_tasks(
    opened: Opened, limit: tuple[int, int | None], options: Any, outcomes: list[tuple[str, Outcome]]
) -> None:
    """Nor is it the end of the worker; later the same can be done."""
    function = opened(SLEEP, **options)
    given = tasks(*(body for body, _ in outcomes))
    with _limited(*limit):
        assert function.work_off(*given) == [outcome for _, outcome in outcomes]
    assert function.work_off(*given) == [LATE if outcome == LATE else Done() for _, outcome in outcomes]


@KEYWORDS
def test_a_process_that_may_open_no_more_files(opened: Opened, keyword: str) -> None:
    """It can't take a large body, and says so; the next one it can."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({}, resource.getrlimit(7)[1]))"
    function = opened(f"{keyword} handle(body): exec(body.strip(b'x'))")
    few, many = limit.format("os.dup(0)"), limit.format("1024")
    # One by one: what is handed over ahead may be in the process before the limit is.
    outcomes = [function.run(task) for task in tasks(LARGE, few, LARGE, many, LARGE)]
    assert outcomes == [Done(), Done(), FEW, Done(), Done()]


# What it prints.


@KEYWORDS
def test_what_it_prints_is_out_before_the_answer(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], keyword: str
) -> None:
    """Nothing is kept back; and after a task that closes the streams the next one has them again."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    ends = "print('out'); print('err', file=sys.stderr)\nfor stream in sys.stdout, sys.stderr: stream.{}()"
    with Path("out").open("wb") as out:
        function = opened("print('import')\n" + RUN.format(keyword), stdout=out.fileno())
        for body, stdout, stderr in (
            ("print(1, end=' '); print(2, end=' ', file=sys.stderr)", "import\n1 ", "2 "),
            (ends.format("close"), "import\n1 out\n", "err\n"),
            (ends.format("detach"), "import\n1 out\nout\n", "err\n"),
            (ends.format("flush"), "import\n1 out\nout\nout\n", "err\n"),
        ):
            assert function.run(*tasks(body)) == Done()
            assert (Path("out").read_text(), capfd.readouterr().err) == (stdout, stderr)


def test_lines_are_written_at_once_and_whole(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes write there too; PYTHONUNBUFFERED, as images of containers set it, changes nothing."""
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    with Path("out").open("wb") as out:
        function = opened(WAIT.replace("pid(", "print("), jobs=4, stdout=out.fileno())
        [run] = function.begin(*tasks("wait"))
        eventually(lambda: Path("out").read_text() == "wait\n")
        Path("go").touch()
        assert function.work_off(*tasks(*["x" * 9] * 1_000)) == [Done()] * 1_000
        assert run.outcome.result(SECONDS) == Done()
    assert Path("out").read_text() == "wait\n" + "xxxxxxxxx\n" * 1_000


def test_what_nobody_reads_is_no_fault_of_the_tasks(opened: Opened) -> None:
    """Whether the function sees the error, or it shows after its end."""
    reader, writer = os.pipe()
    function = opened(RUN.format("def"), stdout=writer)
    os.close(writer)
    os.close(reader)
    gone = OutputGone("its reader is gone")
    assert [function.run(task) for task in tasks("print(1)", "print(1, end='')")] == [gone] * 2


# How its process begins.


@pytest.mark.parametrize(
    ("text", "python", "message"),
    [
        ("raise ValueError('boom')", sys.executable, "importing tasks fails: ValueError: boom (tasks.py:7)."),
        ("os._exit(3)", sys.executable, "its process ended with exit code 3 while it was getting ready."),
        ("os.kill(0, 11)", sys.executable, "its process was killed by SIGSEGV while it was getting ready."),
        ("sys.executable = None", sys.executable, "module tasks has no 'handle'."),
        ("", "/nowhere/python", "its process can't be started: no such file or directory. Take fewer --jobs, or allow"),
    ],
)
def test_what_can_not_work_is_said_before_the_first_task(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, text: str, python: str, message: str
) -> None:
    """Whatever happens to the process, one line tells of it."""
    monkeypatch.setattr(sys, "executable", python)
    with pytest.raises(UsageError) as refused:
        opened(text, jobs=2)
    assert str(refused.value).startswith(f"--call tasks:handle: {message}")


@pytest.mark.parametrize("end", [Driven.kill, Driven.close])
def test_an_import_that_takes_for_ever(opened: Opened, end: Callable[[Driven], None]) -> None:
    """There is no limit to it, but the end of the worker."""
    function = driven("pid(); time.sleep(1000)")
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(function.open)
        pid()
        end(function)
        with pytest.raises(UsageError, match="its process was killed by SIG"):
            opening.result(SECONDS)
    with pytest.raises(UsageError, match="was killed"):
        function.open()
    function.stop()


def test_a_module_that_has_changed_for_the_worse_is_no_verdict_on_tasks(opened: Opened) -> None:
    """It is the worker's trouble; and no error where the task was returned meanwhile."""
    function = opened("async def handle(body): os._exit(3)")
    assert isinstance(function.run(TASK), Failed)
    for text, why in (
        ("raise ValueError('boom')", "importing tasks fails: ValueError: boom (tasks.py:9)."),
        ("def handle(body): 'no longer'", "it was async and no longer is. Start the worker again."),
    ):
        module("pid()\nwhile not os.path.exists('go'): time.sleep(0.01)\n" + text)
        [run] = function.begin(TASK)
        pid()
        function.call(function.pool.withdraw)
        assert run.told == ["returned"]
        Path("go").touch()
        eventually(lambda: not processes())
        assert function.run(TASK) == CannotRun(f"--call tasks:handle: {why}")
        Path("go").unlink()
        Path("pid").unlink()
