"""`rqtool dead`: looking changes nothing, retrying loses nothing, deleting takes no more than it said."""

from __future__ import annotations

import base64
import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pika
import pytest

from rqtool.amqp.headers import ATTEMPTS, COPY, ERROR, FAILED_AT, STARTS, WORKER
from rqtool.text import plural
from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually

DEAD = "task_queue.dead"
KINDS = ["classic", "quorum"]


def declare(vhost: Vhost, kind: str = "classic", **more: str | int) -> None:
    """The task queue and its dead queue, as rqtool makes them."""
    vhost.declare("task_queue", **{"x-queue-type": kind})
    limit: dict[str, str | int] = {"x-delivery-limit": 100_000} if kind == "quorum" else {}
    vhost.declare(DEAD, **({"x-queue-type": kind} | limit | more))


def properties_of(**more: object) -> pika.BasicProperties:
    return pika.BasicProperties(**more)  # type: ignore[no-untyped-call]


def bury(vhost: Vhost, *bodies: bytes, ids: list[str] | None = None, headers: dict[str, object] | None = None) -> None:
    """Put tasks into the dead queue, with ids of their own unless told, and wait until they are there."""
    before = vhost.ready(DEAD)
    with vhost.channel() as channel:
        for number, body in enumerate(bodies):
            message_id = ids[number] if ids else f"id-{body.decode(errors='replace')}"
            channel.basic_publish(
                "", DEAD, body, properties_of(message_id=message_id, headers=headers, delivery_mode=2)
            )
    eventually(lambda: vhost.ready(DEAD) == before + len(bodies), 40)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def listed(rqtool: Program, *arguments: str) -> list[dict[str, object]]:
    ended = rqtool("dead", "list", "--json", *arguments)
    assert ended.code == 0, ended
    return list(json.loads(ended.stdout))


def bodies_of(rows: list[dict[str, object]]) -> list[str]:
    return [str(row["body"]) for row in rows]


class Terminal:
    """The program on a terminal."""

    def __init__(self, vhost: Vhost, *arguments: str) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [*PYTHON, "dead", *arguments],
            env=clean_environment() | vhost.environment | {"COLUMNS": "200", "TERM": "xterm"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.leader, 4096):
                self.shown += chunk
        except OSError:
            return  # the other end was closed

    def type(self, text: bytes) -> None:
        os.write(self.leader, text)

    def wait(self) -> int:
        code = self.process.wait(30)
        self._reader.join(10)
        os.close(self.leader)
        return code


# Looking.


