"""`rqtool dead list` prints what it reads at once, whatever its reader or the broker does, and leaves it in order."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rqtool.amqp.headers import ERROR
from tests.dead import DEAD, KINDS, bury, declare, numbered
from tests.proxy import Proxy
from tests.tools import DEADLINE, PYTHON, Program, Vhost, eventually

SMALLEST_PIPE = 4096


@contextmanager
def listing(environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`dead list` into a pipe that takes two pages until it is read."""
    process = subprocess.Popen(
        [*PYTHON, "dead", "list", *arguments],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert process.stdout is not None
    fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()


def held(vhost: Vhost) -> int:
    return vhost.figures(DEAD)[1]


def test_lines_come_while_it_reads(vhost: Vhost) -> None:
    """The first ones are printed while it holds some of them and others are still in the queue; the rest follows."""
    declare(vhost)
    bury(vhost, *numbered(1_000))
    with listing(vhost.environment) as process:
        assert read_line(process).startswith(b"id\t")
        assert read_line(process).startswith(b"id-0\t")
        ready, taken = vhost.figures(DEAD)
        assert ready > 0
        assert taken > 0
        rest = process.communicate()[0].splitlines()
    assert process.returncode == 0
    assert [line.split(b"\t")[0] for line in rest] == [b"id-%d" % number for number in range(1, 1_000)]
    assert vhost.bodies(DEAD) == numbered(1_000)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_nobody_reads(vhost: Vhost, kind: str, number: int, code: int) -> None:
    """Its reader does not read: a signal still ends it, and everything is where it was."""
    declare(vhost, kind)
    bury(vhost, *numbered(1_000))
    with listing(vhost.environment) as process:
        assert read_line(process).startswith(b"id\t")
        process.send_signal(number)
        assert process.wait(DEADLINE) == code
        assert process.stderr is not None
        assert process.stderr.read() == b"rqtool: stopped by a signal.\n"
    eventually(lambda: vhost.ready(DEAD) == 1_000)
    assert vhost.bodies(DEAD) == numbered(1_000)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_that_leaves(vhost: Vhost, kind: str) -> None:
    """As `head` does: one line of error, and everything is where it was."""
    declare(vhost, kind)
    bury(vhost, *numbered(1_000))
    with listing(vhost.environment) as process:
        assert process.stdout is not None
        assert read_line(process).startswith(b"id\t")
        process.stdout.close()
        assert process.wait(DEADLINE) == 1
        assert process.stderr is not None
        assert process.stderr.read() == b"rqtool: The output can't be written: its reader is gone. Send it elsewhere.\n"
    assert vhost.bodies(DEAD) == numbered(1_000)


def test_a_full_disk(rqtool: Program, vhost: Vhost) -> None:
    """One line, exit code 1, and everything is where it was."""
    declare(vhost)
    bury(vhost, *numbered(3))
    with open("/dev/full", "wb") as full:
        ended = subprocess.run(
            [*PYTHON, "dead", "list"], env=os.environ | rqtool.environment, stdout=full, stderr=subprocess.PIPE
        )
    assert ended.returncode == 1
    assert ended.stderr.startswith(b"rqtool: The output can't be written: no space left on device. ")
    assert ended.stderr.count(b"\n") == 1
    assert vhost.bodies(DEAD) == numbered(3)


def test_a_broker_that_does_not_answer_at_the_end(vhost: Vhost) -> None:
    """The broker may be busy taking messages back: all that was read is printed before, and Ctrl-C still ends it."""
    declare(vhost)
    bury(vhost, b"\x01" * 1_000, b"\x02" * 1_000, ids=["a", "b"], headers={ERROR: "x" * 1_000})
    proxy = Proxy(vhost.node.amqp_port)
    try:
        with listing({"RQTOOL_URL": vhost.url_at(proxy.port)}, "--json") as process:
            first = read_line(process)
            eventually(lambda: held(vhost) == 2)  # and the second one's line is too long for the pipe
            proxy.stall()
            second = read_line(process)
            assert [row["id"] for row in json.loads(first + second)] == ["a", "b"]
            process.send_signal(signal.SIGINT)
            assert process.wait(DEADLINE) == 130
    finally:
        proxy.close()
    eventually(lambda: vhost.ready(DEAD) == 2)
