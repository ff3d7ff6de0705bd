"""`rqtool send` against a real broker: what goes in is what is in the queue."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from tests.proxy import Proxy
from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually, lines, throughout

SOON_FULL: dict[str, str | int] = {"x-max-length": 3, "x-overflow": "reject-publish"}


def test_arguments_are_tasks(rqtool: Program, vhost: Vhost) -> None:
    """Each argument is one task, in order, and is printed as the tutorial prints it."""
    ended = rqtool("send", "first.", "", "ünï → ☃", "--", "-q")

    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout == " [x] Sent 'first.'\n [x] Sent ''\n [x] Sent 'ünï → ☃'\n [x] Sent '-q'\n"
    assert [b"first.", b"", "ünï → ☃".encode(), b"-q"] == vhost.bodies()


def test_every_message_is_persistent_and_has_an_identity(rqtool: Program, vhost: Vhost) -> None:
    """Delivery mode 2, an id of its own, a timestamp, and whose program sent it."""
    rqtool("send", "a", "b")

    properties = [p for p, _ in vhost.take_all()]
    assert [p.delivery_mode for p in properties] == [2, 2]
    assert [p.app_id for p in properties] == ["rqtool", "rqtool"]
    assert len({uuid.UUID(p.message_id) for p in properties}) == 2
    assert all(p.timestamp > 1_700_000_000 for p in properties)


def test_properties_as_asked_for(rqtool: Program, vhost: Vhost) -> None:
    """Headers, content type, priority, time to live and transience arrive as the flags say."""
    flags = ["--header", "a=1=2", "--header", "b=", "--content-type", "text/plain", "--priority", "7", "--ttl", "10m"]
    ended = rqtool("send", "x", *flags, "--transient")

    assert ended.code == 0
    [(p, _)] = vhost.take_all()
    assert (
        p.headers, p.content_type, p.priority, p.expiration, p.delivery_mode,
    ) == ({"a": "1=2", "b": ""}, "text/plain", 7, "600000", 1)  # fmt: skip


@pytest.mark.parametrize("guarantee", ["confirm", "tx", "none"])
def test_a_stream_of_lines(rqtool: Program, vhost: Vhost, guarantee: str) -> None:
    """Lines end at \\n or \\r\\n, empty ones are no task, the last needs no end; the summary says what is confirmed."""
    expected = [f"line {n}".encode() for n in range(2500)]
    ended = rqtool(
        "send",
        "--guarantee",
        guarantee,
        input=b"\n\n" + b"\r\n".join(expected[:9]) + b"\n\n" + b"\n".join(expected[9:]),
    )

    how = "not confirmed: --guarantee none" if guarantee == "none" else "all confirmed"
    assert (0, f" [x] Sent 2,500 tasks to 'task_queue' ({how})\n") == (
        ended.code,
        re.sub(r", [\d,]+/s", "", ended.stdout),  # it is said where it took more than a second
    )
    assert expected == vhost.bodies()


def test_a_file_and_a_beginning_left_out(rqtool: Program, vhost: Vhost, tmp_path: Path) -> None:
    """--from reads a file, --skip leaves out its first tasks."""
    (tmp_path / "list.txt").write_bytes(lines(b"a", b"b", b"c"))

    assert rqtool("send", "--from", "list.txt", "--skip", "2").code == 0
    assert vhost.bodies() == [b"c"]


def test_null_and_whole(rqtool: Program, vhost: Vhost) -> None:
    """-0 cuts at NUL alone; --whole sends every byte as one task, an empty input too."""
    rqtool("send", "-0", input=b"a\nb\0\0c\r\n\0")
    rqtool("send", "--whole", input=b"\0\1binary\n\n\xff")
    rqtool("send", "--whole", input=b"")

    assert vhost.bodies() == [b"a\nb", b"c\r\n", b"\0\1binary\n\n\xff", b""]


def test_five_megabytes(rqtool: Program, vhost: Vhost) -> None:
    """A body of 5 MB arrives byte for byte."""
    body = bytes(range(256)) * 20_000

    assert rqtool("send", "--whole", "--from", "-", input=body).code == 0
    assert [body] == vhost.bodies()


def test_lines_of_an_open_pipe_are_sent_as_they_come(rqtool: Program, vhost: Vhost) -> None:
    """Nobody waits for a buffer to fill, with any guarantee."""
    for guarantee in ("confirm", "tx", "none"):
        vhost.declare(guarantee)
        running = rqtool.start("send", "-q", guarantee, "--guarantee", guarantee, stdin=subprocess.PIPE)
        for count in (1, 2, 3):
            running.write(b"one more\n")
            eventually(lambda count=count, queue=guarantee: vhost.ready(queue) == count)  # type: ignore[misc]
        running.close_input()
        assert running.wait().code == 0


def test_json(rqtool: Program) -> None:
    """--json prints the result as one object and nothing else."""
    ended = rqtool("send", "--json", input=lines(b"a", b"b"))

    result = json.loads(ended.stdout)
    expected = {"queue": "task_queue", "sent": 2, "confirmed": 2, "unconfirmed": 0, "resume_at": 2, "problem": None}
    assert {key: result[key] for key in expected} == expected


@pytest.mark.parametrize("guarantee", ["confirm", "tx", "none"])
def test_ids_join_what_was_sent_with_what_workers_do(rqtool: Program, vhost: Vhost, guarantee: str) -> None:
    """--ids prints the ids of messages and events in the order of the tasks, and nothing else."""
    bodies = [f"task {n}".encode() for n in range(400)]
    sent = rqtool("send", "--ids", "--guarantee", guarantee, input=lines(*bodies))
    named = rqtool("send", "--ids", "--json", "--quiet", "a" * 200, os.fsdecode(b"\xff"))

    assert (sent.code, sent.stderr) == (named.code, named.stderr) == (0, "")
    *tasks, result = map(json.loads, named.stdout.splitlines())
    assert result["sent"] == 2
    assert [task["task"] for task in tasks] == ["a" * 100, "\ufffd"]
    ids = [*sent.stdout.splitlines(), *(task["id"] for task in tasks)]
    worked = rqtool("work", "--json", "--max-tasks", "402", "--call", "builtins:len")
    events = [json.loads(line) for line in worked.stdout.splitlines()]
    done = [event for event in events if event["event"] == "done"]
    assert [event["id"] for event in done] == ids
    assert [event["task"] for event in done[:400]] == [body.decode() for body in bodies]
    assert [{"id": event["id"], "task": event["task"]} for event in done[400:]] == tasks


def test_ids_of_what_is_confirmed(rqtool: Program, vhost: Vhost) -> None:
    """A task that the queue does not take has none."""
    vhost.declare("task_queue", **SOON_FULL)
    ended = rqtool("send", "--ids", "--give-up", "1s", "a", "b", "c", "d", "e")
    assert ended.code == 1
    assert ended.stdout.splitlines() == [properties.message_id for properties, _ in vhost.take_all()]
    assert len(ended.stdout.splitlines()) == 3


def test_ids_that_nobody_reads(rqtool: Program, vhost: Vhost) -> None:
    """They stop the sending, and not the heartbeats: when they are read, all goes on, and nothing was sent twice."""
    tasks = rqtool.cwd / "tasks"
    tasks.write_bytes(lines(*[b"%d" % n for n in range(20_000)]))
    url = f"{vhost.url}?heartbeat=2"
    sender = subprocess.Popen(
        [*PYTHON, "send", "--url", url, "--ids", "--from", tasks], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=clean_environment(),
    )  # fmt: skip
    try:
        eventually(lambda: vhost.ready() > 1000)
        throughout(lambda: vhost.ready() < 20_000, 9)
        out, err = sender.communicate(timeout=30)
    finally:
        sender.kill()
        sender.wait()
    assert (sender.returncode, err) == (0, b"")
    assert (len(set(out.split())), vhost.ready()) == (20_000, 20_000)


def test_no_input_is_no_error(rqtool: Program, vhost: Vhost) -> None:
    """An empty list of tasks is done at once, and the queue is there for the workers."""
    ended = rqtool("send")

    assert (ended.code, ended.stdout) == (0, " [x] Sent 0 tasks to 'task_queue' (all confirmed)\n")
    assert vhost.ready() == 0


def test_nothing_but_skipped_tasks(rqtool: Program, vhost: Vhost) -> None:
    """No error, but said: the number or the input may be the wrong one."""
    loud, quiet = (rqtool("send", "--skip", "3", *more, input=b"a\nb\n") for more in ([], ["--quiet"]))
    assert loud.stderr == "rqtool: --skip 3 leaves nothing to send: the input has no more tasks than that\n"
    assert (loud.code, quiet.code, quiet.stderr) == (0, 0, "")
    assert rqtool("send", "--skip", "1", input=b"a\nb\n").stderr == ""
    assert vhost.bodies() == [b"b"]


def test_quorum_queue_with_its_dead_queue(rqtool: Program, vhost: Vhost) -> None:
    """--type quorum declares what keeps every task: limits that lead somewhere, nothing that drops."""
    assert rqtool("send", "-q", "safe", "--type", "quorum", "x").code == 0

    arguments = vhost.api("GET", f"/api/queues/{vhost.path}/safe")["arguments"]
    assert arguments == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "safe.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": 100_000,
    }
    assert vhost.api("GET", f"/api/queues/{vhost.path}/safe.dead")["arguments"] == {
        "x-queue-type": "quorum",
        "x-delivery-limit": 100_000,
    }
    assert vhost.bodies("safe") == [b"x"]


def test_a_task_that_no_queue_takes_is_an_error(rqtool: Program, vhost: Vhost) -> None:
    """The queue is deleted under a running sender: the next task comes back, is not counted, and goes to --unsent."""
    running = rqtool.start("send", "--unsent", "rest", stdin=subprocess.PIPE)
    running.write(b"before\n")
    eventually(lambda: vhost.exists("task_queue") and vhost.ready() == 1)
    with vhost.channel() as channel:
        channel.queue_delete("task_queue")
    running.write(b"after\n")
    running.close_input()
    ended = running.wait()

    assert ended.code == 1
    assert "no queue took it" in ended.stderr
    assert "1 task confirmed, 1 not" in ended.stderr
    assert (rqtool.cwd / "rest").read_bytes() == b"after\n"


def test_a_full_queue_is_waited_for_and_then_reported(rqtool: Program, vhost: Vhost) -> None:
    """Nacks of a full queue (reject-publish) are tried again, and never counted as sent."""
    vhost.declare("task_queue", **SOON_FULL)
    tasks = [f"{n}".encode() for n in range(10)]
    ended = rqtool("send", "--give-up", "2s", "--unsent", "rest", input=lines(*tasks))

    kept, unsent = vhost.bodies(), (rqtool.cwd / "rest").read_bytes().splitlines()
    assert ended.code == 1
    assert "the queue is full" in ended.stderr
    assert f"{len(kept)} tasks confirmed, {len(unsent)} not" in ended.stderr
    assert tasks == sorted(kept + unsent)
    assert unsent == sorted(unsent)


def test_what_is_unsent_is_read_as_it_was_written(rqtool: Program, vhost: Vhost) -> None:
    """The advice names --null: without it the whole file would be one task."""
    vhost.declare("task_queue", **SOON_FULL)
    ended = rqtool("send", "-0", "--give-up", "1s", "--unsent", "rest", input=b"a\0b\0c\0d\0e\0")
    assert ended.stderr.endswith(" The rest is in rest: send it with --from rest --null.\n")
    assert (rqtool.cwd / "rest").read_bytes().count(b"\0") == 2


@pytest.mark.parametrize("count", [10, 5000])
def test_a_file_of_what_is_unsent_that_cannot_be_written(rqtool: Program, vhost: Vhost, count: int) -> None:
    """A full disk behind --unsent, at the first byte or later: that is said, and what is confirmed and how to go on."""
    vhost.declare("task_queue", **SOON_FULL)
    tasks = [f"task {n}".encode() for n in range(count)]
    (rqtool.cwd / "tasks").write_bytes(lines(*tasks))
    send = shlex.join([*PYTHON, "send", "--give-up", "3s", "--unsent", "rest", "--from", "tasks"])
    limit = 0 if count == 10 else 8
    ended = subprocess.run(
        ["sh", "-c", f"ulimit -f {limit}; exec {send}"],
        env=clean_environment() | rqtool.environment, cwd=rqtool.cwd, capture_output=True, text=True, timeout=60,
    )  # fmt: skip

    kept = vhost.bodies()
    assert (ended.returncode, ended.stdout) == (1, "")
    said = ended.stderr.splitlines()
    assert len([line for line in said if line.startswith("rqtool: rest can't be written: file too large. ")]) == 1
    assert f"{len(kept)} tasks confirmed, " in said[-1]
    assert said[-1].endswith(f"resume with --skip {len(kept)}.")
    assert kept == tasks[: len(kept)]
    assert not (rqtool.cwd / "rest").exists()


def test_a_full_queue_that_empties(rqtool: Program, vhost: Vhost) -> None:
    """When a worker makes room, the nacked tasks get in by themselves."""
    vhost.declare("task_queue", **SOON_FULL)
    tasks = [f"{n}".encode() for n in range(20)]
    running = rqtool.start("send", stdin=subprocess.PIPE)
    running.write(lines(*tasks))
    running.close_input()
    taken: list[bytes] = []

    def drained() -> bool:
        taken.extend(vhost.bodies())
        return running.process.poll() is not None

    eventually(lambda: vhost.exists("task_queue"))
    eventually(drained)
    taken += vhost.bodies()
    assert running.wait().code == 0
    assert tasks == sorted(taken, key=int)


def test_too_large_for_the_broker(rqtool: Program, vhost: Vhost) -> None:
    """What the broker will not take is named, goes to --unsent, and stands in nobody's way."""
    version = vhost.api("GET", "/api/overview")["rabbitmq_version"]
    size = (16 if int(version.split(".")[0]) >= 4 else 128) * 1024 * 1024 + 1
    source = rqtool.cwd / "big"
    source.write_bytes(lines(b"small 1", b"x" * size, b"small 2"))
    ended = rqtool("send", "--from", "big", "--unsent", "rest", seconds=150)

    assert ended.code == 1
    assert f"task 2 was not taken: it has {size:,} bytes and the broker takes {size - 1:,}" in ended.stderr
    assert "2 tasks confirmed, 1 not" in ended.stderr
    assert sorted(set(vhost.bodies())) == [b"small 1", b"small 2"]
    assert size + 1 == (rqtool.cwd / "rest").stat().st_size


