"""A worker whose tasks all fail, since what they need is broken: it stops, or slows down, and keeps the queue."""

from __future__ import annotations

import json
import re
import signal
from itertools import pairwise

import pytest

from tests.proxy import Proxy
from tests.tools import Program, Vhost, eventually, lines

TRY = ["sh", "-c", 'echo "$1" >> log; [ -e up ]', "sh", "{}"]
"""A command that fails until the service is up."""
FUNCTION = """
def fails(body):
    with open("log", "ab") as log:
        log.write(body + b"\\n")
    raise OSError("the service is down")
"""


def send(rqtool: Program, count: int) -> None:
    rqtool("send", "--quiet", input=lines(*[f"{n}".encode() for n in range(count)]))


@pytest.mark.usefixtures("old_places")
@pytest.mark.parametrize("what", [["--", *TRY], ["--call", "functions:fails"]], ids=lambda what: what[0])
@pytest.mark.parametrize("more", [[], ["-j", "4"], ["-j", "4", "--prefetch", "50"]], ids=" ".join)
def test_halt_keeps_the_queue(rqtool: Program, vhost: Vhost, more: list[str], what: list[str]) -> None:
    """Three failures in a row: no further task begins, what is in hand goes back, exit code 1 and why."""
    (rqtool.cwd / "functions.py").write_text(FUNCTION)
    send(rqtool, 1000)
    ended = rqtool("work", "--halt", "3", "--retry-delays", "6s", *more, *what)

    assert ended.code == 1
    assert "rqtool: Stopped by --halt: 3 attempts failed in a row (the last one: " in ended.stderr
    touched = len(rqtool.log())
    assert 3 <= touched <= 3 + (4 if more else 1)
    assert f"rqtool: 0 done, {touched} retried in " in ended.stderr
    eventually(lambda: vhost.figures() == (1000 - touched, 0))
    assert vhost.ready("task_queue.retry.6s") == touched


@pytest.mark.usefixtures("old_places")
def test_what_resets_halt_and_what_does_not_count(rqtool: Program, vhost: Vhost) -> None:
    """A task that is done resets it; 65 and 75 neither count nor reset."""
    rqtool("send", "1", "1", "0", "1", "65", "75", "1", "75", "1", "0")
    ended = rqtool("work", "--halt", "3", "--retry-delays", "6s", "--", "sh", "-c", "exit $(cat)")
    assert (ended.code, "Stopped by --halt: 3 attempts failed in a row" in ended.stderr) == (1, True)
    assert "rqtool: 1 done, 1 failed and dead, 7 retried in " in ended.stderr
    eventually(lambda: vhost.bodies() == [b"0"])


@pytest.mark.usefixtures("old_places")
def test_the_brake(rqtool: Program, vhost: Vhost) -> None:
    """Behind ten failures in a row tasks begin one at a time, with pauses, until one succeeds; it is said once."""
    send(rqtool, 300)
    worker = rqtool.start(
        "work", "--drain", "--json", "-j", "2", "--prefetch", "20", "--retry-delays", "6s", "--", *TRY
    )
    worker.says(
        "attempts failed in a row (the last one: exit code 1); one at a time from now on, with pauses of up to 6s"
    )
    eventually(lambda: len(rqtool.log()) >= 13)
    assert len(rqtool.log()) < 20
    (rqtool.cwd / "up").touch()
    ended = worker.wait()

    assert ended.code == 0
    assert ended.stderr.count("attempts failed in a row") == ended.stderr.count("full speed again") == 1
    events = [json.loads(line)["event"] for line in ended.stdout.splitlines()]
    braked, released = events.index("braked"), events.index("released")
    probes = [event for event in events[braked:released] if event in ("received", "failed")]
    assert ("received", "received") not in pairwise(probes)
    assert re.search(r"^rqtool: 300 done, \d+ retried in ", ended.stderr, re.MULTILINE)


@pytest.mark.usefixtures("old_places")
def test_a_pause_holds_up_no_end(rqtool: Program, vhost: Vhost) -> None:
    """Ctrl-C during a pause ends at once, and gives back what was in hand."""
    send(rqtool, 50)
    worker = rqtool.start("work", "--retry-delays", "6s", "--prefetch", "30", "--", *TRY)
    eventually(lambda: len(rqtool.log()) >= 13)  # the next pause takes eight seconds
    worker.signal(signal.SIGINT)
    assert worker.wait(5).code == 0
    assert len(rqtool.log()) == 13
    eventually(lambda: vhost.ready() + vhost.ready("task_queue.retry.6s") == 50)


@pytest.mark.usefixtures("old_places")
def test_halt_without_a_broker(rqtool: Program, vhost: Vhost) -> None:
    """A worker that is to stop does not wait until the broker is back."""
    vhost.publish("1")
    proxy = Proxy(vhost.node.amqp_port)
    script = "touch begun; while [ ! -e on ]; do sleep 0.05; done; exit 1"
    try:
        worker = rqtool.start(
            "work", "--halt", "1", "--", "sh", "-c", script, env={"RQTOOL_URL": vhost.url_at(proxy.port)}
        )
        eventually((rqtool.cwd / "begun").exists)
        proxy.cut(refuse=True)
        worker.says("connection lost: ")
        (rqtool.cwd / "on").touch()
        ended = worker.wait()
    finally:
        proxy.close()
    assert ended.code == 1
    assert "Stopped by --halt: 1 attempt failed in a row" in ended.stderr
    eventually(lambda: vhost.ready() == 1)
