"""Output that goes through the worker: what is handed on of it, and that results wait for it."""

from __future__ import annotations

import asyncio
import io
import os
import resource
import sys
import textwrap
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rqtool.errors import RqtoolError
from rqtool.output import Content, unwritable
from rqtool.run.encoding import Spec
from rqtool.run.outcome import Done, Failed, Outcome, OutputGone, Rejected, Shortage
from rqtool.run.pool import Pool
from tests.driven import SECONDS, Driven
from tests.integration.run.test_commands import BODY, Gate, tasks
from tests.tools import eventually, throughout

BOTH = pytest.mark.parametrize("mode", ["line", "group"])
FUNCTIONS = """
    import asyncio, multiprocessing, os, subprocess, sys, threading, time
    def run(body):
        exec(body)
    def raises(body):
        print("out")
        raise ValueError(body)
    async def raises_async(body):
        raises(body)
    def closes(body):
        print(body.decode()); print("err", file=sys.stderr)
        sys.stdout.close(); sys.stderr.close()
    async def closes_async(body):
        closes(body)
    async def run_async(body):
        for line in body.splitlines():
            print(end=line.decode()[:1])
            await asyncio.sleep(0.01)
            print(line.decode()[1:])
        await asyncio.to_thread(print, "thread")
"""


class Taken:
    """Takes what tasks write, unless it is `full`, or `broken`."""

    def __init__(self) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        self.is_waiting = False
        self.error: RqtoolError | None = None

    def hand_on(self, stream: int, content: Content) -> None:
        if isinstance(content, io.FileIO):
            with content:
                content = content.read()
        self.pieces.append((stream, content))

    def fail(self, why: str) -> None:
        self.error = unwritable(why)

    def all(self, stream: int = 1) -> bytes:
        return b"".join(piece for number, piece in self.pieces if number == stream)


class Captured(Driven):
    def __init__(self, spec: Spec, jobs: int) -> None:
        self.taken = Taken()
        super().__init__(Pool(spec, jobs, output=self.taken))

    def change(self, *, full: bool = False, broken: str = "") -> None:
        self.taken.is_waiting = full
        if broken:
            self.taken.fail(broken)
        self.loop.call_soon_threadsafe(self.pool.output_changed)


class Narrow(Taken):
    """Is full after each piece, until its reader has taken that a moment later."""

    drained: Callable[[], None]

    def hand_on(self, stream: int, content: Content) -> None:
        super().hand_on(stream, content)
        self.is_waiting = True
        asyncio.get_running_loop().call_later(0.01, self._drain)

    def _drain(self) -> None:
        self.is_waiting = False
        self.drained()


@contextmanager
def capturing(
    *what: str, mode: str = "line", tag: bool = False, jobs: int = 1, timeout: float | None = None
) -> Iterator[Captured]:
    kind = "function" if ":" in what[0] else "command"
    driven = Captured(Spec(kind, list(what), timeout, output=mode, tag=tag), jobs)  # type: ignore[arg-type]
    try:
        driven.open()
        yield driven
    finally:
        driven.stop()


def _outcomes(runs: list) -> list[Outcome]:  # type: ignore[type-arg]
    return [run.outcome.result(SECONDS) for run in runs]


@pytest.fixture
def functions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "functions.py").write_text(textwrap.dedent(FUNCTIONS))
    monkeypatch.chdir(tmp_path)


