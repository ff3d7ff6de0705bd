"""SIGKILL of the worker, wherever it hurts most: nothing lost, at most one extra copy, and nobody blamed wrongly."""

from __future__ import annotations

import random
import signal
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from rqtool.amqp.headers import ATTEMPTS, ERROR
from rqtool.topology import QueueType
from rqtool.work.poison import DEATHS
from tests.dying_worker import STEPS
from tests.old_queues import declare_all, declare_siblings
from tests.proxy import Proxy
from tests.systemd import Systemd
from tests.tools import Program, Running, Vhost, eventually, lines

KINDS: list[QueueType] = ["classic", "quorum"]
ROOT = Path(__file__).parents[2]
LIMIT = 5
"""How often the broker may get a task back before it drops it."""


def dying(rqtool: Program, step: str, *arguments: str) -> Running:
    """Start a worker that will be killed at the step."""
    program = Program(rqtool.environment | {"PYTHONPATH": str(ROOT)}, rqtool.cwd, ["-m", "tests.dying_worker", step])
    return program.start(*arguments, name=f"dying-{step}")


def all_end(running: Iterable[Running]) -> list[int]:
    return [each.wait().code for each in running]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step_of_a_retry(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """Before the publish, between confirm and ack, after the ack: the task is done, once more at most."""
    for step in STEPS:
        declare_all(vhost, step, kind, "1s")
    command = ["sh", "-c", 'echo "$RQTOOL_TASK_ATTEMPT" >> "$RQTOOL_TASK_QUEUE"; [ "$RQTOOL_TASK_ATTEMPT" = 2 ]']
    assert all_end([rqtool.start("send", "-q", step, "--type", kind, "x") for step in STEPS]) == [0] * 3
    # Longer than a worker lives on after its ack.
    options = ["--retry-delays", "1s", "--", *command]
    assert all_end([dying(rqtool, step, "work", "-q", step, *options) for step in STEPS]) == [-signal.SIGKILL] * 3
    assert [rqtool.log(step) for step in STEPS] == [["1"]] * 3
    assert all_end([rqtool.start("work", "-q", step, "--drain", *options) for step in STEPS]) == [0] * 3

    done = {step: rqtool.log(step).count("2") for step in STEPS}
    assert done == {"publish": 1, "ack": 2, "end": 1}
    assert not any(vhost.ready(f"{step}.dead") for step in STEPS if vhost.exists(f"{step}.dead"))


@pytest.mark.parametrize("kind", KINDS)
def test_killed_at_each_step_of_moving_what_came_back(rqtool: Program, vhost: Vhost, kind: QueueType) -> None:
    """A redelivered task is moved before it is run; whatever step its worker dies at, it is done, once more at most."""
    for step in STEPS:
        declare_all(vhost, step, kind)
    assert all_end([rqtool.start("send", "-q", step, "--type", kind, "x") for step in STEPS]) == [0] * 3
    hold = ["--", "sh", "-c", 'echo held >> "$RQTOOL_TASK_QUEUE"; sleep 300']
    holders = [rqtool.start("work", "-q", step, *hold) for step in STEPS]
    eventually(lambda: all(rqtool.log(step) == ["held"] for step in STEPS))
    for holder in holders:
        holder.kill()
    done = ["--", "sh", "-c", 'echo done >> "$RQTOOL_TASK_QUEUE"']
    assert all_end([dying(rqtool, step, "work", "-q", step, *done) for step in STEPS]) == [-signal.SIGKILL] * 3
    assert all_end([rqtool.start("work", "-q", step, "--drain", *done) for step in STEPS]) == [0] * 3

    counts = {step: rqtool.log(step).count("done") for step in STEPS}
    assert counts["publish"] == 1
    # The copy and the original; and the task may have been at work when its worker died.
    assert set(counts.values()) <= {1, 2}
    assert not any(vhost.ready(f"{step}.dead") for step in STEPS)


KILL_WORKER = 'kill -9 "$(cut -d " " -f 4 "/proc/$PPID/stat")"'
"""The command's parent is the runner, and the parent of that is the worker."""
POISON = f"""
b=$(cat); echo "$b" >> log
[ "$b" != bad ] || {KILL_WORKER}
"""


def poisoned(rqtool: Program, *options: str) -> list[int]:
    """Start workers until one drains the queue; return how they ended."""
    codes: list[int] = []
    command = ["work", *options, "--drain", "--", "sh", "-c", POISON]
    while len(codes) < 10 and (not codes or codes[-1] == -signal.SIGKILL):
        codes.append(rqtool(*command).code)
    return codes


@pytest.mark.parametrize("kind", [*KINDS, None], ids=[*KINDS, "adopted"])
def test_poison(rqtool: Program, vhost: Vhost, kind: QueueType | None) -> None:
    """A task that kills its worker each time ends in the dead queue; those beside it are done, and in order.

    On a quorum queue that somebody else declared RabbitMQ 4 drops what was delivered 20 times.
    """
    # The API knows its uptime to five seconds, and a start of the broker excuses what was copied before.
    eventually(lambda: all(node.get("uptime", 0) > 10_000 for node in vhost.api("GET", "/api/nodes")), every=0.5)
    declare_all(vhost, "task_queue", kind)
    if kind is None:
        vhost.declare("task_queue", **{"x-queue-type": "quorum"})
    good = [f"good {n}" for n in range(60)]
    sent = ["bad", *good]
    assert rqtool("send", *(["--type", kind] if kind else []), *sent).code == 0
    codes = poisoned(rqtool, "--prefetch", "10")

    assert codes == [-signal.SIGKILL] * DEATHS + [1]
    [(properties, body)] = vhost.take_all("task_queue.dead")
    assert body == b"bad"
    headers = properties.headers or {}
    assert f"its worker died, or lost its connection, each time that it ran ({DEATHS} times in a row)" in headers[ERROR]
    assert headers[ATTEMPTS] == DEATHS
    # Each of the others is done; again only where its ack went under with the worker.
    log = rqtool.log()
    assert log.count("bad") == DEATHS
    done = list(dict.fromkeys(line for line in log if line != "bad"))
    assert set(good) == set(done)
    assert len(good) - longest_run_in_order([good.index(name) for name in done]) <= 20, "what was in hand comes later"


def test_a_lost_connection_is_not_held_against_a_task(rqtool: Program, vhost: Vhost, tmp_path: Path) -> None:
    """Who lost its own connection knows why a task has come back: it runs beside others, and is no suspect."""
    declare_all(vhost, "task_queue", "classic")
    vhost.publish("long")
    work = ["work", "--", "sh", "-c", "echo begun >> log; until [ -e go ]; do sleep 0.1; done"]
    killed = rqtool.start(*work)
    eventually(lambda: len(rqtool.log()) == 1)
    killed.kill()
    proxies = [Proxy(vhost.node.amqp_port) for _ in range(2)]
    try:
        workers = []
        for n, line in enumerate(proxies):
            path = tmp_path / f"notify{n}"
            with closing(Systemd(path)) as systemd:
                settings = {"RQTOOL_URL": vhost.url_at(line.port), "NOTIFY_SOCKET": str(path)}
                workers.append(rqtool.start(*work, env=settings))
                systemd.wait_until_ready()  # a worker that is cut off before that ends with 69, as it should
            eventually(lambda: vhost.consumers() == len(workers))
            eventually(lambda: len(rqtool.log()) == 2)
        for line, left in ((proxies[1], 1), (proxies[0], 0)):
            line.cut(refuse=True)
            eventually(lambda left=left: vhost.consumers() == left)  # type: ignore[misc]
        proxies[1].mend()
        eventually(lambda: len(rqtool.log()) == 3)
        eventually(
            lambda: [vhost.figures(queue) for queue in ("task_queue.returned", "task_queue.quarantine")].count((0, 1))
        )
        assert vhost.figures("task_queue.quarantine") == (0, 0)
        (rqtool.cwd / "go").touch()
        eventually(lambda: vhost.figures("task_queue.returned") == (0, 0))
    finally:
        for line in proxies:
            line.close()
    assert vhost.figures("task_queue.dead") == (0, 0)


def longest_run_in_order(numbers: Sequence[int]) -> int:
    """How many at most can be picked that grow from left to right."""
    ends: list[int] = []
    for number in numbers:
        at = bisect_left(ends, number)
        ends[at : at + 1] = [number]
    return len(ends)


def test_poison_among_workers_of_many_jobs(rqtool: Program, vhost: Vhost) -> None:
    """Several tasks that kill their workers, which run many others beside them: only they are given up."""
    declare_siblings(vhost, "task_queue")
    bad = {f"bad {n}" for n in range(3)}
    good = {f"{n}" for n in range(600)}
    tasks = sorted(good | bad, key=lambda task: random.random())
    assert rqtool("send", input=lines(*(task.encode() for task in tasks))).code == 0
    script = f'b=$(cat); case $b in bad*) {KILL_WORKER}; exit;; esac; sleep 0.1; echo "$b" >> log'
    command = ["work", "-j", "25", "--drain", "--quiet", "--", "sh", "-c", script]
    workers = [rqtool.start(*command) for _ in range(2)]
    deaths = 0

    def killed() -> list[int]:
        return [at for at, worker in enumerate(workers) if worker.process.poll() == -signal.SIGKILL]

    def drained() -> bool:
        return all(worker.process.poll() in (0, 1) for worker in workers)

    while not drained():  # both may be killed at the same moment
        for at in killed():
            deaths += 1
            assert deaths <= 10 * len(bad)
            workers[at] = rqtool.start(*command)
        eventually(lambda: killed() or drained())
    assert {body.decode() for body in vhost.bodies("task_queue.dead")} == bad
    assert set(rqtool.log()) == good


def test_more_restarts_than_the_broker_allows(rqtool: Program, vhost: Vhost, scale: int) -> None:
    """Workers with many tasks in hand are killed again and again: no untouched task is given up, none is lost.

    On a quorum queue of rqtool's own, and on one that the broker lets a task come back to LIMIT times, which no
    argument tells: so RabbitMQ 4 does with 20.
    """
    queues = {"own": ["--type", "quorum"], "plain": []}
    declare_all(vhost, "own", "quorum")
    declare_siblings(vhost, "plain")
    vhost.declare("plain", **{"x-queue-type": "quorum"})
    policy = {"pattern": "^plain$", "apply-to": "queues", "definition": {"delivery-limit": LIMIT}}
    vhost.api("PUT", f"/api/policies/{vhost.path}/limit", policy)
    eventually(lambda: vhost.row("plain").get("effective_policy_definition"))
    tasks = [f"{n}" for n in range(100 * scale)]
    given = lines(*(task.encode() for task in tasks))
    for queue, options in queues.items():
        assert rqtool("send", "-q", queue, *options, input=given).code == 0

    def start(queue: str, *options: str, after: str = "") -> Running:
        command = ["--", "sh", "-c", f'b=$(cat); echo "$b" >> {queue}{after}']
        return rqtool.start("work", "-q", queue, *queues[queue], "--prefetch", "100", *options, *command)

    for _ in range((LIMIT + 3) * scale):
        seen = {queue: len(rqtool.log(queue)) for queue in queues}
        workers = [start(queue, after="; sleep 0.2") for queue in queues]
        eventually(lambda seen=seen: all(len(rqtool.log(queue)) > seen[queue] for queue in queues))  # type: ignore[misc]
        for worker in workers:
            worker.kill()
    begun = {queue: Counter(rqtool.log(queue)) for queue in queues}
    drains = {queue: start(queue, "-j", "4", "--drain") for queue in queues}
    for queue, drain in drains.items():
        ended = drain.wait(60)
        assert ended.code == 0, (queue, ended.stderr, begun[queue])
        assert set(tasks) - set(rqtool.log(queue)) == set(), queue
        assert not vhost.exists(f"{queue}.dead") or vhost.bodies(f"{queue}.dead") == []


def test_many_tasks_and_workers_that_die(rqtool: Program, vhost: Vhost) -> None:
    """A third of the attempts fail, four workers, one of them killed after every 50 tasks: all is completed or dead."""
    declare_siblings(vhost, "task_queue", delays="200ms,400ms")
    tasks = [f"{n}" for n in range(2_000)]
    assert rqtool("send", input=lines(*(task.encode() for task in tasks))).code == 0
    script = '[ $(( $$ % 3 )) != 0 ] || exit 1; echo "$1" >> done'
    command = ["work", "-j", "2", "--prefetch", "20", "--retry-delays", "200ms,400ms", "--quiet", "--drain", "--"]
    command += ["sh", "-c", script, "sh", "{}"]
    workers = [rqtool.start(*command) for _ in range(4)]
    deaths = 0
    while any(worker.process.poll() is None for worker in workers):
        victim = random.randrange(4)
        before = len(rqtool.log("done"))
        eventually(lambda before=before: len(rqtool.log("done")) > before + 50 or vhost.figures() == (0, 0))  # type: ignore[misc]
        if vhost.ready() == 0:
            break
        workers[victim].kill()
        deaths += 1
        workers[victim] = rqtool.start(*command)
    codes = [worker.wait().code for worker in workers]

    completed = set(rqtool.log("done"))
    dead = {body.decode() for body in vhost.bodies("task_queue.dead")}
    assert deaths >= 5
    assert set(codes) <= {0, 1}
    assert set(tasks) - completed - dead == set()
    assert (completed | dead) - set(tasks) == set()
    assert vhost.figures() == (0, 0)
