"""`rqtool dead retry`: nothing is lost, whatever happens meanwhile."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from rqtool.amqp.headers import ATTEMPTS, COPY, ERROR, FAILED_AT, STARTS, WORKER
from rqtool.amqp.new_queues import STILL_NEW
from rqtool.text import plural
from rqtool.topology import new_marker
from tests.dead import DEAD, KINDS, Terminal, bury, declare, listed, numbered
from tests.tools import Program, Vhost, eventually


@pytest.mark.parametrize("kind", KINDS)
def test_retry(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """The oldest go back first, as they were sent: id, headers, properties, and nothing of their earlier attempts."""
    declare(vhost, kind)
    headers: dict[str, object] = {
        ATTEMPTS: 4,
        ERROR: "boom",
        FAILED_AT: "2026-01-01T00:00:00+00:00",
        WORKER: "h:1",
        STARTS: 2,
        "mine": "yes",
    }
    bury(vhost, *numbered(5), headers=headers)

    ended = rqtool("dead", "retry", "--limit", "3")
    assert (ended.code, ended.stdout, ended.stderr) == (0, " [x] Put 3 tasks back into 'task_queue'\n", "")
    taken = vhost.take_all()
    assert sorted(body for _, body in taken) == [b"0", b"1", b"2"]
    for properties, body in taken:
        assert (properties.message_id, properties.delivery_mode) == (f"id-{body.decode()}", 2)
        assert properties.headers is not None
        assert {"mine", COPY} == properties.headers.keys()
    rest = rqtool("dead", "retry", "--json")
    assert json.loads(rest.stdout) == {"queue": "task_queue", "retried": 2}
    assert (vhost.ready(DEAD), sorted(vhost.bodies())) == (0, [b"3", b"4"])


@pytest.mark.parametrize("kind", KINDS)
def test_retrying_ten_thousand(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """Each once."""
    declare(vhost, kind)
    bodies = numbered(10_000)
    bury(vhost, *bodies)

    assert rqtool("dead", "retry", "--quiet").code == 0
    assert sorted(vhost.bodies()) == sorted(bodies)
    assert vhost.ready(DEAD) == 0


@pytest.fixture
def failing(vhost: Vhost) -> Iterator[None]:
    """Whatever arrives in the task queue is back in the dead queue at once."""
    stop = threading.Event()

    def fail() -> None:
        with vhost.channel() as channel:
            for method, properties, body in channel.consume("task_queue", inactivity_timeout=0.05):
                if method is not None and method.delivery_tag is not None and body is not None:
                    channel.basic_publish("", DEAD, body, properties)
                    channel.basic_ack(method.delivery_tag)
                elif stop.is_set():
                    return

    declare(vhost)
    thread = threading.Thread(target=fail)
    thread.start()
    yield
    stop.set()
    thread.join(10)


@pytest.mark.usefixtures("failing")
def test_a_retry_ends_while_tasks_fail_again(rqtool: Program, vhost: Vhost) -> None:
    """Every task that was dead is put back once, though a worker sends each one straight to the dead queue again."""
    bury(vhost, *numbered(2_000))
    retried = json.loads(rqtool("dead", "retry", "--json").stdout)["retried"]
    assert retried == 2_000
    eventually(lambda: vhost.ready(DEAD) == 2_000)
    assert sorted(vhost.bodies(DEAD)) == sorted(numbered(2_000))


@pytest.mark.parametrize("kind", KINDS)
def test_killed_while_retrying(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """SIGKILL at any moment: no task is lost, and no more are in both queues than were under way."""
    declare(vhost, kind)
    bodies = numbered(6_000)
    bury(vhost, *bodies)
    kills = 3
    for _ in range(kills):
        before = vhost.ready()
        retry = rqtool.start("dead", "retry")
        eventually(lambda before=before: vhost.ready() > before + 300)  # type: ignore[misc]
        retry.kill()
    eventually(lambda: vhost.figures(DEAD)[1] == 0 and vhost.ready() + vhost.ready(DEAD) >= 6_000)
    found = vhost.bodies() + vhost.bodies(DEAD)
    assert set(found) == set(bodies)
    assert len(found) - len(bodies) <= 500 * kills


def test_the_queue_does_not_take_them(rqtool: Program, vhost: Vhost) -> None:
    """A full queue: what it took is gone from the dead queue, the rest is still there, and the error says so."""
    full: dict[str, str | int] = {"x-max-length": 5, "x-overflow": "reject-publish"}
    vhost.declare("task_queue", **full)
    vhost.declare(DEAD)
    bury(vhost, *numbered(20))

    ended = rqtool("dead", "retry")
    assert (ended.code, ended.stdout) == (1, "")
    assert "the queue is full" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    took = vhost.bodies()
    assert f"{len(took)} tasks put back, the rest is still in 'task_queue.dead'" in ended.stderr
    assert sorted(took + vhost.bodies(DEAD)) == sorted(numbered(20))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_retrying(rqtool: Program, vhost: Vhost, number: int, code: int) -> None:
    """A signal: each task is in one of the two queues, and the error says how many were moved."""
    declare(vhost, "quorum")
    bodies = numbered(8_000)
    bury(vhost, *bodies)
    retry = rqtool.start("dead", "retry")
    eventually(lambda: vhost.ready() > 0)
    retry.signal(number)
    ended = retry.wait()
    assert (ended.code, ended.stdout) == (code, "")
    went, rest = vhost.bodies(), vhost.bodies(DEAD)
    assert f"stopped by a signal; {plural(len(went), 'task')} put back" in ended.stderr
    assert sorted(went + rest) == sorted(bodies)


def test_the_connection_goes(rqtool: Program, vhost: Vhost) -> None:
    """Closed in the middle of a retry: 69, how many went, and every task is somewhere."""
    declare(vhost, "quorum")
    bodies = numbered(8_000)
    bury(vhost, *bodies)
    retry = rqtool.start("dead", "retry")
    eventually(lambda: vhost.ready() > 0)
    retry.signal(signal.SIGSTOP)
    mine = eventually(lambda: [c["name"] for c in vhost.api("GET", "/api/connections") if c["vhost"] == vhost.name])
    for name in mine:
        vhost.api("DELETE", f"/api/connections/{quote(name, safe='')}")
    retry.signal(signal.SIGCONT)
    ended = retry.wait()
    assert (ended.code, ended.stdout) == (69, ""), ended
    assert "put back, the rest is still in" in ended.stderr
    eventually(lambda: vhost.figures(DEAD)[1] == 0)
    found = vhost.bodies() + vhost.bodies(DEAD)
    assert set(found) == set(bodies)
    assert len(found) <= len(bodies) + 500


@pytest.mark.usefixtures("vhost", "old_places")
def test_from_worker_to_dead_and_back(rqtool: Program, tmp_path: Path) -> None:
    """A task that failed for good is listed with its reason, and done after a retry."""
    assert rqtool("send", "a task").code == 0
    assert rqtool("work", "--drain", "--retry-delays", "none", "--", "false").code == 1
    [row] = listed(rqtool)
    assert (row["body"], row["attempts"]) == ("a task", 1)
    assert "1" in str(row["reason"])
    assert rqtool("dead", "retry", "--id", str(row["id"])).code == 0
    assert rqtool("work", "--drain", "--", "true").code == 0
    assert listed(rqtool) == []


def test_a_wait_is_explained(vhost: Vhost) -> None:
    """Nothing goes back into a queue that a crash of the broker would lose: on a terminal it is said what for."""
    declare(vhost)
    bury(vhost, b"x")
    vhost.declare(new_marker("task_queue"))
    terminal = Terminal(vhost, "retry")
    assert terminal.wait() == 0
    said = terminal.shown.decode().splitlines()
    assert said == [f"rqtool: {STILL_NEW}", " [x] Put 1 task back into 'task_queue'"]