def test_ctrl_c_ends_a_stream_with_an_exact_account(rqtool: Program, vhost: Vhost) -> None:
    """The first signal: what was read is confirmed, the report says where to go on."""
    running = rqtool.start("send", stdin=subprocess.PIPE)
    running.write(lines(b"a", b"b", b"c"))
    eventually(lambda: vhost.exists("task_queue") and vhost.ready() == 3)
    running.signal(2)
    ended = running.wait()

    assert ended.code == 1
    assert "stopped before the end of the input; 3 tasks confirmed" in ended.stderr
    assert "resume with --skip 3" in ended.stderr
    assert vhost.bodies() == [b"a", b"b", b"c"]


@pytest.mark.parametrize("end", ["input", "Ctrl-C"])
def test_the_end_comes_while_there_is_no_connection(rqtool: Program, vhost: Vhost, end: str) -> None:
    """All is confirmed by then: nothing is left to connect for, and nothing has failed."""
    proxy = Proxy(vhost.node.amqp_port)
    try:
        url = {"RQTOOL_URL": vhost.url_at(proxy.port)}
        running = rqtool.start("send", "--ids", "--give-up", "2m", stdin=subprocess.PIPE, env=url)
        running.write(lines(b"a", b"b"))
        eventually(lambda: len(running.stdout.splitlines()) == 2)
        proxy.cut(refuse=True)
        eventually(lambda: "connection lost" in running.stderr)
        if end == "input":
            running.close_input()
            ended = running.wait(60)
            assert ended.code == 0
        else:
            running.signal(signal.SIGINT)
            ended = running.wait(60)
            assert ended.code == 1
            assert "stopped before the end of the input; 2 tasks confirmed" in ended.stderr
    finally:
        proxy.close()
    assert vhost.bodies() == [b"a", b"b"]


