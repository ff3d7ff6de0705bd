"""`rqtool queues`: globs, columns, and the ages of messages, on a real broker."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pika
import pytest

from tests.tools import Ended, Program, Vhost, eventually

pytestmark = pytest.mark.empty_vhost

HOUR = 3600


def names(ended: Ended) -> list[str]:
    return [line.split("\t")[0] for line in ended.stdout.splitlines()[1:]]


def test_globs_and_columns(rqtool: Program, vhost: Vhost) -> None:
    """A glob that matches nothing is an error; the columns and the order are those asked for."""
    for name in ("mail.in", "mail.out", "photos"):
        vhost.declare(name)
    vhost.publish("x", queue="mail.out")

    found = rqtool("queues", "mail.*", "--columns", "name,messages_ready,durable", "--sort", "ready")
    assert found.code == 0
    assert found.stdout.splitlines() == ["name\tmessages_ready\tdurable", "mail.out\t1\ttrue", "mail.in\t0\ttrue"]
    missing = rqtool("queues", "p*", "x*")
    assert (missing.code, names(missing)) == (1, ["photos"])
    assert "rqtool: No queue here matches 'x*'." in missing.stderr
    assert rqtool("queues", "x*", "--check").code == 3
    assert rqtool("queues", "mail.[io]*", "--check", "--warn-ready", "0").stdout.count(" 2 queues, 1 ready,") == 1


@pytest.fixture
def old(vhost: Vhost) -> Iterator[Vhost]:
    """A queue with a message of an hour ago."""
    vhost.declare("old", **{"x-queue-type": "classic"})
    with vhost.channel() as channel:
        sent = int(time.time()) - HOUR
        properties = pika.BasicProperties(timestamp=sent, delivery_mode=2)  # type: ignore[no-untyped-call]
        channel.basic_publish("", "old", b"x", properties)
        yield vhost


def test_the_age_of_the_oldest_ready_message(rqtool: Program, old: Vhost) -> None:
    """From its timestamp, in JSON, as a column, for Nagios and for Prometheus."""

    def age() -> float:
        [row] = json.loads(rqtool("queues", "old", "--json").stdout)
        return float(row["oldest_ready_seconds"] or 0)

    assert HOUR <= eventually(age) < HOUR + 60
    checked = rqtool("queues", "old", "--check", "--crit-age", "30m")
    assert (checked.code, "old: 1 ready, the oldest was sent 1 h ago" in checked.stdout) == (2, True)
    assert rqtool("queues", "old", "--check", "--crit-age", "2h").code == 1  # nobody consumes
    report = rqtool("queues", "old", "--check", "--crit-age", "30m", "--format", "prometheus")
    assert report.code == 2
    assert f'rqtool_queue_oldest_ready_seconds{{vhost="{old.name}",queue="old"}} 36' in report.stdout
    as_json = rqtool("queues", "old", "--check", "--crit-age", "30m", "--format", "json")
    assert (as_json.code, json.loads(as_json.stdout)["status"]) == (2, "CRITICAL")
    of_all = rqtool("queues", "--check", "--format", "prometheus")
    assert f'rqtool_queue_oldest_ready_seconds{{vhost="{old.name}",queue="old"}} 36' in of_all.stdout


def test_a_task_that_hangs_in_a_worker(rqtool: Program, vhost: Vhost) -> None:
    """It is at work for the verdict, and too long for the limit."""
    vhost.declare("tasks")
    vhost.publish("x", queue="tasks")
    worker = rqtool.start("work", "-q", "tasks", "--", "sleep", "600")

    def checked() -> bool:
        ended = rqtool("queues", "tasks", "--check", "--crit-age", "8s")
        return ended.code == 2 and "tasks: a message has been held for " in ended.stdout

    eventually(checked)
    [row] = json.loads(rqtool("queues", "tasks", "--json").stdout)
    assert (row["verdict"], row["longest_held_seconds"] > 8) == ("working", True)
    assert rqtool("queues", "tasks", "--check", "--crit-age", "1h").code == 0
    worker.kill()


@pytest.mark.parametrize("form", ["json", "prometheus"])
def test_a_check_that_cannot_be_made_keeps_its_format(rqtool: Program, form: str) -> None:
    """For a wrong option as for a broker that is away."""
    for words in (["--no-such-option"], ["--api-url", "http://127.0.0.1:1/"]):
        ended = rqtool("queues", "--check", "--format", form, *words)
        assert ended.code == 3
        if form == "json":
            assert json.loads(ended.stdout)["status"] == "UNKNOWN"
        else:
            assert "rqtool_check_status 3" in ended.stdout.splitlines()
            assert ended.stderr.startswith("rqtool: ")
