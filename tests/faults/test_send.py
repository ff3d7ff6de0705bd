"""What `send` called confirmed is there, whatever happened to the broker and to the line while it sent."""

from __future__ import annotations

import json
import signal
import subprocess
from contextlib import ExitStack

import pytest

from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from tests.faults.conftest import WINDOW, Arena, settle_account
from tests.tools import Ended, Running, eventually, lines

KINDS = ["classic", "quorum"]
each_kind = pytest.mark.parametrize("kind", KINDS)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def unsent(arena: Arena) -> list[bytes]:
    return (arena.rqtool.cwd / "rest").read_bytes().splitlines()


def confirmed(tasks: list[bytes], ended: Ended, rest: list[bytes]) -> set[bytes]:
    """What the program calls confirmed: all but --unsent, and the figure must agree."""
    assert json.loads(ended.stdout)["confirmed"] == len(tasks) - len(rest)
    return set(tasks) - set(rest)


def start(arena: Arena, *options: str) -> Running:
    return arena.rqtool.start("send", "-q", "q", "--json", "--unsent", "rest", *options, stdin=subprocess.PIPE)


@pytest.mark.timeout(400)
@each_kind
def test_three_crashes(arena: Arena, kind: str) -> None:
    """300,000 lines; the node that leads the queue is SIGKILLed three times and comes back: exit 0, nothing lost, and
    each crash costs at most one window of duplicates.
    """
    tasks = numbered(300_000)
    arena.create("q", kind)
    sender = start(arena, "--give-up", "120s")
    for crash in range(3):
        sender.write(lines(*tasks[crash * 75_000 : (crash + 1) * 75_000]))
        eventually(lambda crash=crash: arena.vhost.ready("q") > crash * 75_000 + 50_000, 60)  # type: ignore[misc]
        arena.kill(arena.leader("q"))
        arena.restart()
    sender.write(lines(*tasks[225_000:]))
    sender.close_input()
    ended = sender.wait(180)

    assert ended.code == 0, ended.stderr
    assert confirmed(tasks, ended, unsent(arena)) == set(tasks)
    duplicates = settle_account(tasks, queued=arena.vhost.bodies("q"), most_duplicates=3 * WINDOW)
    print(f"{kind}, {len(arena.vhost.nodes)} nodes: 300,000 lines, 3 crashes, 0 lost, {duplicates} duplicates")


@each_kind
def test_cut_between_publish_and_confirm(arena: Arena, kind: str) -> None:
    """The tasks arrive, their confirms don't, the line breaks: they are sent again, at most a window of them."""
    tasks = numbered(5_000)
    arena.create("q", kind)
    with arena.proxy() as proxy:
        sender = start(arena)
        sender.write(lines(*tasks[:100]))
        eventually(lambda: arena.vhost.ready("q") == 100)
        proxy.stall("to_client")
        sender.write(lines(*tasks[100:]))
        sender.close_input()
        eventually(lambda: arena.vhost.ready("q") == 5_000)
        proxy.mend_after_cut()
        ended = sender.wait()

    assert ended.code == 0, ended.stderr
    assert ended.stderr.count("connection lost") == 1
    assert ended.stderr.count("connected again") == 1
    assert settle_account(tasks, queued=arena.vhost.bodies("q"), most_duplicates=4_900) > 0


@pytest.mark.parametrize("directions", [(), ("to_client",), ("to_broker",)], ids=["both", "to_client", "to_broker"])
def test_a_line_that_goes_dead(arena: Arena, directions: tuple[str, ...]) -> None:
    """A black hole, in one direction or both: noticed without any sign from the network, and nothing is lost."""
    tasks = numbered(1_000)
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        sender = start(arena, "--give-up", "60s")
        sender.write(lines(*tasks[:500]))
        eventually(lambda: arena.vhost.ready("q") == 500)
        proxy.stall(*directions)  # type: ignore[arg-type]
        sender.write(lines(*tasks[500:]))
        sender.says("connection lost")
        proxy.mend()
        sender.close_input()
        ended = sender.wait()

    assert ended.code == 0, ended.stderr
    settle_account(tasks, queued=arena.vhost.bodies("q"), most_duplicates=500)


