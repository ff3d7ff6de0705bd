"""What other people's programs do to a worker: commands that misbehave, and functions in processes of their own."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.tools import Program, Vhost, eventually, is_alive, lines

MB = 1024 * 1024


def test_commands_that_misbehave(rqtool: Program, vhost: Vhost) -> None:
    """Each gets its verdict within its time, none stops the worker, and the queue is empty at the end."""
    scripts = {
        "never reads": "exec true",
        "closes stdout": "exec >&- 2>&-; exec sleep 0.2",
        "leaves a grandchild": "sleep 300 & echo $! > grandchild; exit 0",
        "prints": f"head -c {50 * MB} /dev/zero; head -c {50 * MB} /dev/zero >&2",
        "ignores TERM": "trap '' TERM; echo $$ > deaf; while :; do sleep 1; done",
        "fails": "echo 'the last words' >&2; exit 9",
    }
    body = b"x" * (3 * MB)
    for queue in scripts:
        vhost.declare(queue)
        with vhost.channel() as channel:
            channel.basic_publish("", queue, body)
    options = ["--drain", "--timeout", "3s", "--retry-delays", "none", "--quiet"]
    workers = {q: rqtool.start("work", "-q", q, *options, "--", "sh", "-c", script) for q, script in scripts.items()}
    codes = {queue: worker.wait().code for queue, worker in workers.items()}
    grandchild = int((rqtool.cwd / "grandchild").read_text())
    deaf = int((rqtool.cwd / "deaf").read_text())
    alive = Path(f"/proc/{grandchild}").exists()
    with suppress(ProcessLookupError):
        os.kill(grandchild, signal.SIGKILL)

    assert codes == dict.fromkeys(scripts, 0) | {"ignores TERM": 1, "fails": 1}
    assert alive, "what a command leaves running is its own business"
    assert not is_alive(deaf)
    assert len(workers["prints"].stdout) == len(workers["prints"].stderr) == 50 * MB
    errors = {queue: vhost.take_all(f"{queue}.dead")[0][0].headers or {} for queue in ("ignores TERM", "fails")}
    assert errors["ignores TERM"]["x-rqtool-error"] == "timed out after 3s"
    assert errors["fails"]["x-rqtool-error"] == "exit code 9\nthe last words"


FUNCTIONS = """
import asyncio, os, signal, sys
import rqtool

def upper(body):
    print(body.decode().upper())

async def side_by_side(task: rqtool.Task):
    (n, total) = task.body.decode().split()
    open(f"here-{n}", "w").close()
    while not all(os.path.exists(f"here-{each}") for each in range(int(total))):
        await asyncio.sleep(0.02)

def verdicts(task: rqtool.Task) -> None:
    with open("log", "a") as log:
        log.write(f"{task.body.decode()} {task.attempt}\\n")
    if task.body == b"raise":
        raise ValueError("bad luck")
    if task.body == b"reject":
        raise rqtool.Reject("no such thing")
    if task.body == b"retry" and task.attempt == 1:
        raise rqtool.Retry(delay=0.3, reason="busy")
    if task.body == b"crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if task.body == b"hang":
        signal.pause()
"""


@pytest.fixture
def functions(rqtool: Program) -> None:
    """A module in the current directory of the program."""
    (rqtool.cwd / "functions.py").write_text(FUNCTIONS)


@pytest.mark.usefixtures("functions")
def test_a_function_from_the_current_directory(rqtool: Program, vhost: Vhost) -> None:
    """It gets the body, and what it prints comes out."""
    vhost.publish("a", "b")
    ended = rqtool("work", "--drain", "--quiet", "--call", "functions:upper")
    assert (ended.code, ended.stdout, ended.stderr) == (0, "A\nB\n", "")


@pytest.mark.usefixtures("functions")
def test_async_functions_run_side_by_side(rqtool: Program, vhost: Vhost) -> None:
    """Twenty jobs wait for each other in one process, and all are done."""
    rqtool("send", input=lines(*(f"{n} 20".encode() for n in range(20))))
    assert rqtool("work", "--drain", "-j", "20", "--call", "functions:side_by_side").code == 0
    assert vhost.figures() == (0, 0)


@pytest.mark.usefixtures("functions", "old_places")
def test_verdicts_of_functions(rqtool: Program, vhost: Vhost) -> None:
    """What they return or raise decides; one that crashes or hangs costs an attempt, not the worker."""
    vhost.publish("fine", "raise", "reject", "retry", "crash", "hang")
    options = ["--drain", "--retry-delays", "100ms", "--timeout", "1s", "--call", "functions:verdicts"]
    ended = rqtool("work", *options)
    assert ended.code == 1, ended.stderr
    log = (rqtool.cwd / "log").read_text().splitlines()
    twice = ["raise", "retry", "crash", "hang"]
    assert sorted(log) == sorted(["fine 1", "reject 1", *(f"{body} {n}" for body in twice for n in (1, 2))])
    errors = {body: (p.headers or {})["x-rqtool-error"] for p, body in vhost.take_all("task_queue.dead")}
    assert {body: error.splitlines()[0] for body, error in errors.items()} == {
        b"raise": "ValueError: bad luck (functions.py:18)",
        b"reject": "no such thing",
        b"crash": "the process of the function was killed by SIGSEGV",
        b"hang": "timed out after 1s",
    }
    assert "'retry' asks for another attempt (busy); attempt 2 follows in 300ms" in ended.stderr


@pytest.mark.parametrize(
    ("target", "says"),
    [
        ("nowhere:f", "--call nowhere:f: there is no module 'nowhere' here or on Python's path."),
        ("functions:uper", "--call functions:uper: module functions has no 'uper'. Did you mean 'upper'?"),
        ("functions:FUNCTIONS", "--call functions:FUNCTIONS: "),
        ("broken:f", "--call broken:f: importing broken fails: ZeroDivisionError: division by zero (broken.py:1)"),
    ],
)
@pytest.mark.usefixtures("functions")
def test_a_function_that_can_not_be_called(rqtool: Program, vhost: Vhost, target: str, says: str) -> None:
    """One clear line, exit code 2, and nothing is taken from the queue."""
    (rqtool.cwd / "broken.py").write_text("1 / 0\n")
    vhost.publish("x")
    ended = rqtool("work", "--call", target)
    assert ended.code == 2
    assert ended.stderr.startswith(f"rqtool: {says}")
    assert len(ended.stderr.splitlines()) == 1
    with vhost.channel() as channel:
        method, _, _ = channel.basic_get("task_queue", auto_ack=True)
    assert method is not None
    assert not method.redelivered


@pytest.mark.usefixtures("functions")
def test_the_processes_of_functions_end_with_the_worker(rqtool: Program, vhost: Vhost) -> None:
    """After a signal, and after SIGKILL of the worker, no process of a function is left."""

    def children(pid: int) -> list[str]:
        threads = Path(f"/proc/{pid}/task").glob("*/children")
        return [child for thread in threads for child in thread.read_text().split()]

    for number in (signal.SIGTERM, signal.SIGKILL):
        worker = rqtool.start("work", "--call", "functions:upper")
        eventually(lambda worker=worker: children(worker.process.pid))  # type: ignore[misc]
        [child] = children(worker.process.pid)
        worker.signal(number)
        worker.wait()
        eventually(lambda child=child: not is_alive(int(child)))  # type: ignore[misc]
