"""stdout and stderr that are closed, full, or without a reader: exit codes and messages of every verb."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import PYTHON, Program, Vhost, clean_environment

VERBS = {
    "send": ["send", "-q", "out", "a", "b", "c"],
    "send lines": ["send", "-q", "out"],
    "send --json": ["send", "-q", "out", "--json", "a"],
    "work": ["work", "--drain"],
    "work --json": ["work", "--json", "--drain", "--", "true"],
    "queues": ["queues"],
    "queues --json": ["queues", "--json"],
    "queues --check": ["queues", "--check", "given_up"],
    "dead list": ["dead", "list", "-q", "given_up"],
    "dead retry": ["dead", "retry", "-q", "given_up"],
    "broker status": ["broker", "status"],
    "--help": ["--help"],
    "work --help": ["work", "--help"],
    "--version": ["--version"],
}
UNHARMED = dict.fromkeys(VERBS, 0) | {"queues --check": 1, "broker status": 69}
"""Exit codes where nothing is wrong with the streams: a task was given up, and there is no private broker."""


@pytest.fixture
def verbs(rqtool: Program, vhost: Vhost, tmp_path: Path) -> Program:
    """The program, with something to do and to see for every verb, and nobody's private broker in sight."""
    for queue in ("task_queue", "given_up", "given_up.dead", "out"):
        vhost.declare(queue)
    fill(vhost)
    rqtool.environment["XDG_STATE_HOME"] = str(tmp_path / "state")
    return rqtool


def fill(vhost: Vhost) -> None:
    with vhost.channel() as channel:
        channel.basic_publish("", "task_queue", b"x")
        channel.basic_publish("", "given_up.dead", b"y")


@pytest.fixture
def nobody() -> Iterator[int]:
    """A pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    yield writer
    os.close(writer)


def run(program: Program, verb: str, redirections: str = "", *, stdout: int = subprocess.DEVNULL) -> tuple[int, str]:
    """Run the verb as a shell does. Returns the exit code, and what came on stderr if that is not redirected."""
    command = f"exec {shlex.join([*PYTHON, *VERBS[verb]])} {redirections}"
    ended = subprocess.run(
        ["sh", "-c", command],
        env=clean_environment() | program.environment,
        input=b"a\nb\n",
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
    )
    return ended.returncode, ended.stderr.decode()


def expect_unwritable(verb: str, code: int, said: str, why: str) -> None:
    """One line, and 1; UNKNOWN for a monitor. What is written to stdout nowhere can't fail."""
    assert (said[:8], said.count("\n"), said[-2:]) == ("rqtool: ", 1, ".\n")
    if verb == "broker status":
        assert code == UNHARMED[verb]
        return
    assert code == (3 if verb == "queues --check" else 1), said
    assert f"output can't be written: {why}. " in said
    assert ("The tasks are sent, but" in said) == verb.startswith("send")


@pytest.mark.parametrize("verb", VERBS)
def test_a_stdout_that_cannot_be_written(verb: str, verbs: Program, vhost: Vhost, nobody: int) -> None:
    """A full disk, a reader that went: the work is done, and there is one clear line."""
    expect_unwritable(verb, *run(verbs, verb, ">/dev/full"), "no space left on device")
    fill(vhost)
    expect_unwritable(verb, *run(verbs, verb, stdout=nobody), "its reader is gone")


@pytest.mark.timeout(150)  # each verb starts Python anew
@pytest.mark.parametrize("redirections", [">&- 2>&- <&-", "2>/dev/full"])
def test_closed_streams_and_a_full_stderr_change_nothing(redirections: str, verbs: Program, vhost: Vhost) -> None:
    """Neither the work nor the exit code: a closed stdout is /dev/null, and stderr is talk."""
    without_stdin = "<&-" in redirections
    codes = {verb: run(verbs, verb, redirections)[0] for verb in VERBS}

    assert codes == UNHARMED | ({"send lines": 2} if without_stdin else {})
    lines = [] if without_stdin else [b"a", b"b"]
    assert vhost.bodies("out") == [b"a", b"b", b"c", *lines, b"a"]
    assert vhost.bodies() == []
    assert vhost.bodies("given_up") == [b"y"]


@pytest.mark.parametrize("what", [("--call", "prints:handle"), ("--", "sh", "-c", "cat 2>/dev/null")])
def test_a_task_outlives_a_stdout_that_cannot_be_written(what: tuple[str, ...], verbs: Program, vhost: Vhost) -> None:
    """What it prints is lost, and no task is to blame: it goes back, and the worker ends with one line."""
    (verbs.cwd / "prints.py").write_text("def handle(body): print(body)\n")
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*PYTHON, "work", "--quiet", "--retry-delays", "none", "--max-tasks", "1", *what],
            env=clean_environment() | verbs.environment, cwd=verbs.cwd, stdout=full, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip

    assert ended.returncode != 0
    assert ended.stderr.startswith(b"rqtool: The output can't be written: no space left on device. ")
    assert ended.stderr.count(b"\n") == 1
    assert vhost.bodies() == [b"x"]


def test_a_task_is_done_whoever_hears_of_it(verbs: Program, vhost: Vhost) -> None:
    """Neither a command nor a function notices that our stderr is closed or full."""
    (verbs.cwd / "talks.py").write_text("import sys\ndef talk(body): print('said', file=sys.stderr)\n")
    for work in ("-- sh -c 'echo said >&2'", "--call talks:talk"):
        for redirection in ("2>&-", "2>/dev/full"):
            script = f"{shlex.join([*PYTHON, 'send', 'x'])} && exec {shlex.join(PYTHON)} work --max-tasks 1 {work}"
            ended = subprocess.run(
                ["sh", "-c", f"{script} {redirection}"],
                env=clean_environment() | verbs.environment,
                cwd=verbs.cwd,
                stdout=subprocess.DEVNULL,
                timeout=60,
            )
            assert ended.returncode == 0, (work, redirection)
    assert vhost.ready("task_queue.dead") == 0
    assert vhost.ready("task_queue.retry.1s") == 0
