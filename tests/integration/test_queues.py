"""`rqtool queues`: the figures are the broker's."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest

from rqtool.private_broker.node import Node
from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from tests.tools import PYTHON, Program, Run, Vhost, clean_environment, eventually

pytestmark = pytest.mark.empty_vhost

ODD_NAMES = ["-q", "a/b?c=d&e#f per%2Fcent plus+plus", "ünï ☃ [red]markup[/red]", "'quoted' \"twice\""]


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_the_same_figures_as_rabbitmqctl(rqtool: Program, vhost: Vhost, node: Node, kind: str) -> None:
    """Three ready, two held without an ack: both programs say so, in the same columns."""
    vhost.declare("held", **{"x-queue-type": kind})
    vhost.declare("empty", **{"x-queue-type": kind})
    with vhost.channel() as channel:
        for n in range(5):
            channel.basic_publish("", "held", f"{n}".encode())
        channel.basic_qos(prefetch_count=2)
        channel.basic_consume("held", lambda *_: None)

        def ours() -> list[list[str]]:
            channel.connection.process_data_events(0)
            return [line.split("\t")[:3] for line in rqtool("queues").stdout.splitlines()]

        expected = [["name", "messages_ready", "messages_unacknowledged"], ["empty", "0", "0"], ["held", "3", "2"]]
        eventually(lambda: ours() == expected)
        theirs = rabbitmqctl(node, "list_queues", "-p", vhost.name, "name", "messages_ready", "messages_unacknowledged")
        rows = [line.split("\t") for line in theirs.splitlines() if "\t" in line]
        assert sorted(expected) == sorted(rows)


def test_consumers_state_and_type(rqtool: Program, vhost: Vhost) -> None:
    """Who consumes, whether it runs, what it is: columns behind the figures, and keys in JSON."""
    vhost.declare("q")
    with vhost.channel() as channel:
        channel.basic_consume("q", lambda *_: None)
        channel.basic_consume("q", lambda *_: None)
        eventually(lambda: rqtool("queues").stdout.splitlines()[1].split("\t")[3] == "2")
        [row] = json.loads(rqtool("queues", "--json").stdout)

    header = rqtool("queues").stdout.splitlines()[0]
    assert header == "name\tmessages_ready\tmessages_unacknowledged\tconsumers\tstate\ttype\tverdict\treason"
    assert {
        "vhost": vhost.name, "name": "q", "messages_ready": 0, "messages_unacknowledged": 0, "consumers": 2,
        "state": "running", "type": "classic", "durable": True, "verdict": "ok", "holders": [],
    }.items() <= row.items()  # fmt: skip


def test_names_with_any_characters(rqtool: Program, vhost: Vhost) -> None:
    """Queue names are data: in the list, as arguments, on the way to send and work."""
    senders = [rqtool.start("send", "--queue", name, "--", "x") for name in ODD_NAMES]
    assert [sender.wait().code for sender in senders] == [0] * len(ODD_NAMES)
    assert sorted(ODD_NAMES) == sorted(row["name"] for row in json.loads(rqtool("queues", "--json").stdout))
    some = ODD_NAMES[::2]
    assert sorted(some) == sorted(row["name"] for row in json.loads(rqtool("queues", "--json", "--", *some).stdout))
    workers = [rqtool.start("work", "--queue", name, "--drain") for name in ODD_NAMES]
    assert [worker.wait().code for worker in workers] == [0] * len(ODD_NAMES)
    assert [vhost.ready(name) for name in ODD_NAMES] == [0] * len(ODD_NAMES)


def test_control_characters_never_reach_the_terminal(rqtool: Program, vhost: Vhost) -> None:
    """A name with an escape sequence and a tab stays one harmless line."""
    vhost.declare("\x1b[31mred\ttab")

    ended = rqtool("queues")
    assert len(ended.stdout.splitlines()) == 2
    assert ended.stdout.splitlines()[1].split("\t")[0] == "\\x1b[31mred\\ttab"


def test_vhosts(rqtool: Program, vhost: Vhost, node: Node) -> None:
    """--vhost looks elsewhere, --all-vhosts everywhere; a vhost with odd characters too."""
    other = Vhost(node, "odd/vhost ü%")
    other.create()
    try:
        other.declare("there")
        vhost.declare("here")
        listed = rqtool("queues", "--vhost", other.name).stdout.splitlines()[1:]
        assert [line.split("\t")[0] for line in listed] == ["there"]
        everywhere = rqtool("queues", "--all-vhosts").stdout.splitlines()
        assert everywhere[0].startswith("name\tmessages_ready\tmessages_unacknowledged\t")
        rows = {tuple(line.split("\t")[i] for i in (0, -1)) for line in everywhere[1:]}
        assert {("there", other.name), ("here", vhost.name)} <= rows
        in_url = rqtool("queues", env={"RQTOOL_URL": other.url})
        assert "there" in in_url.stdout
        assert rqtool("send", "x", "-q", "there", env={"RQTOOL_URL": other.url}).code == 0
    finally:
        other.delete()


def test_names_that_are_missing(rqtool: Program, vhost: Vhost) -> None:
    """What is there is shown, what is not is said, and the exit code tells."""
    vhost.declare("there")
    ended = rqtool("queues", "there", "elsewhere")

    assert ended.code == 1
    assert "there\t0\t0" in ended.stdout
    assert "rqtool: There is no queue 'elsewhere' here." in ended.stderr


def test_release_of_an_empty_queue_beside_another_one(rqtool: Program, vhost: Vhost) -> None:
    """The list of all queues hides it, but it exists; a name that only looks like a glob of it does not."""
    for name in ("mails", "mails.dead"):
        vhost.declare(name)
    eventually(lambda: rqtool("release", "mails.dead").code == 0)
    assert rqtool("release", "mails.dead").stderr == "rqtool: nothing of 'mails.dead' is held\n"
    assert rqtool("release", "mails.d*").code == 1


def test_limits_from_the_environment(rqtool: Program) -> None:
    """They are for --check, and hinder nothing else."""
    assert rqtool("queues", env={"RQTOOL_QUEUES_CRIT_READY": "5"}).code == 0


def test_a_table_on_a_terminal(vhost: Vhost, tmp_path: Path) -> None:
    """On a terminal it is a table for people; names with markup are printed as they are."""
    vhost.declare("[bold]name[/bold]")
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*PYTHON, "queues"], env=clean_environment() | vhost.environment | {"COLUMNS": "80"}, stdout=follower
    )
    os.close(follower)
    shown = b""
    try:
        while chunk := os.read(leader, 4096):
            shown += chunk
    except OSError:
        pass  # the other end was closed
    finally:
        os.close(leader)
    assert process.wait(30) == 0
    assert b"unacknowledged" in shown
    assert b"[bold]name[/bold]" in shown


def test_verdicts_that_need_no_holder(rqtool: Program, vhost: Vhost) -> None:
    """Nobody consumes, tasks were given up, a restart would cost them; wait queues are as they should be."""
    for sender in [rqtool.start("send", "-q", queue, "x") for queue in ("lonely", "photos", "later")]:
        assert sender.wait().code == 0
    fails = ["--max-tasks", "1", "--", "false"]
    photos = rqtool.start("work", "-q", "photos", "--retry-delays", "none", *fails)
    later = rqtool.start("work", "-q", "later", "--retry-delays", "1h", *fails)
    assert (photos.wait().code, later.wait().code) == (1, 0)
    with vhost.channel() as channel:
        channel.queue_declare("brief", exclusive=True)
        expected = {
            "lonely": "no consumers", "photos": "ok", "photos.dead": "dead letters", "later": "ok",
            "later.retry.1h": "ok", "brief": "ok",
        }  # fmt: skip

        def verdicts() -> dict[str, str]:
            rows = (line.split("\t") for line in rqtool("queues").stdout.splitlines()[1:])
            return {row[0]: row[6] for row in rows}

        # A new quorum queue is not known to be empty before its first report.
        eventually(lambda: verdicts() == expected)
    checked = rqtool("queues", "photos", "--check")
    assert (checked.code, "photos.dead: 1 task of 'photos' was" in checked.stdout) == (1, True)


def test_settings_that_may_drop_tasks(rqtool: Program, vhost: Vhost) -> None:
    """Of the queue or of a policy; rqtool's own queues have none, however they are made."""
    vhost.declare("short", **{"x-max-length": 50})
    vhost.declare("full", **dict[str, str | int]({"x-max-length": 50, "x-overflow": "reject-publish"}))
    vhost.declare("brief", **{"x-queue-type": "quorum"})
    rqtool("send", "-q", "ours", "--type", "quorum", "x")
    rqtool("work", "-q", "ours", "--max-tasks", "1", "--retry-delays", "1h", "--", "false")
    policy = {"pattern": "^(brief|ours.dead)$", "apply-to": "queues", "definition": {"message-ttl": 60_000}}
    vhost.api("PUT", f"/api/policies/{vhost.path}/p", policy)

    def rows() -> dict[str, list[str]]:
        return {line.split("\t")[0]: line.split("\t")[6:] for line in rqtool("queues").stdout.splitlines()[1:]}

    expected = {
        "short": "may drop tasks", "full": "ok", "brief": "may drop tasks", "ours": "ok", "ours.retry.1h": "ok",
    }  # fmt: skip
    # Figures and policies are known some seconds late.
    eventually(lambda: {name: verdict for name, (verdict, _) in rows().items()} == expected)
    assert rows()["short"][1].startswith("x-max-length=50: ")
    assert rows()["brief"][1].startswith("policy message-ttl=60000: ")
    checked = rqtool("queues", "short", "--check")
    assert (checked.code, "short: may drop tasks, x-max-length=50: " in checked.stdout) == (1, True)
    assert rqtool("queues", "ours", "--check").code == 0  # nothing is in its dead queue


