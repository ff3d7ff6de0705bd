"""What happens around a task is not held against it: output that nobody reads, no room for a process, neighbours that
crash, signals, a worker that is killed.
"""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import ExitStack, closing
from pathlib import Path
from typing import IO

import pytest

from tests.proxy import Proxy
from tests.tools import DEADLINE, PYTHON, Program, Vhost, clean_environment, eventually, is_alive, lines, throughout

NUMBERED = [f"{n}".encode() for n in range(200)]

FUNCTIONS = """
import asyncio, json, os, re, subprocess, time

def shout(body):
    print("x" * 2000)

def hold(body):
    subprocess.Popen(["sleep", "300"])
    open("held", "w").write(str(os.getpid()))
    re.match(r"(a+)+$", "a" * 64 + "b")

def stay(body):
    open("pids", "w").write(f"{os.getpid()}\\n")
    time.sleep(300)

async def stay_async(body):
    open("pids", "a").write(f"{os.getpid()}\\n")
    await asyncio.sleep(300)

def halves(body):
    if body == b"half":
        raise ValueError("no smile: " + json.loads('"\\\\ud83d"'))

async def crashes(body):
    with open("begun", "a") as log:
        log.write(body.decode() + "\\n")
    await asyncio.sleep(0.2)
    if body == b"crash":
        os._exit(1)

async def blocks(body):
    await asyncio.sleep(0.2)
    if body == b"block":
        time.sleep(100)
"""


WORK = {
    "command": ("--", "sh", "-c", "head -c 3000 /dev/zero"),
    "events": ("--json", "--", "true"),
    "words": ("--", "true"),
    "function": ("--call", "functions:shout"),
}


@pytest.fixture
def functions(rqtool: Program) -> Program:
    (rqtool.cwd / "functions.py").write_text(FUNCTIONS)
    return rqtool


def test_a_stdout_that_nobody_reads(functions: Program, vhost: Vhost) -> None:
    """It stops new tasks, and neither heartbeats nor signals: when it is read, all go on, and none is done twice."""
    url = f"{vhost.url}?heartbeat=2"
    tasks = lines(*[f"{n:05d}".encode() * 40 for n in range(500)])
    with ExitStack() as ends:
        workers: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        for queue, arguments in WORK.items():
            vhost.declare(queue)
            functions("send", "-q", queue, input=tasks)
            out, ours = os.pipe()
            with (functions.cwd / f"{queue}.err").open("wb") as stderr:
                worker = subprocess.Popen(
                    [*PYTHON, "work", "--url", url, "-q", queue, "--drain", *arguments],
                    stdout=ours, stderr=stderr, cwd=functions.cwd, env=clean_environment(**vhost.environment),
                )  # fmt: skip
            os.close(ours)
            ends.callback(worker.wait)
            ends.callback(worker.kill)
            workers[queue] = worker, ends.enter_context(os.fdopen(out, "rb"))
        before = {
            queue: eventually(lambda queue=queue: vhost.figures(queue) != (500, 0) and settled(vhost, queue))  # type: ignore[misc]
            for queue in WORK
        }
        # Four heartbeats: the broker gives a silent connection up after two.
        throughout(lambda: before == {queue: vhost.figures(queue) for queue in WORK}, 8)
        for worker, output in workers.values():
            output.read()
            assert worker.wait(60) == 0
    for queue in WORK:
        assert "connection lost" not in (functions.cwd / f"{queue}.err").read_text()
        assert vhost.figures(queue) == (0, 0)


def settled(vhost: Vhost, queue: str = "task_queue") -> tuple[int, int] | None:
    """The figures, once they stay as they are for a second."""
    figures = vhost.figures(queue)
    try:
        throughout(lambda: vhost.figures(queue) == figures, 1, every=0.1)
    except AssertionError:
        return None
    return figures