class TestCommands:
    """Their pipes are read by runners."""

    def test_lines_are_handed_on_at_once(self, tmp_path: Path) -> None:
        """Those of stdout and of stderr; half a line waits, and gets its end when the command has ended."""
        os.mkfifo(tmp_path / "gate")
        gate = Gate(tmp_path / "gate")
        with capturing(*BODY) as pool:
            [run] = pool.begin(*tasks(f"echo out; echo err >&2; printf half; {gate.wait}; printf =whole"))
            eventually(lambda: len(pool.taken.pieces) == 2)
            assert sorted(pool.taken.pieces) == [(1, b"out\n"), (2, b"err\n")]
            gate.let(1)
            assert run.outcome.result(SECONDS) == Done(0)
            assert pool.taken.pieces[2:] == [(1, b"half=whole\n")]
            assert run.written == len("out\nhalf=whole")

    def test_groups_are_handed_on_at_the_end(self) -> None:
        """Whole, stdout before stderr, as they were written; and whatever the end is."""
        with capturing(*BODY, mode="group", jobs=2) as pool:
            body = "echo err >&2; yes $0 | head -c {}; exit {}"
            runs = pool.begin(*tasks(body.format(1_000_000, 0), body.format(1_000_001, 65)))
            assert _outcomes(runs) == [Done(0), Rejected("exit code 65", "err", 65)]
            assert [run.written for run in runs] == [1_000_000, 1_000_001]
            assert sorted(len(piece) for _, piece in pool.taken.pieces)[-2:] == [1_000_000, 1_000_001]
            assert pool.taken.all(2) == b"err\nerr\n"

    @BOTH
    def test_tag(self, mode: str) -> None:
        """It stands before each line, those of stderr too."""
        with capturing("sh", "-c", "printf 'a\\nb\\n'; echo c >&2", mode=mode, tag=True, jobs=2) as pool:
            assert _outcomes(pool.begin(*tasks("x", "y\nz"))) == [Done(0)] * 2
            assert sorted(pool.taken.all().splitlines()) == [b"x\ta", b"x\tb", b"y\ta", b"y\tb"]
            assert sorted(pool.taken.all(2).splitlines()) == [b"x\tc", b"y\tc"]

    def test_a_line_is_never_torn(self) -> None:
        """However long it is, and however many commands write at once."""
        with capturing("sh", "-c", "for i in 1 2 3; do head -c $1 /dev/zero | tr '\\0' $2; echo; done", "sh", "300001",
                       "{}", jobs=4) as pool:  # fmt: skip
            assert pool.work_off(*tasks(*"abcdefgh")) == [Done(0)] * 8
            lines = pool.taken.all().splitlines()
            assert sorted(lines) == sorted(letter * 300_001 for letter in (b"a b c d e f g h".split()) * 3)

    @BOTH
    def test_all_that_was_written_before_the_end_is_there(self, mode: str) -> None:
        """What a process left behind holds nothing up, and what it writes later is handed on."""
        with capturing(*BODY, mode=mode) as pool:
            body = "printf %060000d 7; (exec 2>&-; read line <gate; echo late) & exit 3"
            assert pool.run(tasks("rm -f gate; mkfifo gate; " + body)[0]) == Failed("exit code 3", "", 3)
            assert pool.taken.all() == b"7".rjust(60_000, b"0") + (b"\n" if mode == "line" else b"")
            Path("gate").write_text("\n")
            eventually(lambda: pool.taken.all().endswith(b"late\n"))

    def test_one_that_writes_without_end_holds_up_no_result(self) -> None:
        """What others have written, and their results, come through beside it."""
        with capturing(*BODY, jobs=4) as pool:
            pool.taken.__class__, pool.taken.drained = Narrow, pool.pool.output_changed  # type: ignore[attr-defined]
            endless, *short = pool.begin(*tasks("yes", *["echo short"] * 3))
            assert _outcomes(short) == [Done(0)] * 3
            assert not endless.outcome.done()
            pool.kill()

    @BOTH
    def test_a_timeout_keeps_what_was_written(self, mode: str) -> None:
        """A command that takes too long shows where it was."""
        with capturing(*BODY, mode=mode, timeout=0.5) as pool:
            outcome = pool.run(tasks("echo here; sleep 60")[0])
            assert isinstance(outcome, Failed)
            assert outcome.why == "timed out after 500ms"
            assert pool.taken.all() == b"here\n"