def test_options_that_contradict_each_other(offline: Run) -> None:
    """They are refused before anything is asked."""
    for words in (
        ["--holders", "--watch"],
        ["--watch", "--json"],
        ["--stuck-after", "2h"],
        ["--stuck-after", "0s"],
        ["--columns", "name", "--json"],
        ["--sort", "name", "--holders"],
        ["--columns", "colour"],
    ):
        assert offline("queues", *words).code == 2
    assert "--watch draws on a terminal" in offline("queues", "--watch", "5s").stderr


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--watch"], "don't go together"),
        (["--json"], "don't go together. Only --holders --json does; --check has --format json."),
        (["--no-such-option"], "No such option"),
        (["--warn-ready", "many"], "--warn-ready: 'many' is not a number of at least 0. See: rqtool queues --help."),
        (["--stuck-after", "0s"], "at least 1s"),
        (["--stuck-after", "soon"], "is not a duration"),
        (["--crit-age", "old"], "--crit-age: 'old' is not a duration"),
        (["--sort", "name"], "don't go with"),
        (["--url", "http://here"], "amqp"),
        (["--url-file", "no such file"], "no such file"),
    ],
)
def test_a_check_that_cannot_be_made_is_unknown(offline: Run, words: list[str], why: str) -> None:
    """2 would say to Nagios that it is CRITICAL, and it reads stdout."""
    for arguments in (["--check", *words], [*words, "--check"]):
        ended = offline("queues", *arguments)
        assert (ended.code, ended.stderr, ended.stdout.count("\n")) == (3, "", 1), ended
        assert ended.stdout.startswith("RQTOOL UNKNOWN: ")
        assert why in ended.stdout


def test_a_check_of_a_vhost_that_is_not_there_is_unknown(rqtool: Program) -> None:
    """Likewise where the broker has to be asked."""
    ended = rqtool("queues", "--check", "--vhost", "elsewhere")
    assert (ended.code, ended.stderr, ended.stdout.count("\n")) == (3, "", 1), ended
    assert ended.stdout.startswith("RQTOOL UNKNOWN: There is no vhost")


def test_a_pipe_needs_neither_rich_nor_pika(vhost: Vhost) -> None:
    """What is called every minute starts fast."""
    vhost.declare("q")
    ended = subprocess.run(
        [PYTHON[0], "-X", "importtime", *PYTHON[1:], "queues", "--json"],
        env=clean_environment() | vhost.environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = {
        line.rsplit("|", 1)[-1].strip() for line in ended.stderr.splitlines() if line.startswith("import time:")
    }
    assert "rqtool.queues.snapshot" in imported
    assert not {"rich", "pika", "asyncio"} & imported
