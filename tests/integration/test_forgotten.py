"""Who forgot an ack and who did not, on a real broker: every kind of client at once, and one call."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Program, Running, Vhost, eventually, throughout

pytestmark = pytest.mark.xdist_group("scene")

STUCK_AFTER = "10s"
KINDS = ("never", "full", "slow", "rejecting", "sharing", "get", "auto", "paused", "fleeting", "divided", "beside")


class Scene:
    """Clients that hold messages in a vhost of their own; the queues have the names of the kinds."""

    def __init__(self, vhost: Vhost, cwd: Path) -> None:
        self.vhost = vhost
        self.rqtool = Program(vhost.environment, cwd)
        self._clients = Program({"PYTHONPATH": str(Path(__file__).parents[2])}, cwd, ("-m", "tests.holding_clients"))
        self.clients: dict[str, Running] = {}

    def open(self) -> None:
        for kind in KINDS:
            self.clients[kind] = self._clients.start(self.vhost.url, kind, kind, name=f"client-{kind}")
        for client in self.clients.values():
            client.says("holds")
        self.clients["paused"].signal(signal.SIGSTOP)
        command = ["--", "sh", "-c", "sleep 1000 # s3cret"]
        for queue in ("ours", "stopped"):
            self.rqtool("send", "-q", queue, "one", "two", "three")
            self.clients[queue] = self.rqtool.start("work", "-q", queue, "--prefetch", "3", *command, name=queue)
        for queue in ("ours", "stopped"):
            eventually(lambda queue=queue: self.vhost.figures(queue) == (0, 3))  # type: ignore[misc]
        self.clients["stopped"].signal(signal.SIGSTOP)

    def close(self) -> None:
        self._clients.end_all()
        self.rqtool.end_all()

    def look(self, *arguments: str) -> dict[str, dict[str, Any]]:
        ended = self.rqtool("queues", "--json", "--stuck-after", STUCK_AFTER, *arguments)
        assert ended.code == 0, ended
        return {row["name"]: row for row in json.loads(ended.stdout)}

    def verdicts(self) -> dict[str, str]:
        return {name: row["verdict"] for name, row in self.look().items()}


@pytest.fixture(scope="module")
def scene(broker: PrivateBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Everybody is there, and those that forgot have been caught."""
    vhost = Vhost(broker.running()[0], "forgotten acks")
    vhost.create()
    found = Scene(vhost, tmp_path_factory.mktemp("scene"))
    try:
        found.open()
        guilty = ("never", "sharing", "get", "paused", "fleeting", "divided")
        eventually(lambda: all(found.verdicts()[name] == "forgotten ack?" for name in guilty), every=1)
        yield found
    finally:
        found.close()
        vhost.delete()


def test_every_verdict(scene: Scene) -> None:
    """In one call: those who forgot, those who starve their queue, and those who are merely slow."""
    assert scene.verdicts() | dict.fromkeys(("stopped", "beside", "divided.too"), "any") == {
        "never": "forgotten ack?", "full": "starved", "slow": "working", "rejecting": "working",
        "sharing": "forgotten ack?", "sharing.too": "forgotten ack?", "get": "forgotten ack?", "auto": "ok",
        "paused": "forgotten ack?", "fleeting": "forgotten ack?", "ours": "working", "stopped": "any",
        "divided": "forgotten ack?", "divided.too": "any", "beside": "any",
    }  # fmt: skip


def test_every_name(scene: Scene) -> None:
    """Each reason has the name of the one who holds the messages, and how to find it."""
    seen = scene.look()
    for kind in ("never", "full", "sharing", "get", "paused"):
        assert f" by {kind}-import (127.0.0.1:" in seen[kind]["reason"]
        assert "pid 4242): no ack since " in seen[kind]["reason"]
    assert seen["full"]["reason"].startswith("3 ready reach nobody, the prefetch is full: 2 held for ")
    assert "one of several consumers on its channel, which holds 6" in seen["sharing"]["reason"]
    assert "it has no consumer: basic.get, or cancelled" in seen["get"]["reason"]
    assert f"pid {scene.clients['ours'].process.pid}) running sh" in seen["ours"]["reason"]