def test_what_is_shown(rqtool: Program, vhost: Vhost) -> None:
    """Who gave it up, when, after how many attempts, and why; the whole error in JSON, its first line in the table."""
    declare(vhost)
    then = datetime.now(UTC) - timedelta(minutes=5, seconds=30)
    error = "exit code 3\nTraceback: x\n  boom"
    told: dict[str, object] = {ATTEMPTS: 4, ERROR: error, FAILED_AT: then.isoformat(), WORKER: "host:12"}
    bury(vhost, b"task\t1", ids=["a-1"], headers=told)

    head, line = rqtool("dead", "list").stdout.splitlines()
    assert head == "id\tage\tattempts\tworker\treason\tbody"
    assert line == "a-1\t5m\t4\thost:12\texit code 3\ttask\\t1"
    [row] = listed(rqtool)
    assert 330 <= int(str(row.pop("age_seconds"))) < 390
    assert row == {
        "id": "a-1", "failed_at": then.isoformat(), "attempts": 4, "worker": "host:12", "reason": "exit code 3",
        "error": error, "queue": "task_queue", "body": "task\t1", "body_bytes": 6,
    }  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_the_broker_gave_up(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """No worker wrote a reason, so the broker's own is shown, and its time."""
    route: dict[str, str | int] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
    declare(vhost, kind)
    vhost.declare("short", **route, **{"x-message-ttl": 1})
    with vhost.channel() as channel:
        channel.basic_publish("", "short", b"late")
    eventually(lambda: vhost.ready(DEAD) == 1)

    [row] = listed(rqtool)
    assert (row["reason"], row["error"], row["attempts"]) == ("given up by the broker: expired", None, None)
    assert int(str(row["age_seconds"])) < 30
    assert rqtool("dead", "list").stdout.splitlines()[1].split("\t")[4] == "given up by the broker: expired"


@pytest.mark.parametrize("kind", KINDS)
def test_looking_changes_nothing(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """Three looks at everything, and at parts of it: the same tasks, in the same order, and all of them ready."""
    declare(vhost, kind)
    bodies = numbered(1_300)
    bury(vhost, *bodies)

    for _ in range(3):
        assert bodies_of(listed(rqtool)) == [body.decode() for body in bodies]
        assert bodies_of(listed(rqtool, "--limit", "7")) == [body.decode() for body in bodies[:7]]
        assert bodies_of(listed(rqtool, "--id", "id-700")) == ["700"]
    assert vhost.ready(DEAD) == 1_300
    assert vhost.bodies(DEAD) == bodies


def test_a_dead_queue_of_somebody_else(rqtool: Program, vhost: Vhost) -> None:
    """Where the broker drops what is returned too often, looking stops in time, says so, and a retry saves all."""
    declare(vhost, "quorum", **{"x-delivery-limit": 3})
    bury(vhost, *numbered(5))

    looks = [rqtool("dead", "list", "--json") for _ in range(3)]
    assert looks[0].code == 0
    assert vhost.ready(DEAD) == 5
    if looks[1].code == 0:  # RabbitMQ 4.3 does not count what is given back
        assert [look.code for look in looks] == [0, 0, 0]
        assert all(rqtool("dead", "list").code == 0 for _ in range(4))
    else:
        assert [look.code for look in looks] == [0, 1, 1]
        assert looks[1].stdout == ""
        assert "could lose tasks" in looks[1].stderr
        assert "rqtool dead retry -q task_queue" in looks[1].stderr
        assert len(looks[1].stderr.splitlines()) == 1
    assert rqtool("dead", "retry").code == 0
    assert sorted(vhost.bodies()) == numbered(5)


@pytest.mark.parametrize("limit", [0, 1])
def test_a_dead_queue_that_drops_at_once(rqtool: Program, vhost: Vhost, limit: int) -> None:
    """Where a look or two would be too many, nothing is touched."""
    declare(vhost, "quorum", **{"x-delivery-limit": limit})
    bury(vhost, b"x")
    for _ in range(3):
        ended = rqtool("dead", "list")
        assert (ended.code, ended.stdout) == (1, "")
        assert "could lose tasks" in ended.stderr
    assert vhost.bodies(DEAD) == [b"x"]


def test_counts_from_elsewhere(rqtool: Program, vhost: Vhost) -> None:
    """A task that was returned often in the queue that it came from can be looked at."""
    declare(vhost, "quorum", **{"x-delivery-limit": 20})
    bury(vhost, b"x", headers={"x-delivery-count": 1_000})
    assert bodies_of(listed(rqtool)) == ["x"]


@pytest.mark.parametrize("exists", [True, False])
def test_nothing_there(rqtool: Program, vhost: Vhost, exists: bool) -> None:
    """An empty or a missing dead queue is good news: the header, an empty array, exit code 0, and one line."""
    if exists:
        declare(vhost)
    ended = rqtool("dead", "list")
    assert (ended.code, ended.stdout) == (0, "id\tage\tattempts\tworker\treason\tbody\n")
    assert ended.stderr == "rqtool: there are no dead tasks in 'task_queue.dead'\n"
    assert (rqtool("dead", "list", "--json", "--quiet").stdout, vhost.exists(DEAD)) == ("[]\n", exists)
    assert rqtool("dead", "list", "--quiet").stderr == ""
    assert json.loads(rqtool("dead", "retry", "--json").stdout) == {"queue": "task_queue", "retried": 0}
    assert json.loads(rqtool("dead", "purge", "--yes", "--json").stdout) == {"queue": "task_queue", "deleted": 0}


ODD_HEADERS: list[dict[str, object]] = [
    {},
    {ATTEMPTS: "many", ERROR: 7, FAILED_AT: "yesterday", WORKER: [1, 2]},
    {ATTEMPTS: -1, ERROR: b"\xff\x1b[31m", FAILED_AT: 12, WORKER: {"a": "b"}},
    {ATTEMPTS: True, ERROR: "x" * 50_000, FAILED_AT: "9999-12-31T23:59:59-14:00"},
    {"x-death": "none", ERROR: ""},
    {"x-death": [1, {"reason": 3, "time": "noon"}], ERROR: "\n\n"},
    {"x-death": [{}], FAILED_AT: "2020-01-01"},
]


@pytest.mark.parametrize("kind", KINDS)
def test_messages_of_any_shape(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """No id, no properties, binary and huge bodies, headers of wrong types: each is shown, and each can be put back."""
    declare(vhost, kind)
    bodies = [
        b"\x00\xff\x89PNG",
        b"\x1b[31mred\x07",
        b"[bold]x[/bold]\r\n\t",
        b"",
        "ü".encode() * 3_000,
        b"z" * 5_000_000,
    ]
    with vhost.channel() as channel:
        for body in bodies:
            channel.basic_publish("", DEAD, body)
        for headers in ODD_HEADERS:
            channel.basic_publish("", DEAD, b"h", properties_of(headers=headers, timestamp=2**60))
    eventually(lambda: vhost.ready(DEAD) == len(bodies) + len(ODD_HEADERS))

    rows = listed(rqtool)
    assert len(rows) == len(bodies) + len(ODD_HEADERS)
    assert base64.b64decode(str(rows[0]["body_base64"])) == bodies[0]
    assert "body" not in rows[0]
    assert [row.get("body") for row in rows[1:6]] == [b.decode() for b in bodies[1:4]] + ["ü" * 500, "z" * 1_000]
    assert [row["body_bytes"] for row in rows[:6]] == [len(body) for body in bodies]
    assert {row["id"] for row in rows} == {None}
    lines = rqtool("dead", "list").stdout.split("\n")
    assert len(lines) == len(rows) + 2
    assert {line.count("\t") for line in lines[:-1]} == {5}
    assert all(line.replace("\t", "").isprintable() for line in lines)
    assert lines[2].endswith("\t\\x1b[31mred\\x07")
    assert rqtool("dead", "retry").code == 0
    assert sorted(vhost.bodies()) == sorted([*bodies, *[b"h"] * len(ODD_HEADERS)])


def test_a_table_on_a_terminal(vhost: Vhost) -> None:
    """For people: names, figures, markup as it is, and not one escape sequence of the task's."""
    declare(vhost)
    bury(vhost, b"[bold]x[/bold]\x1b]0;evil\x07", ids=["an-id"], headers={ATTEMPTS: 2, ERROR: "[red]no", WORKER: "h:1"})
    terminal = Terminal(vhost, "list")
    assert terminal.wait() == 0
    for word in (b"attempts", b"an-id", b"h:1", b"[red]no", b"[bold]x[/bold]\\x1b]0;evil\\x07"):
        assert word in terminal.shown
    assert b"\x1b]0" not in terminal.shown


# Which ones.


def test_ids(rqtool: Program, vhost: Vhost) -> None:
    """--id chooses by message id, or by a copy's mark; one that is not there is said, and costs exit code 1."""
    declare(vhost)
    bury(vhost, *numbered(4))
    with vhost.channel() as channel:
        channel.basic_publish("", DEAD, b"copy", properties_of(headers={COPY: "c0ffee"}))
    eventually(lambda: vhost.ready(DEAD) == 5)

    assert bodies_of(listed(rqtool, "--id", "c0ffee", "--id", "id-2")) == ["2", "copy"]
    missing = rqtool("dead", "retry", "--id", "id-1", "--id", "nobody")
    assert (missing.code, missing.stdout) == (1, " [x] Put 1 task back into 'task_queue'\n")
    assert missing.stderr.startswith("rqtool: There is no task 'nobody' in 'task_queue.dead'.")
    assert vhost.bodies() == [b"1"]
    assert rqtool("dead", "purge", "--yes", "--id", "id-0", "--id", "c0ffee").code == 0
    assert rqtool("dead", "list", "--id", "id-0").code == 1
    assert rqtool("dead", "list", "-q", "elsewhere", "--id", "id-0").code == 1
    assert vhost.bodies(DEAD) == [b"2", b"3"]


def test_options_in_the_environment(rqtool: Program, vhost: Vhost) -> None:
    """Each option has its twin, but for those that decide what is deleted."""
    declare(vhost)
    bury(vhost, *numbered(4))
    twins = {"RQTOOL_DEAD_LIST_LIMIT": "2", "RQTOOL_DEAD_LIST_ID": "x", "RQTOOL_DEAD_LIST_JSON": "1"}
    assert len(json.loads(rqtool("dead", "list", env=twins).stdout)) == 2
    assert rqtool("dead", "purge", env={"RQTOOL_DEAD_PURGE_YES": "1"}).code == 2
    assert vhost.ready(DEAD) == 4
    assert rqtool("dead", "list", "--limit", "0").code == 2


# Retrying.


@pytest.mark.parametrize("kind", KINDS)
def test_retry(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """The oldest go back first, as they were sent: id, own headers, properties; nothing of their first life."""
    declare(vhost, kind)
    told: dict[str, object] = {
        ATTEMPTS: 4,
        ERROR: "boom",
        FAILED_AT: "2026-01-01T00:00:00+00:00",
        WORKER: "h:1",
        STARTS: 2,
        "mine": "yes",
    }
    bury(vhost, *numbered(5), headers=told)

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
    """Each once, in seconds."""
    declare(vhost, kind)
    bodies = numbered(10_000)
    bury(vhost, *bodies)

    began = time.monotonic()
    assert rqtool("dead", "retry", "--quiet").code == 0
    assert time.monotonic() - began < 30
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
    retried = json.loads(rqtool("dead", "retry", "--json", seconds=30).stdout)["retried"]
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
    """A full queue: what it took is out of the dead queue, the rest is in it, and that is said."""
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
    """A signal: what went went, the rest stays, each task is in one place; it says how many."""
    declare(vhost, "quorum")
    bodies = numbered(8_000)
    bury(vhost, *bodies)
    retry = rqtool.start("dead", "retry")
    eventually(lambda: vhost.ready() > 0)
    retry.signal(number)
    ended = retry.wait(20)
    assert (ended.code, ended.stdout) == (code, "")
    went, rest = vhost.bodies(), vhost.bodies(DEAD)
    assert f"stopped by a signal; {plural(len(went), 'task')} put back" in ended.stderr
    assert sorted(went + rest) == sorted(bodies)


# Deleting.


def test_deleting_asks(vhost: Vhost) -> None:
    """On a terminal it asks: anything but yes deletes nothing; yes deletes what was there when it asked."""
    declare(vhost)
    bury(vhost, *numbered(3))
    for word, left in ((b"n\n", 3), (b"\n", 3), (b"y\n", 1)):
        terminal = Terminal(vhost, "purge")
        eventually(lambda terminal=terminal: b"[y/N]" in terminal.shown)  # type: ignore[misc]
        assert b"Delete 3 tasks of 'task_queue.dead' for good? [y/N] " in terminal.shown
        if left == 1:
            bury(vhost, b"later")
        terminal.type(word)
        assert terminal.wait() == 0
        assert (b"nothing is deleted" in terminal.shown) == (left == 3)
        assert vhost.ready(DEAD) == left
    assert vhost.bodies(DEAD) == [b"later"]


def test_deleting_some_asks_about_those(vhost: Vhost) -> None:
    """With --id the question is about the chosen ones, and the others keep their places."""
    declare(vhost, "quorum")
    bury(vhost, *numbered(6))
    terminal = Terminal(vhost, "purge", "--id", "id-1", "--id", "id-5")
    eventually(lambda: b"Delete 2 tasks" in terminal.shown)
    terminal.type(b"yes\n")
    assert terminal.wait() == 0
    assert vhost.bodies(DEAD) == [b"0", b"2", b"3", b"4"]


def test_ctrl_c_at_the_question(vhost: Vhost) -> None:
    """130, nothing is deleted, the order stays."""
    declare(vhost)
    bury(vhost, *numbered(3))
    terminal = Terminal(vhost, "purge")
    eventually(lambda: b"[y/N]" in terminal.shown)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait() == 130
    assert b"0 tasks deleted" in terminal.shown
    assert vhost.bodies(DEAD) == numbered(3)


def test_deleting_in_scripts(rqtool: Program, vhost: Vhost) -> None:
    """Without a terminal there is nobody to ask: usage, nothing deleted; --yes deletes."""
    declare(vhost)
    bury(vhost, *numbered(700))
    ended = rqtool("dead", "purge")
    assert (ended.code, ended.stdout, vhost.ready(DEAD)) == (2, "", 700)
    assert ended.stderr == "rqtool: Nothing is deleted: there is no terminal to ask on. Add --yes.\n"
    assert rqtool("dead", "purge", "--yes", "--limit", "2").stdout == " [x] Deleted 2 tasks of 'task_queue.dead'\n"
    assert json.loads(rqtool("dead", "purge", "--yes", "--json").stdout) == {"queue": "task_queue", "deleted": 698}
    assert vhost.ready(DEAD) == 0


def test_deleting_leaves_what_comes_meanwhile(rqtool: Program, vhost: Vhost) -> None:
    """Tasks that die while others are deleted are not deleted with them."""
    declare(vhost)
    bury(vhost, *numbered(5_000))
    stop = threading.Event()
    later: list[bytes] = []

    def go_on() -> None:
        with vhost.channel() as channel:
            channel.confirm_delivery()
            while not stop.is_set():
                later.append(b"later-%d" % len(later))
                channel.basic_publish("", DEAD, later[-1], mandatory=True)

    before = vhost.ready(DEAD)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        deleted = json.loads(rqtool("dead", "purge", "--yes", "--json").stdout)["deleted"]
    finally:
        stop.set()
        thread.join(10)
    assert before <= deleted < before + len(later)
    assert vhost.bodies(DEAD) == later[deleted - before :]


# The broker.


def test_no_broker(offline: Program) -> None:
    """Nobody there is 69, one line."""
    for verb in (["list"], ["retry"], ["purge", "--yes"]):
        ended = offline("dead", *verb)
        assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (69, "", 1)


def test_no_right_to_read(rqtool: Program, vhost: Vhost) -> None:
    """Somebody who may not read the dead queue: 77, and nothing is changed."""
    declare(vhost)
    bury(vhost, b"x")
    stranger = Vhost(vhost.node, vhost.name, user="dead-stranger", password="x")
    vhost.api("PUT", "/api/users/dead-stranger", {"password": "x", "tags": ""})
    try:
        vhost.api("PUT", f"/api/permissions/{vhost.path}/dead-stranger", {"configure": "", "write": ".*", "read": ""})
        for verb in (["list"], ["retry"], ["purge", "--yes"]):
            ended = rqtool("dead", *verb, env={"RQTOOL_URL": stranger.url})
            assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (77, "", 1), ended
        vhost.api("PUT", f"/api/permissions/{vhost.path}/dead-stranger", {"configure": "", "write": "", "read": ".*"})
        assert len(json.loads(rqtool("dead", "list", "--json", env={"RQTOOL_URL": stranger.url}).stdout)) == 1
    finally:
        vhost.api("DELETE", "/api/users/dead-stranger")
    assert vhost.bodies(DEAD) == [b"x"]


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
    ended = retry.wait(30)
    assert (ended.code, ended.stdout) == (69, ""), ended
    assert "put back, the rest is still in" in ended.stderr
    eventually(lambda: vhost.figures(DEAD)[1] == 0)
    found = vhost.bodies() + vhost.bodies(DEAD)
    assert set(found) == set(bodies)
    assert len(found) <= len(bodies) + 500


@pytest.mark.usefixtures("vhost", "old_places")
def test_from_worker_to_dead_and_back(rqtool: Program, tmp_path: Path) -> None:
    """What a worker gave up is shown with its reason, and done after a retry."""
    assert rqtool("send", "a task").code == 0
    assert rqtool("work", "--drain", "--retry-delays", "none", "--", "false").code == 1
    [row] = listed(rqtool)
    assert (row["body"], row["attempts"]) == ("a task", 1)
    assert "1" in str(row["reason"])
    assert rqtool("dead", "retry", "--id", str(row["id"])).code == 0
    assert rqtool("work", "--drain", "--", "true").code == 0
    assert listed(rqtool) == []