def test_an_account_that_no_late_confirm_changes(rqtool: Program, vhost: Vhost) -> None:
    """The second signal settles it: what the broker confirms while the sender leaves is in --unsent, and counts so."""
    proxy = Proxy(vhost.node.amqp_port)
    try:
        url = {"RQTOOL_URL": vhost.url_at(proxy.port)}
        running = rqtool.start("send", "--ids", "--unsent", "rest", stdin=subprocess.PIPE, env=url)
        running.write(b"a\n")
        eventually(lambda: len(running.stdout.splitlines()) == 1)
        proxy.stall("to_client")
        running.write(lines(b"b", b"c"))
        eventually(lambda: vhost.ready() == 3)
        running.signal(signal.SIGINT)
        running.says("a second signal leaves")
        running.signal(signal.SIGINT)
        eventually((rqtool.cwd / "rest").exists)
        proxy.mend()
        ended = running.wait()
    finally:
        proxy.close()
    assert ended.code == 130
    assert "1 task confirmed, 2 not" in ended.stderr
    assert len(ended.stdout.splitlines()) == 1
    assert (rqtool.cwd / "rest").read_bytes() == lines(b"b", b"c")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_second_signal_while_the_first_one_is_reported(rqtool: Program, number: int) -> None:
    """Nothing is left to stop: the report is written all the same."""
    settings = "import os; from rqtool.send.report import Report; error = Report.error"
    settings += f"; Report.error = lambda *report: (os.kill(os.getpid(), {number:d}), error(*report))[1]"
    running = rqtool.tuned(settings).start("send", "--ids", stdin=subprocess.PIPE)
    running.write(b"a\n")
    eventually(lambda: running.stdout.count("\n") == 1)
    running.signal(number)
    ended = running.wait()

    assert ended.code == 1
    assert "stopped before the end of the input; 1 task confirmed" in ended.stderr