def test_a_getter_is_told_from_the_consumer_beside_it(scene: Scene) -> None:
    """Whoever works is not blamed for what another one holds; between two figures it may not be clear whose it is."""
    eventually(lambda: "3 held for " in scene.look()["beside"]["reason"])
    for _ in range(5):
        found = scene.look()["beside"]
        assert not any(each["suspect"] for each in found["holders"] if each["client"] == "beside-import")
    eventually(lambda: " by getter-import (" in scene.look()["beside"]["reason"])


def test_acks_for_another_queue_excuse_nobody(scene: Scene) -> None:
    """One channel, two queues: one of them is acknowledged every 2 s."""
    found = scene.look()["divided"]
    assert (found["verdict"], found["stuck"]) == ("forgotten ack?", 5)
    assert "by divided-import (" in found["reason"]
    assert found["last_ack"] is None


def test_secrets_of_a_command_stay_with_it(scene: Scene) -> None:
    """The program's name is told, its arguments are not."""
    everything = json.dumps(scene.look()) + json.dumps(scene.vhost.api("GET", "/api/connections"))
    assert "s3cret" not in everything


def test_holders(scene: Scene) -> None:
    """One line for each consumer that holds something."""
    ended = scene.rqtool("queues", "--holders", "--stuck-after", STUCK_AFTER)
    header, *rows = (line.split("\t") for line in ended.stdout.splitlines())
    assert header == ["queue", "client", "host", "pid", "address", "prefetch", "held", "since", "verdict"]
    by_queue = {row[0]: row for row in rows}
    assert len(by_queue) == len([row for row in rows if row[1] != "getter-import"])
    assert by_queue["never"][1:4] == ["never-import", "127.0.0.1", "4242"]
    assert by_queue["never"][5:7] == ["0", "5"]
    assert by_queue["full"][5:7] == ["2", "2"]
    assert by_queue["sharing"][6] == by_queue["sharing.too"][6] == "6 shared"
    assert by_queue["get"][5:7] == ["", "2"]
    assert "auto" not in by_queue
    assert by_queue["ours"][3] == str(scene.clients["ours"].process.pid)
    assert by_queue["ours"][8] == "working"


def test_the_slow_and_the_rejecting_are_never_accused(scene: Scene) -> None:
    """Over some rounds of theirs, at whatever moment one looks. An ack of theirs comes every 6 s."""
    innocent = ("slow", "rejecting", "ours")

    def working() -> bool:
        verdicts = scene.verdicts()
        return [verdicts[name] for name in innocent] == ["working"] * 3

    throughout(working, 15)


def test_a_check_names_them(scene: Scene) -> None:
    """One line, the worst status of all."""
    ended = scene.rqtool("queues", "--check", "--stuck-after", STUCK_AFTER)
    assert (ended.code, ended.stderr, ended.stdout.count("\n")) == (2, "", 1)
    assert ended.stdout.startswith("RQTOOL CRITICAL: ")
    assert "no ack since" in ended.stdout
    assert " stuck=" in ended.stdout.split("|")[1]
    assert scene.rqtool("queues", "slow", "--check", "--stuck-after", STUCK_AFTER).code == 0
    assert scene.rqtool("queues", "elsewhere", "--check").code == 3
    away = scene.rqtool("queues", "--check", "--api-url", "http://127.0.0.1:1/")
    assert (away.code, away.stdout.split(":")[0], away.stderr) == (3, "RQTOOL UNKNOWN", "")


def test_a_user_with_few_rights(scene: Scene) -> None:
    """Gets what it may see, and a line about what it may not."""
    scene.vhost.api("PUT", "/api/users/few", {"password": "few", "tags": "management"})
    scene.vhost.api("PUT", f"/api/permissions/{scene.vhost.path}/few", {"configure": "", "write": "", "read": ".*"})
    few = {"RQTOOL_URL": Vhost(scene.vhost.node, scene.vhost.name, "few", "few").url}
    ended = scene.rqtool("queues", "--json", "--stuck-after", STUCK_AFTER, env=few)
    assert ended.stderr == (
        "rqtool: This user sees its own consumers only; the tag monitoring shows who else holds messages.\n"
    )
    seen = {row["name"]: row for row in json.loads(ended.stdout)}
    assert seen["never"]["verdict"] == "forgotten ack?"
    assert "whether it is a long task, only a user tagged monitoring sees" in seen["never"]["reason"]
    assert (seen["slow"]["verdict"], seen["auto"]["verdict"], seen["auto"]["consumers"]) == ("working", "ok", 1)
    refused = scene.rqtool("release", "never", "--yes", "--stuck-after", STUCK_AFTER, env=few)
    assert (refused.code, refused.stdout) == (0, "")
    assert "Nobody can be named whose connection to close" in refused.stderr


