"""`rqtool dead`: listing changes nothing; missing rights and a missing broker are errors."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest

from rqtool.amqp.headers import ATTEMPTS, COPY, ERROR, FAILED_AT, WORKER
from tests.dead import DEAD, KINDS, Terminal, bodies_of, bury, declare, listed, numbered, properties_of
from tests.tools import Program, Run, Vhost, eventually


def test_what_is_shown(rqtool: Program, vhost: Vhost) -> None:
    """Which worker, when, after how many attempts, and why; the whole error in JSON, its first line in the table."""
    declare(vhost)
    then = datetime.now(UTC) - timedelta(minutes=5, seconds=30)
    error = "exit code 3\nTraceback: x\n  boom"
    headers: dict[str, object] = {ATTEMPTS: 4, ERROR: error, FAILED_AT: then.isoformat(), WORKER: "host:12"}
    bury(vhost, b"task\t1", ids=["a-1"], headers=headers)

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
def test_what_the_broker_dead_lettered(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """No worker wrote a reason: the broker's own is shown, and its time."""
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
def test_listing_changes_nothing(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """All tasks, and some, listed three times: the same tasks, in the same order, and all of them ready."""
    declare(vhost, kind)
    bodies = numbered(1_300)
    bury(vhost, *bodies)

    for _ in range(3):
        assert bodies_of(listed(rqtool)) == [body.decode() for body in bodies]
        assert bodies_of(listed(rqtool, "--limit", "7")) == [body.decode() for body in bodies[:7]]
        assert bodies_of(listed(rqtool, "--id", "id-700")) == ["700"]
    assert vhost.ready(DEAD) == 1_300
    assert vhost.bodies(DEAD) == bodies


def test_a_dead_queue_of_another_program(rqtool: Program, vhost: Vhost) -> None:
    """If the broker drops what is returned too often, `list` stops in time and says so, and `retry` saves all."""
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
    """If it would drop tasks at the first or second return, nothing is read."""
    declare(vhost, "quorum", **{"x-delivery-limit": limit})
    bury(vhost, b"x")
    for _ in range(3):
        ended = rqtool("dead", "list")
        assert (ended.code, ended.stdout) == (1, "")
        assert "could lose tasks" in ended.stderr
    assert vhost.bodies(DEAD) == [b"x"]


def test_a_dead_queue_without_a_limit(rqtool: Program, vhost: Vhost) -> None:
    """RabbitMQ 3 puts what is returned to such a quorum queue behind all else: the tasks stay in order all the same."""
    vhost.declare(DEAD, **{"x-queue-type": "quorum"})
    bury(vhost, *numbered(30))
    for _ in range(3):
        assert bodies_of(listed(rqtool, "--limit", "3")) == ["0", "1", "2"]
    assert vhost.bodies(DEAD) == numbered(30)


def test_counts_from_elsewhere(rqtool: Program, vhost: Vhost) -> None:
    """A task can be listed although it was often returned in the queue that it came from."""
    declare(vhost, "quorum", **{"x-delivery-limit": 20})
    bury(vhost, b"x", headers={"x-delivery-count": 1_000})
    assert bodies_of(listed(rqtool)) == ["x"]


@pytest.mark.parametrize("exists", [True, False])
def test_they_are_elsewhere(rqtool: Program, vhost: Vhost, exists: bool) -> None:
    """Without QUEUE the tutorial's is meant. Where it has none, or does not exist, those that have some are named."""
    if not exists:
        vhost.api("DELETE", f"/api/queues/{vhost.path}/task_queue")
    for name in ("mail", "empty"):
        vhost.declare(name)
        vhost.declare(f"{name}.dead")
    with vhost.channel() as channel:
        channel.basic_publish("", "mail.dead", b"x")
    eventually(lambda: vhost.ready("mail.dead") == 1)
    ended = rqtool("dead", "list")
    if exists:
        assert ended.code == 0
        assert ended.stderr.endswith("\nrqtool: there are dead tasks of 'mail'; see them all with: rqtool dead\n")
    else:
        said = "There is no queue 'task_queue'; there are dead tasks of 'mail'. See them all with: rqtool dead."
        assert (ended.code, ended.stderr) == (1, f"rqtool: {said}\n")
    assert rqtool("dead", "list", "empty").stderr == "rqtool: there are no dead tasks in 'empty.dead'\n"


@pytest.mark.parametrize("verb", ["list", "retry"])
def test_the_dead_queue_is_named_instead_of_its_queue(rqtool: Program, vhost: Vhost, verb: str) -> None:
    """As `rqtool queues` prints it: nothing is done, and that is no success."""
    vhost.declare("mail.dead")
    ended = rqtool("dead", verb, "mail.dead")
    assert ended.code == 1
    assert "no dead tasks in 'mail.dead.dead'; those of 'mail': rqtool dead list mail" in ended.stderr


def test_a_queue_in_the_place_of_an_id(rqtool: Program, vhost: Vhost) -> None:
    """The error says where the id goes."""
    vhost.declare("task_queue")
    vhost.declare("mail.dead")
    vhost.publish("x", queue="mail.dead")
    ended = rqtool("dead", "show", "mail")
    said = "'mail' is a queue, and no task of 'task_queue'. Write: rqtool dead show ID mail."
    assert (ended.code, ended.stderr) == (1, f"rqtool: {said}\n")


def test_an_empty_one_from_which_nobody_may_get(rqtool: Program, vhost: Vhost) -> None:
    """RabbitMQ refuses basic.get from a quorum queue with a single active consumer."""
    arguments: dict[str, str | int] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    vhost.declare("q.dead", **arguments)
    ended = rqtool("dead", "list", "q")
    assert (ended.code, ended.stderr) == (0, "rqtool: there are no dead tasks in 'q.dead'\n")


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


@pytest.mark.parametrize("verb", [["list"], ["list", "--json"], ["retry"], ["purge", "--yes"]], ids=" ".join)
def test_a_queue_that_does_not_exist(rqtool: Program, vhost: Vhost, verb: list[str]) -> None:
    """Neither it nor its dead queue: 1, one line, and neither is created."""
    ended = rqtool("dead", *verb, "elsewhere")
    assert (ended.code, ended.stdout) == (1, "")
    assert ended.stderr == "rqtool: There is no queue 'elsewhere'. See the names with: rqtool queues.\n"
    assert "There is no queue 'retyr'. The verb is: rqtool dead retry." in rqtool("dead", "retyr").stderr
    assert not vhost.exists("elsewhere")
    assert not vhost.exists("elsewhere.dead")


def test_a_dead_queue_alone(rqtool: Program, vhost: Vhost) -> None:
    """Its queue was deleted: its tasks are listed all the same, and it may be named as the first argument."""
    vhost.declare("gone.dead")
    with vhost.channel() as channel:
        channel.basic_publish("", "gone.dead", b"x")
    eventually(lambda: vhost.ready("gone.dead") == 1)
    assert bodies_of(listed(rqtool, "gone")) == bodies_of(listed(rqtool, "-q", "gone")) == ["x"]


ODD_HEADERS: list[dict[str, object]] = [
    {},
    {ATTEMPTS: "many", ERROR: 7, FAILED_AT: "yesterday", WORKER: [1, 2]},
    {ATTEMPTS: -1, ERROR: b"\xff\x1b[31m", FAILED_AT: 12, WORKER: {"a": "b"}},
    {ATTEMPTS: True, ERROR: "x" * 50_000, FAILED_AT: "9999-12-31T23:59:59-14:00"},
    {"x-death": "none", ERROR: ""},
    {"x-death": [1, {"reason": 3, "time": "noon"}], ERROR: "\n\n"},
    {"x-death": [{}], FAILED_AT: "2020-01-01"},
]


def test_more_empty_ones_than_channels(rqtool: Program, vhost: Vhost) -> None:
    """One connection counts them all: a broker allows 2,047 channels, and may have more dead queues."""
    for number in range(30):
        vhost.declare(f"q{number}.dead", **{"x-queue-type": "quorum"})
    # Until its first report a quorum queue is not known to be empty.
    eventually(lambda: [row.get("messages") for row in vhost.api("GET", f"/api/queues/{vhost.path}")] == [0] * 31)
    assert rqtool("dead", "--url", f"{vhost.url}?channel_max=12").stderr == "rqtool: no dead tasks\n"

    def connections() -> int:
        lines = vhost.node.log.read_text(errors="replace").splitlines()
        return sum("rqtool dead (" in line and f"granted access to vhost '{vhost.name}'" in line for line in lines)

    assert eventually(connections) == 1


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
    """For people: names, figures, markup as it is, and no escape sequence from the task."""
    declare(vhost)
    bury(vhost, b"[bold]x[/bold]\x1b]0;evil\x07", ids=["an-id"], headers={ATTEMPTS: 2, ERROR: "[red]no", WORKER: "h:1"})
    terminal = Terminal(vhost, "list")
    assert terminal.wait() == 0
    for word in (b"attempts", b"an-id", b"h:1", b"[red]no", b"[bold]x[/bold]\\x1b]0;evil\\x07"):
        assert word in terminal.shown
    assert b"\x1b]0" not in terminal.shown


def test_ids(rqtool: Program, vhost: Vhost) -> None:
    """--id selects by message id, or by a copy's token; a missing one is an error, exit code 1."""
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
    """Each option has a variable, except those that decide what is deleted."""
    declare(vhost)
    bury(vhost, *numbered(4))
    twins = {"RQTOOL_DEAD_LIST_LIMIT": "2", "RQTOOL_DEAD_LIST_ID": "x", "RQTOOL_DEAD_LIST_JSON": "1"}
    assert len(json.loads(rqtool("dead", "list", env=twins).stdout)) == 2
    assert rqtool("dead", "purge", env={"RQTOOL_DEAD_PURGE_YES": "1"}).code == 2
    assert vhost.ready(DEAD) == 4
    assert rqtool("dead", "list", "--limit", "0").code == 2


def test_no_broker(offline: Run) -> None:
    """69, one line."""
    for verb in (["list"], ["retry"], ["purge", "--yes"]):
        ended = offline("dead", *verb)
        assert (ended.code, ended.stdout, len(ended.stderr.splitlines())) == (69, "", 1)


def test_no_right_to_read(rqtool: Program, vhost: Vhost) -> None:
    """A user who may not read the dead queue: 77, and nothing is changed."""
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