def test_an_idle_line_that_goes_dead(arena: Arena) -> None:
    """Heartbeats notice it where nothing waits for a confirm, and the next task goes over a new connection."""
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        sender = start(arena)
        sender.write(b"1\n")
        eventually(lambda: arena.vhost.ready("q") == 1)
        proxy.stall()
        sender.says("connection lost")
        proxy.mend()
        sender.write(b"2\n")
        sender.close_input()
        assert sender.wait().code == 0
    settle_account([b"1", b"2"], queued=arena.vhost.bodies("q"))


@pytest.mark.parametrize(("piece", "pause"), [(1, 0.0), (2_000, 0.05)], ids=["one byte at a time", "40 kB/s"])
def test_a_poor_line(arena: Arena, piece: int, pause: float) -> None:
    """Slices of one byte, or a trickle: slow, and nothing else; no connection is given up."""
    tasks = [b"%d %s" % (n, b"x" * 200) for n in range(1_000 if pause else 100)]
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        proxy.slow(piece, pause)
        sender = start(arena)
        sender.write(lines(*tasks))
        sender.close_input()
        ended = sender.wait()
        assert proxy.connections == 1
    assert (ended.code, ended.stderr) == (0, "")
    settle_account(tasks, queued=arena.vhost.bodies("q"))


def test_resets_again_and_again(arena: Arena) -> None:
    """Twenty resets while it streams: it goes on each time, and nothing is lost."""
    tasks = numbered(20_000)
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        sender = start(arena, "--give-up", "60s")
        for share in range(20):
            sender.write(lines(*tasks[share * 1_000 : (share + 1) * 1_000]))
            before = proxy.passed["to_broker"]
            eventually(lambda before=before: proxy.passed["to_broker"] > before)  # type: ignore[misc]
            proxy.cut()
        sender.close_input()
        ended = sender.wait()
    assert ended.code == 0, ended.stderr
    settle_account(tasks, queued=arena.vhost.bodies("q"), most_duplicates=20 * WINDOW)


@each_kind
def test_a_frozen_broker(arena: Arena, kind: str) -> None:
    """SIGSTOP: send gives up in time, says what is confirmed, and that is there when the broker wakes up."""
    tasks = numbered(2_000)
    arena.create("q", kind)
    sender = start(arena, "--give-up", "3s")
    sender.write(lines(*tasks[:1_000]))
    eventually(lambda: arena.vhost.ready("q") == 1_000)
    with ExitStack() as frozen:
        for node in arena.broker.running():
            frozen.enter_context(arena.frozen(node))
        sender.write(lines(*tasks[1_000:]))
        sender.close_input()
        ended = sender.wait(90)
    assert ended.code == 1
    rest = unsent(arena)
    assert set(tasks[1_000:]) <= set(rest)
    eventually(lambda: arena.vhost.ready("q") >= 1_000)
    settle_account(confirmed(tasks, ended, rest), queued=arena.vhost.bodies("q"), sent=tasks, most_duplicates=WINDOW)


def test_a_second_ctrl_c_while_nothing_answers(arena: Arena) -> None:
    """The first waits for the confirms that are owed; the second leaves at once, with the same report."""
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        sender = start(arena)
        sender.write(b"1\n")
        eventually(lambda: proxy.confirms == 2)  # the first one is for the look whether the queue is new
        proxy.stall("to_client")
        sender.write(b"2\n")
        eventually(lambda: arena.vhost.ready("q") == 2)
        sender.signal(signal.SIGINT)
        sender.says("a second signal leaves")
        sender.signal(signal.SIGINT)
        ended = sender.wait(20)
    assert ended.code == 130
    assert "1 task confirmed" in ended.stderr
    assert set(unsent(arena)) <= {b"2"}


def test_a_node_that_hangs(arena: Arena) -> None:
    """Two of three addresses take the connection and say nothing: the third one serves, in a few seconds."""
    arena.create("q", "classic")
    with arena.proxy() as silent, arena.proxy() as mute:
        silent.stall()
        mute.stall()
        urls = ",".join(arena.vhost.url_at(port) for port in (silent.port, mute.port, arena.vhost.node.amqp_port))
        for _ in range(3):
            assert arena.rqtool("send", "-q", "q", "x", "--url", urls, seconds=25).code == 0
    assert arena.vhost.ready("q") == 3