class TestRoom:
    """Results wait for output that nobody reads, and for nothing else."""

    @BOTH
    def test_a_result_waits_for_its_output(self, mode: str) -> None:
        """Its own; what wrote nothing has ended."""
        with capturing(*BODY, mode=mode, jobs=2) as pool:
            pool.change(full=True)
            loud, silent = pool.begin(*tasks("echo loud", "sleep 0.2"))
            assert silent.outcome.result(SECONDS) == Done(0)
            assert not loud.outcome.done()
            assert pool.taken.pieces == []
            pool.change()
            assert loud.outcome.result(SECONDS) == Done(0)
            assert pool.taken.all() == b"loud\n"

    def test_a_result_waits_for_all_that_is_in_the_pipe(self, tmp_path: Path) -> None:
        """More than one read takes, and another process keeps it open."""
        code = """if 1:
            import fcntl, os, subprocess, sys
            fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, 1 << 20)
            os.write(1, b"x\\n" * 400_000)
            subprocess.Popen(["sleep", "3"], stderr=subprocess.DEVNULL)
            open("part", "w").write(str(os.getpid()))
            os.rename("part", sys.argv[1])
        """
        path = tmp_path / "pid"
        with capturing(sys.executable, "-c", code.replace("part", f"{path}.part"), str(path)) as pool:
            pool.change(full=True)
            [run] = pool.begin(*tasks("x"))
            pid = int(eventually(lambda: path.exists() and path.read_text()))
            eventually(lambda: not os.path.exists(f"/proc/{pid}"))
            pool.change()
            assert run.outcome.result(SECONDS) == Done(0)
            assert len(pool.taken.all()) == 800_000

    def test_a_timeout_is_kept(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A command that can't go on is ended in time, though its result waits; and its runner is not to blame."""
        monkeypatch.setattr("rqtool.run.supervisor.KILL_AFTER", 0.1)
        with capturing("sh", "-c", 'echo $$ >"$1"; exec yes', "sh", str(tmp_path / "pid"), timeout=1.0) as pool:
            pool.change(full=True)
            [run] = pool.begin(*tasks("x"))
            eventually((tmp_path / "pid").exists)
            pid = int(eventually(lambda: (tmp_path / "pid").read_text()))
            eventually(lambda: not os.path.exists(f"/proc/{pid}"))
            throughout(lambda: not run.outcome.done(), 1.0)
            pool.change()
            assert run.outcome.result(SECONDS).why == "timed out after 1s"  # type: ignore[union-attr]

    def test_no_room_in_the_temporary_folder(self) -> None:
        """Half of a group is not printed, and its task has no verdict."""
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            with capturing(*BODY, mode="group") as pool:
                outcome = pool.run(tasks("head -c 600000 /dev/zero")[0])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert outcome == OutputGone("file too large in the temporary folder")
        assert pool.taken.pieces == []

    def test_no_descriptor_is_left(self, tmp_path: Path) -> None:
        """For the file in which long output waits: others will give some back, so the task is to be tried again."""
        waits = f"cd {tmp_path}; echo $PPID > part; mv part runner; until [ -e go ]; do sleep 0.02; done"
        with capturing(*BODY, mode="group") as pool:
            (run,) = pool.begin(*tasks(f"{waits}; yes"))
            eventually((tmp_path / "runner").exists)
            runner = int((tmp_path / "runner").read_text())
            before = resource.prlimit(runner, resource.RLIMIT_NOFILE)
            used = {int(name) for name in os.listdir(f"/proc/{runner}/fd")}
            free = min(set(range(len(used) + 1)) - used)
            resource.prlimit(runner, resource.RLIMIT_NOFILE, (free, before[1]))
            (tmp_path / "go").touch()
            assert run.outcome.result(SECONDS) == Shortage("too many open files")
            resource.prlimit(runner, resource.RLIMIT_NOFILE, before)
            assert pool.run(tasks("head -c 600000 /dev/zero")[0]) == Done(0)
        assert len(pool.taken.all()) == 600_000

    def test_what_can_not_be_written_is_no_verdict(self) -> None:
        """On a task that is done, and on one that gets a SIGPIPE for it."""
        with capturing(*BODY, jobs=2) as pool:
            pool.change(full=True)
            runs = pool.begin(*tasks("echo done", "yes"))
            eventually(lambda: runs[0].told == ["begun"])
            pool.change(broken="its reader is gone")
            assert [type(outcome) for outcome in _outcomes(runs)] == [OutputGone] * 2


@pytest.mark.usefixtures("functions")
class TestFunctions:
    """Their prints are handed on, and what their processes write."""

    def test_no_descriptor_is_left(self) -> None:
        """As of a command, whether the function sees the error or not."""
        body = """if 1:
            import contextlib, resource
            before = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
            with {around}:
                print("x" * 600_000)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)"""
        around = "contextlib.suppress(OSError)", "contextlib.ExitStack()"
        with capturing("functions:run", mode="group") as pool:
            outcomes = [pool.run(tasks(body.format(around=each).encode())[0]) for each in around]
        assert outcomes == [Shortage("too many open files")] * 2

    @pytest.mark.parametrize("function", ["run", "run_async"])
    def test_no_temporary_folder(self, function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """As in a container whose file system is read-only: what waits is in memory."""
        nowhere = "import tempfile\ntempfile._candidate_tempdir_list = lambda: []\n"
        (tmp_path / "sitecustomize.py").write_text(nowhere)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        body = b"print('x' * 600_000)" if function == "run" else b"x" * 600_000
        with capturing(f"functions:{function}", mode="group") as pool:
            assert pool.run(tasks(body)[0]) == Done()
        assert pool.taken.all().count(b"x") == 600_000

    @BOTH
    def test_all_in_order(self, mode: str) -> None:
        """Of Python code, of processes that it starts or forks, and of its threads."""
        body = """if 1:
            print("one", end=" "); print("line")
            subprocess.run(["echo", "process"])
            (thread := threading.Thread(target=print, args=["thread"])).start(); thread.join()
            (fork := multiprocessing.get_context("fork").Process(target=print, args=["fork"])).start(); fork.join()
            print("err", file=sys.stderr)
            print("end", end="")
        """
        with capturing("functions:run", mode=mode, tag=True) as pool:
            run = pool.begin(*tasks(b"\n" + body.encode()))[0]
            assert run.outcome.result(SECONDS) == Done()
            lines = [b"one line", b"process", b"thread", b"fork", b"end"]
            end = b"\n" if mode == "line" else b""
            assert pool.taken.all() == b"\n".join(b"\t" + line for line in lines) + end
            assert pool.taken.all(2) == b"\terr\n"
            assert run.written == len(b"\n".join(lines))

    @BOTH
    @pytest.mark.parametrize("function", ["closes", "closes_async"])
    def test_one_that_closes_the_streams(self, mode: str, function: str) -> None:
        """The next one has them again."""
        with capturing(f"functions:{function}", mode=mode) as pool:
            assert [pool.run(task) for task in tasks("a", "b")] == [Done()] * 2
            assert (pool.taken.all(), pool.taken.all(2)) == (b"a\nb\n", b"err\nerr\n")

    @BOTH
    @pytest.mark.parametrize("function", ["raises", "raises_async"])
    def test_the_lines_of_a_traceback(self, mode: str, function: str) -> None:
        """They are tagged, and no line follows the last one."""
        with capturing(f"functions:{function}", mode=mode, tag=True) as pool:
            assert isinstance(pool.run(tasks("x")[0]), Failed)
            first, *_, last, end = pool.taken.all(2).decode().split("\n")
            assert (first, last, end) == ("x\tTraceback (most recent call last):", "x\tValueError: b'x'", "")
            assert pool.taken.all() == b"x\tout\n"

    @BOTH
    def test_a_timeout_keeps_what_was_written(self, mode: str) -> None:
        """A function that takes too long is killed, and shows where it was."""
        with capturing("functions:run", mode=mode, timeout=5.0) as pool:
            outcome = pool.run(
                tasks(b"print('here', end='', flush=True); subprocess.run(['echo', 'there']); time.sleep(60)")[0]
            )
            assert outcome == Failed("timed out after 5s")
            assert pool.taken.all() == b"herethere\n"

    def test_what_was_written_comes_before_a_timeout(self) -> None:
        """Even where it could not be read while the task ran."""
        with capturing("functions:run", mode="group", timeout=0.5) as pool:
            pool.change(full=True)
            run = pool.begin(*tasks(b"print('here'); time.sleep(60)"))[0]
            written = []
            run.outcome.add_done_callback(lambda _: written.append(pool.taken.all()))
            assert run.outcome.result(SECONDS) == Failed("timed out after 500ms")
            eventually(lambda: written == [b"here\n"])

    @BOTH
    def test_async_ones_are_told_apart(self, mode: str) -> None:
        """By their contexts, though they share a process."""
        with capturing("functions:run_async", mode=mode, tag=True, jobs=3) as pool:
            assert pool.work_off(*tasks(b"ab\ncd", b"ef\ngh", b"ij\nkl")) == [Done()] * 3
            by_tag = defaultdict(list)
            for line in pool.taken.all().splitlines():
                tag, text = line.split(b"\t")
                by_tag[tag].append(text)
            expected = {b"ab": [b"ab", b"cd"], b"ef": [b"ef", b"gh"], b"ij": [b"ij", b"kl"]}
            assert by_tag == {tag: [*lines, b"thread"] for tag, lines in expected.items()}