def test_release_gives_everything_back(scene: Scene) -> None:
    """Who forgot is cut off, and another worker gets every message. Without a terminal and --yes that is only shown."""
    asked = scene.rqtool("release", "never", "--stuck-after", STUCK_AFTER)
    assert (asked.code, asked.stdout, scene.vhost.figures("never")) == (2, "", (0, 5))
    shown, refused = asked.stderr.splitlines()
    assert shown.startswith("rqtool: never-import (127.0.0.1:")
    assert shown.endswith(" holds 5 of 'never'; no ack for over 10s (--stuck-after)")
    assert refused == "rqtool: No connection is closed: there is no terminal to ask on. Add --yes."
    ended = scene.rqtool("release", "never", "--yes", "--stuck-after", STUCK_AFTER)
    assert ended.code == 0
    assert "never-import (127.0.0.1:" in ended.stderr
    assert " [x] Gave back 5 messages of 'never' (5 ready, 0 held now); closed never-import" in ended.stdout
    worked = scene.rqtool("work", "-q", "never", "--drain", "--quiet", "--", "cat")
    assert (worked.code, sorted(worked.stdout)) == (0, list("01234"))


def test_release_spares_the_busy(scene: Scene) -> None:
    """Nobody is cut off who has not forgotten; but whoever is named is."""
    ended = scene.rqtool("release", "ours", "--yes", "--stuck-after", STUCK_AFTER)
    assert (ended.code, ended.stdout, scene.vhost.figures("ours")) == (0, "", (0, 3))
    assert "nobody is known to have forgotten them for over 10s (--stuck-after). See: " in ended.stderr
    known = json.loads(scene.rqtool("release", "ours", "--yes", "--json", "--stuck-after", STUCK_AFTER).stdout)
    assert (known["released"], known["messages_ready"], known["messages_unacknowledged"]) == (0, 0, 3)
    assert scene.rqtool("release", "slow", "--yes", "--holder", "nobody").code == 1
    named = scene.rqtool("release", "slow", "--yes", "--holder", "slow-import", "--json")
    result = json.loads(named.stdout)
    assert (named.code, result["released"], result["closed"][0]["client"]) == (0, 3, "slow-import")
    assert " holds 3 of 'slow'; it may be at work on them, and they may be done twice" in named.stderr


def test_release_deletes_no_queue(scene: Scene) -> None:
    """An auto-delete queue goes with its last consumer, and its messages with it: nobody is cut off."""
    ended = scene.rqtool("release", "fleeting", "--yes", "--stuck-after", STUCK_AFTER)
    assert (ended.code, ended.stdout, scene.vhost.figures("fleeting")) == (1, "", (0, 5))
    assert "would delete the queue 'fleeting' with its messages: it is auto-delete" in ended.stderr
    with scene.vhost.channel() as channel:
        channel.basic_consume("fleeting", lambda *_: None)
        eventually(lambda: scene.rqtool("release", "fleeting", "--yes", "--stuck-after", STUCK_AFTER).code == 0)
        assert scene.vhost.figures("fleeting")[1] == 5


def test_release_tells_what_else_goes(scene: Scene) -> None:
    """A connection may serve several queues."""
    ended = scene.rqtool("release", "sharing", "--yes", "--stuck-after", STUCK_AFTER)
    assert "holds 5 of 'sharing', and 1 of 'sharing.too'" in ended.stderr
    eventually(lambda: scene.vhost.figures("sharing.too") == (1, 0))


def test_release_does_not_guess(scene: Scene) -> None:
    """Without a terminal and without --yes nothing happens; a queue that is not there is said."""

    def asks() -> bool:  # between two figures it may not be clear whose a getter's messages are: none is forgotten then
        ended = scene.rqtool("release", "get", "--stuck-after", STUCK_AFTER)
        assert scene.vhost.figures("get")[1] == 2
        return ended.code == 2 and "Add --yes" in ended.stderr

    eventually(asks, every=0.5)
    assert [scene.rqtool("release", "elsewhere", *yes).code for yes in ([], ["--yes"])] == [1, 1]