def test_no_node_answers(arena: Arena) -> None:
    """One refuses, one hangs: 69 when the patience of one connection is over."""
    with arena.proxy() as silent, arena.proxy() as gone:
        silent.stall()
        gone.cut(refuse=True)
        limits = "&socket_timeout=2&stack_timeout=2"
        urls = ",".join(arena.vhost.url_at(port) + limits for port in (silent.port, gone.port))
        ended = arena.rqtool("send", "x", "--url", urls, seconds=15)
    assert (ended.code, len(ended.stderr.splitlines())) == (69, 1)


@each_kind
def test_an_alarm(arena: Arena, kind: str) -> None:
    """Memory alarm: send stops and says so, for longer than --give-up; workers still finish tasks. When it is over,
    everything gets in.
    """
    before, after = numbered(20), [b"after %d" % n for n in range(20)]
    arena.create("q", kind)
    assert arena.rqtool("send", "-q", "q", input=lines(*before)).code == 0
    sender = start(arena, "--give-up", "2s")
    raise_alarm(arena, "0.000001")
    try:
        sender.write(lines(*after))
        sender.says("takes no tasks; waiting")
        script = 'printf "%s\\n" "$1" >> done'
        worked = arena.rqtool("work", "-q", "q", "--max-tasks", "20", "--", "sh", "-c", script, "sh", "{}")
        assert worked.code == 0
        assert sender.process.poll() is None
    finally:
        raise_alarm(arena, "0.8")
    sender.says("takes tasks again")
    sender.close_input()
    assert sender.wait().code == 0
    completed = (arena.rqtool.cwd / "done").read_bytes().splitlines()
    settle_account([*before, *after], completed=completed, queued=arena.vhost.bodies("q"))


@each_kind
def test_an_alarm_before_it_begins(arena: Arena, kind: str) -> None:
    """The reason is said at once, and what was to be sent gets in when it is over."""
    arena.create("q", kind)
    raise_alarm(arena, "0.000001")
    try:
        sender = arena.rqtool.start("send", "-q", "q", "x")
        sender.says("takes no tasks; waiting")
        assert sender.process.poll() is None
    finally:
        raise_alarm(arena, "0.8")
    assert sender.wait().code == 0
    settle_account([b"x"], queued=arena.vhost.bodies("q"))


def test_ctrl_c_during_an_alarm(arena: Arena) -> None:
    """Nothing hangs on a broker that does not read: two signals, and the report."""
    arena.create("q", "classic")
    sender = start(arena)
    sender.write(b"0\n")
    eventually(lambda: arena.vhost.ready("q") == 1)  # it has connected
    raise_alarm(arena, "0.000001")
    try:
        sender.write(b"1\n2\n")
        sender.says("takes no tasks; waiting")
        sender.signal(signal.SIGINT)
        sender.says("a second signal leaves")
        sender.signal(signal.SIGINT)
        ended = sender.wait(15)
    finally:
        raise_alarm(arena, "0.8")
    assert ended.code == 130
    assert confirmed([b"0", b"1", b"2"], ended, unsent(arena)) <= {b"0"}


def raise_alarm(arena: Arena, fraction: str) -> None:
    """Let the memory that the broker may use be this fraction of the machine's: next to none is an alarm."""
    for node in arena.broker.running():
        rabbitmqctl(node, "set_vm_memory_high_watermark", fraction)


@each_kind
def test_the_sender_is_killed(arena: Arena, kind: str) -> None:
    """SIGKILL of send: what it had printed as sent is there."""
    arena.create("q", kind)
    tasks = [f"task {n}" for n in range(3_000)]
    sender = arena.rqtool.start("send", "-q", "q", *tasks)
    eventually(lambda: sender.stdout.count("Sent") > 500)
    sender.kill()
    said = {line.split("'")[1].encode() for line in sender.stdout.splitlines() if line.endswith("'")}
    settle_account(said, queued=arena.vhost.bodies("q"), sent=[task.encode() for task in tasks])


def test_the_queue_is_gone_after_a_crash(arena: Arena) -> None:
    """A queue that went while there was no connection took confirmed tasks along: never a success."""
    arena.create("q", "classic")
    with arena.proxy() as proxy:
        sender = start(arena)
        sender.write(b"1\n2\n")
        eventually(lambda: arena.vhost.ready("q") == 2)
        proxy.cut(refuse=True)
        sender.says("connection lost")
        with arena.vhost.channel() as channel:
            channel.queue_delete("q")
        proxy.mend()
        sender.write(b"3\n")
        sender.close_input()
        ended = sender.wait()
    assert ended.code == 1
    assert "is gone" in ended.stderr
