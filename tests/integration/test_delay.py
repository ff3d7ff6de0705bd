"""`send --delay` and `--at`: each task comes at its time, none early, none behind another one's longer delay."""

from __future__ import annotations

import json
import subprocess
import time
from datetime import UTC, datetime
from functools import partial

import pika
import pytest

from rqtool.send.delay import route
from rqtool.topology import sibling_arguments
from tests.proxy import Proxy
from tests.tools import DEADLINE, Program, Run, Vhost, eventually, lines

YEAR = 365 * 86_400


@pytest.fixture
def old_delays(vhost: Vhost) -> None:
    """The delay queues that the tests use are there, so that no test waits until those are old enough."""
    for queue in {queue for seconds in (1, 2, 3, 300, YEAR) for queue in route("task_queue", seconds).queues}:
        vhost.declare(queue.name, **sibling_arguments(queue, None))


def arrivals(vhost: Vhost, count: int) -> list[tuple[float, pika.BasicProperties, bytes]]:
    """The next tasks that come, with the time of each."""
    found: list[tuple[float, pika.BasicProperties, bytes]] = []
    with vhost.channel() as channel:
        for method, properties, body in channel.consume("task_queue", inactivity_timeout=DEADLINE):
            assert method is not None, f"of {count} tasks {len(found)} came"
            assert properties is not None
            assert body is not None
            channel.basic_ack(method.delivery_tag)
            found.append((time.time(), properties, body))
            if len(found) == count:
                break
    return found


def pass_on(vhost: Vhost, queue: str) -> None:
    """Do with the one message of a delay queue what the broker does when its time is over."""
    row = vhost.row(queue)
    with vhost.channel() as channel:
        method, properties, body = channel.basic_get(queue)
        assert method is not None, f"nothing in {queue}"
        assert properties is not None
        assert body is not None
        (properties.headers or {}).pop("x-delivery-count", None)  # of this look
        exchange = row["arguments"]["x-dead-letter-exchange"]
        key = row["arguments"].get("x-dead-letter-routing-key", method.routing_key)
        channel.basic_publish(exchange, key, body, properties, mandatory=True)
        channel.basic_ack(method.delivery_tag)


def delay_queues(vhost: Vhost) -> dict[str, int]:
    """Those that exist, with how many tasks wait in each."""
    rows = vhost.api("GET", f"/api/queues/{vhost.path}?disable_stats=true")
    return {row["name"]: vhost.ready(row["name"]) for row in rows if ".delay." in row["name"]}


def waiting(vhost: Vhost, count: int) -> bool:
    """Whether so many tasks wait for their time."""
    return sum(delay_queues(vhost).values()) == count


@pytest.mark.usefixtures("old_delays")
def test_each_task_comes_at_its_time(rqtool: Program, vhost: Vhost) -> None:
    """By its id: none is missing, none is early, whatever else was sent for later; a year holds nobody up."""
    rqtool("send", "--delay", "365d", "later")
    ledger: dict[bytes, int] = {}
    for seconds in (3, 1, 2):
        tasks = [f"{seconds} {n}".encode() for n in range(100)]
        sent = rqtool("send", "--delay", f"{seconds}s", input=lines(*tasks))
        assert sent.stdout.startswith(" [x] Sent 100 tasks to 'task_queue' (all confirmed"), sent
        ledger |= dict.fromkeys(tasks, seconds)
    found = arrivals(vhost, len(ledger))
    assert {body for _, _, body in found} == ledger.keys()
    assert len({properties.message_id for _, properties, _ in found}) == len(ledger)
    early = [body for at, properties, body in found if at < properties.timestamp + ledger[body]]
    assert early == []
    assert waiting(vhost, 1)


@pytest.mark.usefixtures("old_delays")
@pytest.mark.parametrize(("delay", "queues"), [("5m", 2), ("365d", 11)])
def test_a_long_delay_passes_queue_after_queue(rqtool: Program, vhost: Vhost, delay: str, queues: int) -> None:
    """And comes home as it was sent."""
    sent = rqtool("send", "--delay", delay, "--header", "K=V", "--priority", "3", "--content-type", "text/plain", "a.b")
    assert (sent.code, sent.stdout) == (0, " [x] Sent 'a.b'\n")
    way = [queue.name for queue in route("task_queue", 300 if delay == "5m" else YEAR).queues]
    assert len(way) == queues
    for name in way:
        pass_on(vhost, name)
    [(_, properties, body)] = arrivals(vhost, 1)
    assert body == b"a.b"
    assert (properties.headers, properties.priority, properties.content_type) == ({"K": "V"}, 3, "text/plain")
    assert properties.delivery_mode == 2