def test_a_second_signal_ends_a_report_that_nobody_reads(rqtool: Program, vhost: Vhost) -> None:
    """It has a moment: then the run ends with 128 + 15."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    process = subprocess.Popen(
        [*PYTHON, "send", "--json"],
        env=clean_environment() | rqtool.environment, stdin=subprocess.PIPE, stdout=writer,
    )  # fmt: skip
    try:
        assert process.stdin is not None
        process.stdin.write(b"a\n")
        process.stdin.flush()
        eventually(lambda: vhost.ready() == 1)

        def has_ended() -> bool:
            process.terminate()
            return process.poll() is not None

        eventually(has_ended)
        assert process.returncode == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
        os.close(reader)
        os.close(writer)


@pytest.mark.parametrize("guarantee", ["confirm", "tx"])
def test_ctrl_c_in_the_middle_of_a_file(rqtool: Program, vhost: Vhost, guarantee: str) -> None:
    """What was read ahead and not sent is not called sent: the report's --skip and --unsent are exact."""
    tasks = [f"{n}".encode() for n in range(40_000)]  # one chunk: all of it is read before the signal
    (rqtool.cwd / "input").write_bytes(lines(*tasks))
    running = rqtool.start("send", "--from", "input", "--guarantee", guarantee, "--unsent", "rest")
    eventually(lambda: vhost.ready() > 0)
    running.signal(2)
    ended = running.wait()

    sent, rest = vhost.bodies(), (rqtool.cwd / "rest").read_bytes().splitlines()
    assert ended.code == 1
    assert f"stopped before the end of the input; {len(sent):,} tasks confirmed" in ended.stderr
    assert 0 < len(sent) < len(tasks)
    assert tasks == sent + rest


def test_output_that_cannot_be_written_sends_nothing_twice(rqtool: Program, vhost: Vhost) -> None:
    """A full disk behind stdout is told at the end; it is no news of the broker's."""
    with open("/dev/full", "wb") as full:
        process = subprocess.run(
            [*PYTHON, "send", "a", "b", "c"],
            env=clean_environment() | rqtool.environment, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30,
        )  # fmt: skip

    assert process.returncode == 1
    assert "the output can't be written" in process.stderr
    assert "lost" not in process.stderr
    assert vhost.bodies() == [b"a", b"b", b"c"]


def test_what_the_broker_refuses_does_not_loop(rqtool: Program, vhost: Vhost) -> None:
    """A property that the broker takes for an error ends it at once, with its words."""
    ended = rqtool("send", "x", "--ttl", "99999999h")

    assert ended.code == 1
    assert ended.stderr.startswith("rqtool: the broker refuses a task: ")
    assert len(ended.stderr.splitlines()) == 1
