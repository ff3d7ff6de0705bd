"""`rqtool dead`: every dead queue in a line, one task in full, and tasks chosen by what they are."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from rqtool.amqp.connect import connect
from rqtool.amqp.connection import Connection
from rqtool.amqp.declare import count_ready
from rqtool.amqp.headers import ATTEMPTS, ERROR, FAILED_AT, WORKER
from rqtool.endpoint.urls import Endpoint, parse_broker_urls
from rqtool.messages.browse import Browser
from tests.dead import DEAD, KINDS, Terminal, bodies_of, bury, declare, listed, numbered, properties_of
from tests.proxy import Proxy
from tests.tools import Program, Run, Vhost, eventually

RUN = "9f3c2a1b-1111-4222-8333-"
"""What the ids of one `rqtool send` begin with."""


def fail(vhost: Vhost, queue: str, *tasks: tuple[bytes, str, int], start: str = "id-") -> None:
    """Put tasks into a dead queue, confirmed: their bodies, errors, and how many minutes ago they failed."""
    with vhost.channel() as channel:
        for number, (body, error, minutes) in enumerate(tasks):
            failed = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
            headers = {ATTEMPTS: 4, ERROR: error, FAILED_AT: failed, WORKER: "host:12"}
            properties = properties_of(message_id=f"{start}{number:012x}", headers=headers, delivery_mode=2)
            channel.basic_publish("", queue, body, properties, mandatory=True)


# Every queue.


@pytest.mark.parametrize("kind", KINDS)
def test_every_dead_queue(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """Those that have tasks, at once and as often as one looks; nothing is changed. A table, lines, JSON."""
    declare(vhost, kind)
    vhost.declare("other.dead")
    vhost.declare("empty.dead")
    errors = ["exit code 1\nstderr"] * 70 + ["exit code 2"] * 50
    fail(vhost, DEAD, *((b"%d" % number, error, 90 - number // 2) for number, error in enumerate(errors)))
    fail(vhost, "other.dead", (b"x", "timeout", 150))

    for _ in range(2):
        ended = rqtool("dead")
        assert ended.code == 0
        assert ended.stdout.splitlines() == [
            "queue\ttasks\toldest\treasons\tsampled",
            "other\t1\t2h\ttimeout (1)\t1",
            "task_queue\t120\t1h\texit code 1 (70), exit code 2 (30)\t100",
        ]
        assert ended.stderr == "rqtool: age and reasons are those of the oldest 100 tasks of each queue\n"
    rows = json.loads(rqtool("dead", "--json", "--quiet").stdout)
    assert [(row["queue"], row["tasks"], row["sampled"]) for row in rows] == [("other", 1, 1), ("task_queue", 120, 100)]
    assert vhost.bodies(DEAD) == numbered(120)
    assert rqtool("dead").stdout.splitlines()[1].startswith("other\t1\t")


def test_every_dead_queue_on_a_terminal(vhost: Vhost) -> None:
    declare(vhost)
    fail(vhost, DEAD, (b"x", "[red]no\x1b]0;evil\x07", 0))
    terminal = Terminal(vhost)
    assert terminal.wait() == 0
    assert b"task_queue" in terminal.shown
    assert b"[red]no\\x1b]0;evil\\x07 (1)" in terminal.shown


def test_no_dead_tasks(rqtool: Program, vhost: Vhost) -> None:
    """Good news: exit code 0, and one line on stderr."""
    vhost.declare("empty.dead", **{"x-queue-type": "quorum"})
    ended = rqtool("dead")
    assert (ended.code, ended.stderr) == (0, "rqtool: no dead tasks\n")
    assert (rqtool("dead", "--json", "--quiet").stdout, rqtool("dead", "--quiet").stderr) == ("[]\n", "")


def test_empty_dead_queues(rqtool: Program, vhost: Vhost) -> None:
    """They take one connection together; what died a moment ago is found all the same."""
    for name in ("a.dead", "b.dead", "c.dead"):
        vhost.declare(name, **{"x-queue-type": "quorum"})
    with closing(Proxy(vhost.node.amqp_port)) as proxy:

        def connections() -> int:
            before = proxy.connections
            assert rqtool("dead", env={"RQTOOL_URL": vhost.url_at(proxy.port)}).stdout.count("\n") == 1
            return proxy.connections - before

        eventually(lambda: connections() == 1)  # once the queues have reported
    fail(vhost, "b.dead", (b"x", "no", 150))
    assert rqtool("dead").stdout.splitlines()[1:] == ["b\t1\t2h\tno (1)\t1"]


@pytest.mark.usefixtures("vhost")
def test_without_the_api(rqtool: Program) -> None:
    """It can't know the names: an error that says what can be done."""
    ended = rqtool("dead", env={"RQTOOL_API_URL": "http://127.0.0.1:1/"})
    assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (69, "", 1)
    assert "rqtool dead list QUEUE" in ended.stderr