@pytest.mark.empty_vhost
def test_only_what_it_needs_is_declared(rqtool: Program, vhost: Vhost) -> None:
    """The queue of a round delay, its own, and all of them wait together until they are old enough."""
    begun = time.monotonic()
    assert rqtool("send", "--delay", "5m", "x").code == 0
    assert time.monotonic() - begun >= 4
    eventually(partial(waiting, vhost, 1))
    assert delay_queues(vhost) == {"task_queue.delay.0.44": 0, "task_queue.delay.1.4": 1}
    assert vhost.ready() == 0


@pytest.mark.usefixtures("old_delays")
def test_the_worker_sees_a_task_like_any_other(rqtool: Program, vhost: Vhost) -> None:
    """The first attempt, and no header of the broker's."""
    rqtool("send", "--delay", "1s", "--header", "K=V", "x")
    worked = rqtool("work", "--max-tasks", "1", "--", "sh", "-c", "env | grep RQTOOL_TASK_ | sort")
    names = [line.partition("=")[0] for line in worked.stdout.splitlines() if line.startswith("RQTOOL_TASK_")]
    assert names == [f"RQTOOL_TASK_{name}" for name in ("ATTEMPT", "HEADER_K", "ID", "QUEUE", "REDELIVERED")]
    assert "RQTOOL_TASK_ATTEMPT=1\n" in worked.stdout
    assert "RQTOOL_TASK_REDELIVERED=0\n" in worked.stdout


def utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def test_at_a_time(rqtool: Program, vhost: Vhost) -> None:
    """One in the past is at once, and is said; what is near waits in the sender, what is not near in a delay queue."""
    past = rqtool("send", "--at", "2020-01-01T00:00:00+02:00", "past")
    assert "--at 2020-01-01T00:00:00+02:00 is in the past: the tasks are delivered at once" in past.stderr
    assert vhost.bodies() == [b"past"]
    near, far = int(time.time()) + 2, int(time.time()) + 15
    assert rqtool("send", "--at", utc(far), "far").code == 0
    eventually(partial(waiting, vhost, 1))
    assert rqtool("send", "--at", utc(near), "near").code == 0
    [(came, _, body)] = arrivals(vhost, 1)
    assert (body, came >= near) == (b"near", True)
    [(came, _, body)] = arrivals(vhost, 1)
    assert (body, came >= far) == (b"far", True)


def test_a_slow_input_and_a_fixed_time(rqtool: Program, vhost: Vhost) -> None:
    """The rest of the wait is reckoned for each task, when it is published: all come at the same time."""
    due = int(time.time()) + 30
    sender = rqtool.start("send", "--at", utc(due), stdin=subprocess.PIPE)
    for n in range(1, 4):
        written = time.time()
        sender.write(b"%d\n" % n)
        eventually(partial(waiting, vhost, n), every=1)
        # Each in a second of its own, and so in a queue of its own.
        eventually(lambda written=written: time.time() > written + 1.1)  # type: ignore[misc]
    sender.close_input()
    assert sender.wait().code == 0
    assert sum(map(bool, delay_queues(vhost).values())) > 1
    found = arrivals(vhost, 3)
    assert {body for _, _, body in found} == {b"1", b"2", b"3"}
    assert min(came for came, _, _ in found) >= due


def test_a_fixed_time_over_a_slow_line(rqtool: Program, vhost: Vhost) -> None:
    """The queues and exchanges for the next seconds, of all levels, are declared before these seconds are over."""
    proxy = Proxy(vhost.node.amqp_port)
    proxy.slow(1 << 16, 0.25)
    try:
        ended = rqtool("send", "--at", utc(time.time() + 0.9 * YEAR), "x", env={"RQTOOL_URL": vhost.url_at(proxy.port)})
    finally:
        proxy.close()
    assert ended.code == 0
    eventually(partial(waiting, vhost, 1))


def test_few_channels(rqtool: Program, vhost: Vhost) -> None:
    """With --at there are many queues to declare at once; each takes a channel, which some brokers allow few of."""
    url = f"{vhost.url}?channel_max=4"
    assert rqtool("send", "--at", utc(time.time() + 0.9 * YEAR), "far", env={"RQTOOL_URL": url}).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--delay", "0s"], ["--delay 0s is too short", "from 1s to 366d"]),
        (["--delay", "999ms"], ["--delay 999ms is too short"]),
        (["--delay", "367d"], ["--delay 367d is too long", "from 1s to 366d"]),
        (["--delay", "soon"], ["--delay: 'soon' is not a duration"]),
        (["--at", "2999-01-01T00:00:00Z"], ["too far away", "within 366 days"]),
        (["--at", "2026-12-24T18:00:00"], ["has no time zone", "Add Z"]),
        (["--at", "tomorrow"], ["--at: 'tomorrow' is not a time"]),
        (["--delay", "1s", "--at", "2026-12-24T18:00:00Z"], ["--delay and --at contradict each other"]),
        (["--delay", "1s", "--guarantee", "tx"], ["--guarantee tx can't be delayed"]),
        (["--delay", "1s", "--ttl", "1m"], ["--ttl would end the wait"]),
        (["--delay", "1s", "-q", "q" * 245], ["more than 255 bytes"]),
    ],
)
def test_what_can_not_be_delayed(offline: Run, arguments: list[str], words: list[str]) -> None:
    """It is said before a broker is asked."""
    ended = offline("send", "x", *arguments)
    assert (ended.code, ended.stderr.count("\n")) == (2, 1), ended
    for word in words:
        assert word in ended.stderr