def test_a_stalled_worker_obeys_signals(rqtool: Program, vhost: Vhost) -> None:
    """While nobody reads its stdout, the second SIGTERM ends it."""
    rqtool("send", input=lines(*NUMBERED))
    out, ours = os.pipe()
    err = rqtool.cwd / "err"
    with err.open("wb") as stderr:
        worker = subprocess.Popen(
            [*PYTHON, "work", "--", "head", "-c", "70000", "/dev/zero"],
            stdout=ours, stderr=stderr, env=clean_environment(**vhost.environment),
        )  # fmt: skip
    os.close(ours)
    try:
        eventually(lambda: vhost.figures()[1] > 0 and settled(vhost))
        worker.send_signal(signal.SIGTERM)
        eventually(lambda: "a second signal kills it" in err.read_text())  # two at once would be one
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(DEADLINE) == 128 + signal.SIGTERM
    finally:
        worker.kill()
        worker.wait()
        os.close(out)
    eventually(lambda: vhost.figures() == (200, 0))


@pytest.mark.parametrize("arguments", [["--", "cat"], ["--call", "functions:shout"], ["--json", "--", "true"]])
def test_a_reader_that_goes_costs_no_task(functions: Program, vhost: Vhost, arguments: list[str]) -> None:
    """As in `work | head -c 5`: one line, exit code 1, and what was not done is back in the queue."""
    functions("send", input=lines(*NUMBERED))
    command = " ".join(map(str, [*PYTHON, "work", "--quiet", "--retry-delays", "none", *arguments]))
    ended = subprocess.run(
        ["bash", "-c", f"{command} | head -c 5 >/dev/null; exit ${{PIPESTATUS[0]}}"],
        cwd=functions.cwd, env=clean_environment(**vhost.environment), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert ended.returncode == 1
    assert ended.stderr == "rqtool: The output can't be written: its reader is gone. Send it elsewhere.\n"
    assert vhost.figures("task_queue.dead") == (0, 0)
    assert vhost.figures()[0] >= 150


def test_no_room_for_processes_is_no_verdict(rqtool: Program, vhost: Vhost) -> None:
    """A worker that may open few files: all tasks are done by as many commands as there is room for, none fails."""
    rqtool("send", input=lines(*NUMBERED[:40]))
    options = ["--drain", "-j", "20", "--retry-delays", "none"]
    command = 'read n; sleep 0.2; echo "$n" >> log'

    def work(limit: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", f'ulimit -n {limit}; exec "$@"', "sh", *PYTHON, "work", *options, "--", "sh", "-c", command],
            cwd=rqtool.cwd, env=clean_environment(**vhost.environment), capture_output=True, text=True, timeout=100,
            check=False,
        )  # fmt: skip

    limit, ended = 20, work(20)
    while ended.returncode == 2:  # too few for the worker itself
        limit += 4
        ended = work(limit)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr.count("no task can be started here for now (too many open files)") == 1
    assert len((rqtool.cwd / "log").read_text().split()) == 40
    assert vhost.ready() == 0
    assert vhost.ready("task_queue.dead") == 0


def test_an_error_that_no_utf8_can_hold(functions: Program, vhost: Vhost) -> None:
    """Half of a surrogate pair, as JSON can have it, in the reason of a failure: the task fails, others are done."""
    vhost.publish("half", "whole")
    ended = functions("work", "--call", "functions:halves", "--drain", "--retry-delays", "none")

    assert ended.code == 1, ended.stderr
    [(properties, body)] = vhost.take_all("task_queue.dead")
    assert body == b"half"
    assert (properties.headers or {})["x-rqtool-error"].startswith("ValueError: no smile: ?")
    assert vhost.figures() == (0, 0)


def test_a_bug_ends_the_worker_at_once(rqtool: Program, vhost: Vhost) -> None:
    """A bug that leaves a job unfinished: the worker reports it, exits with its code, and gives its tasks back."""
    bug = "from rqtool.work.settle import Settler; Settler.conclude = lambda *_: {}['a bug']"
    broken = Program(vhost.environment, rqtool.cwd, ("-c", f"{bug}; from rqtool.cli.main import main; exit(main())"))
    vhost.publish("short", "long")
    try:
        ended = broken("work", "-j", "2", "--", "sh", "-c", "read t; test $t = short || sleep 300")
    finally:
        broken.end_all()

    assert ended.code == 70
    assert "rqtool: Internal error: KeyError: 'a bug'." in ended.stderr
    assert vhost.ready() == 2


def test_neighbours_of_a_crash_are_done(functions: Program, vhost: Vhost) -> None:
    """An async function whose process dies with ten tasks at work: the others run again, and none is blamed for it."""
    functions("send", input=lines(*NUMBERED[:20], b"crash", *NUMBERED[20:40]))
    ended = functions("work", "-j", "10", "--call", "functions:crashes", "--drain", "--retry-delays", "none")

    assert ended.code == 1
    assert vhost.bodies("task_queue.dead") == [b"crash"]
    assert {task.decode() for task in NUMBERED[:40]} < set((functions.cwd / "begun").read_text().split())


def test_neighbours_of_one_that_blocks_are_done(functions: Program, vhost: Vhost) -> None:
    """An async function that blocks its process past --timeout: only that task fails."""
    functions("send", input=lines(*NUMBERED[:5], b"block", *NUMBERED[5:10]))
    options = ["--drain", "--retry-delays", "none", "--timeout", "1s"]
    ended = functions("work", "-j", "5", "--call", "functions:blocks", *options)

    assert ended.code == 1
    assert vhost.bodies("task_queue.dead") == [b"block"]


def test_sighup_ends_a_worker_gracefully(rqtool: Program, vhost: Vhost) -> None:
    """A terminal that is closed: what runs is finished, once, and the rest is back."""
    vhost.publish("a", "b")
    worker = rqtool.start("work", "--", "sh", "-c", "read n; sleep 1; echo $n >> log")
    worker.says("Received 'a'")
    worker.signal(signal.SIGHUP)
    assert worker.wait().code == 0
    assert (rqtool.cwd / "log").read_text() == "a\n"
    assert vhost.figures() == (1, 0)


@pytest.mark.parametrize("first", ["worker", "task"])
@pytest.mark.parametrize("work", [["--", "sh", "-c", "echo $$ >> pids; exec sleep 300"], ["--call", "functions:stay"]])
def test_a_signal_to_all_processes_is_no_verdict(functions: Program, vhost: Vhost, work: list[str], first: str) -> None:
    """As a batch system, a reboot, or systemd by default sends it: the task goes back, and no attempt is counted."""
    vhost.publish("a")
    patient = functions.tuned("from rqtool.work import dispatch; dispatch.TOGETHER = 300.0")
    worker = patient.start("work", "--retry-delays", "none", *work)
    [task] = eventually(lambda: pids(functions))
    if first == "worker":
        worker.signal(signal.SIGTERM)
        worker.says("stopping when the work in hand is done (1 task)")
    os.kill(task, signal.SIGTERM)
    eventually(lambda: not is_alive(task))
    if first == "task":
        worker.signal(signal.SIGTERM)
    ended = worker.wait()
    assert ended.code == 0
    assert "'a' was stopped too (" in ended.stderr
    assert vhost.figures("task_queue.dead") == (0, 0)
    assert vhost.figures() == (1, 0)


def test_a_signal_to_all_processes_and_several_async_tasks(functions: Program, vhost: Vhost) -> None:
    """They don't begin anew in a worker that stops."""
    vhost.publish("a", "b")
    worker = functions.start("work", "-j", "2", "--retry-delays", "none", "--call", "functions:stay_async")
    eventually(lambda: len(pids(functions)) == 2)
    worker.signal(signal.SIGTERM)
    worker.says("stopping when the work in hand is done (2 tasks)")
    os.kill(pids(functions)[0], signal.SIGTERM)
    ended = worker.wait()
    assert (ended.code, ended.stderr.count("was stopped too (")) == (0, 2)
    assert len(pids(functions)) == 2
    assert vhost.figures() == (2, 0)


def test_sighup_ends_send_with_its_report(rqtool: Program, vhost: Vhost) -> None:
    """What is not confirmed is said and kept, as with SIGTERM."""
    sender = rqtool.start("send", "--unsent", "rest", stdin=subprocess.PIPE)
    sender.write(b"a\n")
    eventually(lambda: vhost.ready() == 1)
    sender.signal(signal.SIGHUP)
    sender.says("writing the rest of the input to rest")
    sender.write(b"b\n")
    sender.close_input()
    ended = sender.wait()
    assert ended.code == 1
    assert "stopped before the end of the input; 1 task confirmed" in ended.stderr
    assert (rqtool.cwd / "rest").read_bytes() == b"b\n"


def test_sighup_that_is_ignored(rqtool: Program, vhost: Vhost) -> None:
    """Under nohup a worker goes on, and so do its commands."""
    command = ["sh", "-c", "kill -HUP $$; echo on > log"]
    worker = subprocess.Popen(
        ["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *PYTHON, "work", "--max-tasks", "1", "--", *command],
        cwd=rqtool.cwd, env=clean_environment(**vhost.environment), stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        eventually(lambda: vhost.consumers())
        worker.send_signal(signal.SIGHUP)
        vhost.publish("a")
        assert worker.wait(DEADLINE) == 0
    finally:
        worker.kill()
        worker.wait()
    assert (rqtool.cwd / "log").read_text() == "on\n"


def test_commands_end_with_a_killed_worker(rqtool: Program, vhost: Vhost) -> None:
    """SIGKILL of a worker ends its commands and what these have started, though they ignore SIGTERM."""
    vhost.publish("1", "2", "3")
    script = "trap '' TERM; echo $$ >> pids; sleep 300 & echo $! >> pids; wait"
    worker = rqtool.start("work", "-j", "3", "--", "sh", "-c", script)
    eventually(lambda: len(pids(rqtool)) == 6)
    worker.kill()
    eventually(lambda: not any(is_alive(pid) for pid in pids(rqtool)))


@pytest.mark.parametrize("end", ["kill", "second signal", "timeout"])
def test_what_has_a_process_group_of_its_own_ends_too(rqtool: Program, vhost: Vhost, end: str) -> None:
    """As `timeout` has in a script."""
    vhost.publish("1")
    script = "echo $$ >> pids; timeout 300 sh -c 'echo $$ >> pids; sleep 300; :'; :"
    limit = ["--timeout", "1s"] if end == "timeout" else []
    worker = rqtool.start("work", *limit, "--", "sh", "-c", script)
    eventually(lambda: len(pids(rqtool)) == 2)
    if end == "kill":
        worker.kill()
    elif end == "second signal":
        worker.signal(signal.SIGTERM)
        worker.says("a second signal kills it")
        worker.signal(signal.SIGTERM)
    eventually(lambda: not any(is_alive(pid) for pid in pids(rqtool)))


def pids(rqtool: Program) -> list[int]:
    path = rqtool.cwd / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def test_a_function_ends_with_a_killed_worker(functions: Program, vhost: Vhost) -> None:
    """Also one that holds the interpreter, and what it has started."""
    vhost.publish("1")
    worker = functions.start("work", "--call", "functions:hold")
    held = functions.cwd / "held"
    pid = int(eventually(lambda: held.exists() and held.read_text()))
    [group] = {os.getpgid(pid)}
    worker.kill()
    eventually(lambda: not members(group))


def members(group: int) -> list[int]:
    """The processes of a group that run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def test_quick_tasks_do_not_wait_behind_a_slow_one(rqtool: Program, vhost: Vhost) -> None:
    """Without --prefetch a worker holds more of quick tasks, and gives them up when one turns out to be slow: another
    worker does them all meanwhile.
    """
    rqtool("send", input=lines(*NUMBERED, b"slow", *NUMBERED))
    script = 'read n; echo "$n begins" >> log; [ "$n" != slow ] || sleep 6; echo "$n ends" >> log'
    workers = [rqtool.start("work", "--quiet", "--drain", "--", "sh", "-c", script) for _ in range(2)]
    assert [worker.wait().code for worker in workers] == [0, 0]
    log = (rqtool.cwd / "log").read_text().splitlines()
    assert log[-1] == "slow ends"
    assert len(log) == 2 * 401


def test_a_slow_line_keeps_no_job_waiting(rqtool: Program, vhost: Vhost) -> None:
    """Without --prefetch a worker far from its broker holds as many more short tasks as are on their way."""
    with closing(Proxy(vhost.node.amqp_port)) as proxy:
        proxy.slow(1 << 16, 0.05)
        rqtool("send", input=lines(*[b"%d" % n for n in range(400)]))
        worker = rqtool.start("work", "-j", "4", "--", "sleep", "0.03", env={"RQTOOL_URL": vhost.url_at(proxy.port)})
        eventually(lambda: vhost.figures()[1] > 8)
        worker.signal(signal.SIGTERM)
        assert worker.wait().code == 0
    ready, unacknowledged = vhost.figures()
    assert (ready + worker.stdout.count("Done"), unacknowledged) == (400, 0)
