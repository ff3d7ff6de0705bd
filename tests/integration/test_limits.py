"""Limits that are reached, and a consumer that is alone on its queue: out of reach (69) and waited out, no lack of
rights.
"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from tests.tools import Program, Vhost, eventually


def limit(vhost: Vhost, name: str, value: int) -> None:
    vhost.api("PUT", f"/api/vhost-limits/{vhost.path}/{name}", {"value": value})


@pytest.fixture
def limited(vhost: Vhost) -> Iterator[Vhost]:
    """The vhost as a user of its own sees it, who may have one connection."""
    vhost.api("PUT", "/api/users/limited", {"password": "limited", "tags": ""})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/limited", {"configure": ".*", "write": ".*", "read": ".*"})
    vhost.api("PUT", "/api/user-limits/limited/max-connections", {"value": 1})
    yield Vhost(vhost.node, vhost.name, user="limited", password="limited")
    vhost.api("DELETE", "/api/users/limited")


def test_a_limit_of_the_vhost(rqtool: Program, vhost: Vhost) -> None:
    """It has a name, and whoever waits gets in when another one goes."""
    limit(vhost, "max-connections", 1)
    with vhost.channel():
        for verb in (["send", "x"], ["work", "--drain"]):
            ended = rqtool(*verb)
            assert (ended.code, ended.stderr.count("\n")) == (69, 1), ended
            assert "as many connections as its limit allows (max-connections=1)" in ended.stderr
            assert "rabbitmqctl set_vhost_limits" in ended.stderr
            assert "set_permissions" not in ended.stderr
        waiting = rqtool.start("send", "x", "--give-up", "60s")
        waiting.says("; trying again")
        gave_up = rqtool("send", "x", "--give-up", "1s")
        assert (gave_up.code, "max-connections=1" in gave_up.stderr) == (69, True), gave_up
    assert waiting.wait().code == 0
    assert vhost.ready() == 1


def test_a_limit_of_the_user(rqtool: Program, limited: Vhost) -> None:
    """It is the user's, and says so."""
    with limited.channel():
        ended = rqtool("send", "x", env={"RQTOOL_URL": limited.url})
    assert (ended.code, "User 'limited' has as many connections" in ended.stderr) == (69, True), ended
    assert rqtool("send", "x", env={"RQTOOL_URL": limited.url}).code == 0


def test_a_worker_waits_for_room(rqtool: Program, vhost: Vhost) -> None:
    """One that lost its connection, and whose place was taken, comes back when there is one."""
    worker = rqtool.start("work", "--", "cat")
    eventually(lambda: vhost.exists("task_queue") and vhost.row("task_queue").get("consumers") == 1)
    limit(vhost, "max-connections", 0)
    for each in eventually(lambda: vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")):
        vhost.api("DELETE", f"/api/connections/{quote(each['name'], safe='')}")
    worker.says("onnection lost")
    vhost.api("DELETE", f"/api/vhost-limits/{vhost.path}/max-connections")
    vhost.publish("back")
    worker.says("back")


def test_a_worker_whose_password_was_changed(rqtool: Program, limited: Vhost, vhost: Vhost) -> None:
    """It waits for its old one, and says why."""
    vhost.api("DELETE", "/api/user-limits/limited/max-connections")
    worker = rqtool.start("work", "--", "cat", env={"RQTOOL_URL": limited.url})
    eventually(lambda: vhost.consumers() == 1)
    vhost.api("PUT", "/api/users/limited", {"password": "another", "tags": ""})
    for each in eventually(lambda: vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")):
        vhost.api("DELETE", f"/api/connections/{quote(each['name'], safe='')}")
    worker.says("refused user 'limited': wrong name or password; trying again")
    vhost.api("PUT", "/api/users/limited", {"password": "limited", "tags": ""})
    worker.says("connected again")


@pytest.mark.usefixtures("old_places")
def test_a_retry_waits_for_room(rqtool: Program, vhost: Vhost) -> None:
    """The worker's second connection, for copies, is waited for too; the task is kept meanwhile."""
    vhost.publish("x")
    limit(vhost, "max-connections", 1)
    worker = rqtool.start("work", "--retry-delays", "100ms", "--", "false")
    worker.says("max-connections=1")
    worker.says("it is kept, and tried again")
    limit(vhost, "max-connections", 3)
    eventually(lambda: vhost.exists("task_queue.dead") and vhost.ready("task_queue.dead") == 1)


def test_an_exclusive_consumer(rqtool: Program, vhost: Vhost) -> None:
    """Another program consumes alone: that is no lack of rights, and passes with it."""
    vhost.declare("alone")
    with vhost.channel() as channel:
        channel.basic_consume("alone", lambda *_: None, exclusive=True)
        ended = rqtool("work", "-q", "alone", "--drain")
        assert (ended.code, "Another program consumes queue 'alone' exclusively" in ended.stderr) == (69, True), ended
    assert rqtool("work", "-q", "alone", "--drain").code == 0


@pytest.mark.timeout(180)  # rabbitmqctl is slow
def test_a_vhost_that_is_down(rqtool: Program, vhost: Vhost) -> None:
    """It exists, and its queues come back with it."""
    vhost.publish("x")
    rabbitmqctl(vhost.node, "eval", f'rabbit_vhost_sup_sup:stop_and_delete_vhost(<<"{vhost.name}">>).')
    try:
        ended = rqtool("send", "x")
        assert (ended.code, f"The vhost '{vhost.name}' is down" in ended.stderr) == (69, True), ended
    finally:
        rabbitmqctl(vhost.node, "restart_vhost", "-p", vhost.name)
    assert rqtool("send", "x").code == 0