def test_a_user_who_may_not_declare(rqtool: Program, vhost: Vhost) -> None:
    """Nothing is sent, neither now nor for later; 77."""
    vhost.api("PUT", "/api/users/undelayed", {"password": "u", "tags": "management"})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/undelayed", {"configure": "^$", "write": ".*", "read": ".*"})
    url = Vhost(vhost.node, vhost.name, "undelayed", "u").url
    missing = rqtool("send", "--delay", "1s", "x", "--url", url)
    assert (missing.code, missing.stderr.count("\n")) == (77, 1), missing
    assert "Queue 'task_queue.delay.0.1' does not exist and this user may not create it" in missing.stderr
    [queue] = route("task_queue", 1).queues
    vhost.declare(queue.name, **sibling_arguments(queue, None))
    exchange = rqtool("send", "--delay", "1s", "x", "--url", url)
    assert (exchange.code, exchange.stderr.count("\n")) == (77, 1), exchange
    assert "exchange 'task_queue.delay.0'" in exchange.stderr
    assert (vhost.ready(), vhost.ready(queue.name)) == (0, 0)


@pytest.mark.parametrize("wrong", [{"x-message-ttl": 5}, {"x-dead-letter-routing-key": "elsewhere"}, {}])
def test_a_delay_queue_of_another_kind(rqtool: Program, vhost: Vhost, wrong: dict[str, str | int]) -> None:
    """One that would lose tasks, or not send them home in time, is refused."""
    [queue] = route("task_queue", 1).queues
    arguments = sibling_arguments(queue, None) | wrong
    if not wrong:
        del arguments["x-dead-letter-strategy"]
    vhost.declare(queue.name, **arguments)
    ended = rqtool("send", "--delay", "1s", "x")
    assert ended.code == 78, ended
    assert "Queue 'task_queue.delay.0.1'" in ended.stderr
    assert "Delete it when it is empty" in ended.stderr
    assert vhost.ready(queue.name) == 0


@pytest.mark.usefixtures("old_delays")
def test_drain_waits_for_what_comes_soon(rqtool: Program, vhost: Vhost) -> None:
    """Within the longest of its retry delays; it says how many come later, and ends in spite of them."""
    rqtool("send", "--delay", "5m", "later", "later still")
    rqtool("send", "--delay", "6s", "soon")
    drained = rqtool("work", "--drain", "--", "cat")
    assert (drained.code, drained.stdout.count("Received 'soon'")) == (0, 1), drained
    assert "waiting for 1 task sent for later" in drained.stderr
    assert "2 tasks of 'task_queue' are delayed for longer" in drained.stderr
    rqtool("send", "--delay", "1m", "soon")
    hasty = rqtool("work", "--drain", "--retry-delays", "1s", "--", "cat")
    assert (hasty.code, hasty.stdout) == (0, ""), hasty
    assert "3 tasks of 'task_queue' are delayed for longer" in hasty.stderr


@pytest.mark.usefixtures("old_delays")
def test_queues_counts_what_waits(rqtool: Program, vhost: Vhost) -> None:
    """With NAME, whether it is asked for or not; the delay queues are hidden while they are empty."""
    rqtool("send", "--delay", "5m", "a", "b")
    for names in ([], ["task_queue"]):
        eventually(partial(counts_two, rqtool, names), every=0.5)
    # Those that have not reported yet are shown: they may hold something.
    eventually(lambda: ".delay.0." not in rqtool("queues").stdout, every=0.5)
    listed = rqtool("queues").stdout
    assert "task_queue.delay.1.4\t2\t" in listed
    assert "\tok\tempty, 2 wait for their time" in listed


def counts_two(rqtool: Program, names: list[str]) -> bool:
    found = json.loads(rqtool("queues", "--json", *names).stdout)
    return any(queue["name"] == "task_queue" and queue["messages_waiting"] == 2 for queue in found)