def test_a_dead_queue_that_can_not_be_read(rqtool: Program, vhost: Vhost) -> None:
    """Its tasks are counted, the error is said, and the other queues are summed up all the same."""
    drops_at_once: dict[str, str | int] = {"x-queue-type": "quorum", "x-delivery-limit": 0}
    vhost.declare("foreign.dead", **drops_at_once)
    vhost.declare(DEAD)
    for queue in ("foreign.dead", DEAD):
        fail(vhost, queue, (b"x", "no", 150))
    ended = rqtool("dead")
    assert ended.code == 1
    assert "Reading 'foreign.dead' could lose tasks" in ended.stderr
    assert "foreign\t1\t\t\t0" in ended.stdout
    assert "task_queue\t1\t2h\tno (1)\t1" in ended.stdout


# One task.


@pytest.mark.parametrize("kind", KINDS)
def test_one_task_in_full(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """By its id, or as the table shows it; the queue as an argument or with -q; nothing changes."""
    declare(vhost, kind)
    fail(vhost, DEAD, *((b"body %d\n" % number, "exit code 3\nno such file", 5) for number in range(3)), start=RUN)
    wanted = f"{RUN}{2:012x}"
    for arguments in ([wanted], [wanted, "task_queue"], ["9f3c2a1b…0000002", "-q", "task_queue"]):
        ended = rqtool("dead", "show", *arguments, "--json")
        found = json.loads(ended.stdout)
        assert (ended.code, ended.stderr) == (0, "")
        assert (found["id"], found["body"], found["exit_code"]) == (wanted, "body 2\n", 3)
        assert (found["stderr"], found["headers"][WORKER]) == ("no such file", "host:12")
    said = rqtool("dead", "show", wanted).stdout
    assert "stderr:\n  no such file\n" in said
    assert "body (7 bytes):\n  body 2\n" in said
    assert vhost.bodies(DEAD) == [b"body %d\n" % number for number in range(3)]


def test_which_task_is_meant(rqtool: Program, vhost: Vhost) -> None:
    """An ambiguous beginning is an error that lists the candidates; nothing is done with them, but with the others."""
    declare(vhost)
    bury(vhost, *numbered(3), ids=["abc-1", "abc-2", "xyz"])
    for verb in (["show", "ab"], ["retry", "--id", "ab"], ["purge", "--yes", "--id", "ab"]):
        ended = rqtool("dead", *verb)
        assert (ended.code, ended.stdout) == (1, "")
        assert ended.stderr == "rqtool: 'ab' is ambiguous: abc-1, abc-2. Give more of the id\n"
    missing = rqtool("dead", "show", "q")
    assert (missing.code, missing.stdout) == (1, "")
    assert missing.stderr.startswith("rqtool: There is no task 'q' in 'task_queue.dead'.")
    assert rqtool("dead", "show", "").code == 2
    assert rqtool("dead", "retry", "--id", "ab", "--id", "x").code == 1
    assert (vhost.bodies(), vhost.ready(DEAD)) == ([b"2"], 2)
    assert rqtool("dead", "purge", "--yes", "--id", "abc-1").code == 0
    assert vhost.bodies(DEAD) == [b"1"]


# Some of them.


@pytest.mark.parametrize("kind", KINDS)
def test_filters(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """What does not match stays, in order; --dry-run changes nothing."""
    declare(vhost, kind)
    fail(vhost, DEAD, *((b"%d.jpg" % n, f"exit code {n % 3}\nstderr {n}", n) for n in range(60)))
    everything = [f"{number}.jpg" for number in range(60)]

    assert bodies_of(listed(rqtool, "--grep", r"^1\d\.")) == everything[10:20]
    assert bodies_of(listed(rqtool, "--reason", "code 1$")) == everything[1::3]
    assert bodies_of(listed(rqtool, "--reason", "stderr 7$")) == everything[7:8]
    assert bodies_of(listed(rqtool, "--older-than", "30m", "--limit", "5")) == everything[30:35]
    nothing = rqtool("dead", "list", "--grep", "png", "--json")
    assert (nothing.code, nothing.stdout) == (0, "[]\n")
    assert nothing.stderr == "rqtool: nothing matches among the dead tasks in 'task_queue.dead'\n"
    dry = rqtool("dead", "retry", "--dry-run", "--reason", "code 2")
    assert (dry.code, dry.stdout) == (0, " [x] Would put 20 tasks back into 'task_queue'\n")
    dry = rqtool("dead", "purge", "--dry-run", "--json")
    assert json.loads(dry.stdout) == {"queue": "task_queue", "deleted": 0, "would_delete": 60}
    assert bodies_of(listed(rqtool)) == everything

    assert rqtool("dead", "retry", "--reason", "code 2", "--limit", "4").stdout == (
        " [x] Put 4 tasks back into 'task_queue'\n"
    )
    assert vhost.bodies() == [name.encode() for name in everything[2:12:3]]
    purged = rqtool("dead", "purge", "--yes", "--older-than", "30m", "--grep", "5")
    left = [name for name in everything if name not in everything[2:12:3]]
    kept = [name for name in left if int(name.split(".")[0]) < 30 or "5" not in name]
    assert purged.stdout == f" [x] Deleted {len(left) - len(kept)} tasks of 'task_queue.dead'\n"
    assert vhost.bodies(DEAD) == [name.encode() for name in kept]


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_read_is_there_again(vhost: Vhost, kind: str) -> None:
    """At the end of a look, for the next one: a quorum queue takes a moment to have again what is returned to it."""
    declare(vhost, kind)
    bury(vhost, *numbered(200))

    async def look(connection: Connection) -> None:
        browser = Browser(connection, "task_queue")
        await browser.open(returns=True)
        while await browser.read(None):
            pass
        await browser.return_all()

    async def run() -> list[int]:
        endpoint = Endpoint(parse_broker_urls(vhost.url), ())
        first, next_one = await connect(endpoint, "test"), await connect(endpoint, "test")
        found = []
        for _ in range(20):
            await look(first)
            found.append(await count_ready(next_one, DEAD))
        await first.close()
        await next_one.close()
        return found

    assert asyncio.run(run()) == [200] * 20


def test_a_header_chooses(rqtool: Program, vhost: Vhost) -> None:
    """What `send --header` gave the tasks; for every command that takes some of them."""
    declare(vhost)
    for color in ("red", "blue"):
        assert rqtool("send", "--header", f"color={color}", "--header", "size=2", color, f"{color} too").code == 0
    assert rqtool("work", "--max-tasks", "4", "--retry-delays", "none", "--", "false").code == 1
    assert bodies_of(listed(rqtool, "--header", "color=red", "--header", "size=2")) == ["red", "red too"]
    assert bodies_of(listed(rqtool, "--header", "color=red", "--header", "size=3")) == []
    dry = rqtool("dead", "retry", "--dry-run", "--header", "color=blue")
    assert (dry.code, dry.stdout) == (0, " [x] Would put 2 tasks back into 'task_queue'\n")
    assert rqtool("dead", "purge", "--yes", "--header", "color=blue", "--grep", "too").code == 0
    assert rqtool("dead", "retry", "--header", "color=red").code == 0
    assert (vhost.bodies(), vhost.bodies(DEAD)) == ([b"red", b"red too"], [b"blue"])


@pytest.mark.parametrize("kind", KINDS)
def test_stopped_in_a_filtered_retry(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """Ctrl-C: each task is in one of the two queues, and what does not match in the dead one."""
    declare(vhost, kind)
    bury(vhost, *numbered(8_000))
    retry = rqtool.start("dead", "retry", "--grep", "[02468]$")
    eventually(lambda: vhost.ready() > 0)
    retry.signal(signal.SIGINT)
    assert retry.wait().code == 130
    eventually(lambda: vhost.figures(DEAD)[1] == 0)
    went, rest = vhost.bodies(), vhost.bodies(DEAD)
    assert sorted(went + rest) == sorted(numbered(8_000))
    assert all(int(body) % 2 == 0 for body in went)


def test_usage(offline: Run) -> None:
    """What can't be read is refused before anything is."""
    for arguments in (["--grep", "("], ["--reason", "["], ["--older-than", "soon"], ["--id", ""], ["--header", "x"]):
        for verb in ("list", "retry", "purge"):
            ended = offline("dead", verb, *arguments, *(["--yes"] if verb == "purge" else []))
            assert (ended.code, ended.stdout) == (2, ""), arguments
            assert arguments[0] in ("--id", "--header") or ended.stderr.startswith(f"rqtool: {arguments[0]}: ")
