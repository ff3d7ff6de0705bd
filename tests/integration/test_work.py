"""`rqtool work` against a real broker: an ack after the work, never before; nothing lost, nothing done twice."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pika
import pytest

from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually, is_alive, lines

LOG = ["sh", "-c", 'b=$(cat); echo "$b" >> log']
HOLD = ["sh", "-c", 'b=$(cat); echo "begin $b" >> log; while [ ! -e go ]; do sleep 0.05; done; echo "end $b" >> log']


def test_the_tutorials_lines_and_dots(rqtool: Program, vhost: Vhost) -> None:
    """Without a command: a second per dot, and the tutorial's words."""
    vhost.publish(b"no dots", b"one.")
    ended = rqtool("work", "--max-tasks", "2")

    assert ended.code == 0
    said = ["Received 'no dots'", "Done 'no dots'", "Received 'one.'", "Done 'one.'"]
    assert ended.stdout == "".join(f" [x] {line}\n" for line in said)
    assert ended.stderr.startswith("rqtool: no command: pretending, one second for each dot in a task, and ")
    assert re.fullmatch(r"rqtool: 2 done in [\d.]+s( \([\d.]+/s\))?\n", ended.stderr.split("\n", 1)[1])
    assert vhost.figures() == (0, 0)
    vhost.publish(b"another")
    assert rqtool("work", "--max-tasks", "1", "--quiet").stderr == ""


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_that_the_worker_made(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """The name may be mistyped: the worker says once that the queue is new; --quiet leaves that out."""
    work = ("work", "--type", kind, "--drain")
    assert rqtool(*work, "-q", "taks").stderr.startswith("rqtool: queue 'taks' did not exist; made it\nrqtool: 0 done")
    vhost.api("DELETE", f"/api/queues/{vhost.path}/taks.dead")
    assert rqtool(*work, "-q", "taks").stderr.startswith("rqtool: 0 done")
    assert rqtool(*work, "-q", "quiet", "--quiet").stderr == ""


def test_a_command_gets_body_and_metadata(rqtool: Program, vhost: Vhost) -> None:
    """Body on stdin and for {}, what is known of the message in the environment, no shell in between."""
    rqtool("send", "$(touch pwned) 'x'", "--header", "Trace-Id=7")
    told = '"$RQTOOL_TASK_QUEUE" "$RQTOOL_TASK_ATTEMPT" "$RQTOOL_TASK_REDELIVERED" "$RQTOOL_TASK_HEADER_TRACE_ID"'
    script = f'cat; printf "|%s|%s|%s|%s|%s" "$1" {told}'
    ended = rqtool("work", "--quiet", "--max-tasks", "1", "--", "sh", "-c", script, "sh", "{}")

    assert (ended.code, ended.stdout, ended.stderr) == (0, "$(touch pwned) 'x'|$(touch pwned) 'x'|task_queue|1|0|7", "")
    assert not (rqtool.cwd / "pwned").exists()


def test_hostile_tasks_are_data(rqtool: Program, vhost: Vhost) -> None:
    """In every form, under another placeholder too, with jobs by the core: each argument arrives byte for byte."""
    bodies = [b"$(touch x)", b"; touch x", b"'\"`touch x`", b"a\nb", b"-rf", b"\xff\xfe"]
    vhost.publish(*bodies, b"\0", b"x" * 200_000)
    command = ["sh", "-c", 'printf "%s\\0" "$@" > seen/$$', "sh", "@@", "{}", "--in=@@", "@@.bak"]
    seen = rqtool.cwd / "seen"
    seen.mkdir()
    ended = rqtool("work", "--drain", "-j", "50%", "-I", "@@", "--retry-delays", "none", "--", *command)

    assert ended.code == 1
    assert not (rqtool.cwd / "x").exists()
    written = sorted(path.read_bytes() for path in seen.iterdir())
    assert written == sorted(b"%s\0{}\0--in=%s\0%s.bak\0" % (body, body, body) for body in bodies)
    errors = [(properties.headers or {})["x-rqtool-error"] for properties, _ in vhost.take_all("task_queue.dead")]
    assert sorted(error.split(":")[0] for error in errors) == [
        "a NUL byte, which no argument can hold",
        "argument list too long (128 KiB for one argument on Linux)",
    ]


def test_a_command_sends_where_it_says(rqtool: Program, vhost: Vhost) -> None:
    """A command that calls `rqtool send` sends into the queue that its own line names, or the default; not into the
    worker's, where it would feed itself forever.
    """
    vhost.declare("a")
    vhost.publish("first", queue="a")
    ended = rqtool("work", "--queue", "a", "--quiet", "--max-tasks", "1", "--", *PYTHON, "send", "--quiet", "x")

    assert (ended.code, ended.stderr) == (0, "")
    assert (vhost.bodies("task_queue"), vhost.bodies("a")) == ([b"x"], [])


def test_json_events(rqtool: Program, vhost: Vhost) -> None:
    """--json prints events and nothing else on stdout; the command's own output goes to stderr."""
    vhost.publish("x")
    ended = rqtool("work", "--json", "--drain", "--", "echo", "noise")

    events = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(e["event"], e["attempt"]) for e in events] == [("received", 1), ("done", 1)]
    assert events[1]["exit_code"] == 0
    assert "noise" in ended.stderr
    assert "rqtool: 1 done in " in ended.stderr


def test_the_ack_comes_after_the_work(rqtool: Program, vhost: Vhost) -> None:
    """While a task runs it is unacknowledged; what was prefetched beside it too."""
    vhost.publish(b"1", b"2", b"3")
    running = rqtool.start("work", "--prefetch", "2", "--", *HOLD)
    eventually(lambda: rqtool.log() == ["begin 1"])
    eventually(lambda: vhost.figures() == (1, 2))
    (rqtool.cwd / "go").touch()
    eventually(lambda: vhost.figures() == (0, 0))
    running.signal(signal.SIGINT)

    assert running.wait().code == 0
    assert rqtool.log() == ["begin 1", "end 1", "begin 2", "end 2", "begin 3", "end 3"]


def test_jobs_run_side_by_side(rqtool: Program, vhost: Vhost) -> None:
    """-j 3 has three tasks at work, and prefetches three."""
    vhost.publish(*[f"{n}".encode() for n in range(5)])
    running = rqtool.start("work", "-j", "3", "--drain", "--", *HOLD)
    eventually(lambda: len(rqtool.log()) == 3)
    eventually(lambda: vhost.figures() == (2, 3))
    (rqtool.cwd / "go").touch()

    assert running.wait().code == 0
    assert len(rqtool.log()) == 10


@pytest.mark.empty_vhost
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_sigkill_redelivers_everything(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """A worker with ten tasks in its hands is killed: all ten come again, flagged, and every task is worked off."""
    tasks = [f"task {n}".encode() for n in range(25)]
    assert rqtool("send", "--type", kind, input=lines(*tasks)).code == 0
    running = rqtool.start("work", "--prefetch", "10", "--", *HOLD)
    eventually(lambda: rqtool.log() == ["begin task 0"])
    eventually(lambda: vhost.figures() == (15, 10))
    running.kill()
    (rqtool.cwd / "go").touch()  # lets the orphan end

    script = 'echo "$RQTOOL_TASK_REDELIVERED $(cat)" >> second'
    assert rqtool("work", "--drain", "--", "sh", "-c", script).code == 0
    second = [line.split(" ", 1) for line in (rqtool.cwd / "second").read_text().splitlines()]
    assert sorted(tasks) == sorted(body.encode() for _, body in second)
    assert {f"task {n}" for n in range(10)} <= {body for flag, body in second if flag == "1"}


def test_the_first_signal_finishes(rqtool: Program, vhost: Vhost) -> None:
    """SIGTERM: the task at work ends and is acked, the prefetched one goes back, exit code 0."""
    vhost.publish(b"1", b"2")
    running = rqtool.start("work", "--prefetch", "2", "--", *HOLD)
    eventually(lambda: rqtool.log() == ["begin 1"])
    running.signal(signal.SIGTERM)
    eventually(lambda: vhost.figures() == (1, 1))
    (rqtool.cwd / "go").touch()

    assert running.wait().code == 0
    assert rqtool.log() == ["begin 1", "end 1"]
    assert vhost.figures() == (1, 0)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_leaves(rqtool: Program, vhost: Vhost, number: int, code: int) -> None:
    """The command and its children are killed, nothing is acked, the exit code names the signal."""
    vhost.publish(b"1")
    running = rqtool.start("work", "--", "sh", "-c", "sleep 300 & echo $! > child; echo $$ > parent; wait")
    eventually(lambda: (rqtool.cwd / "parent").exists() and (rqtool.cwd / "parent").read_text().strip())
    pids = [int((rqtool.cwd / name).read_text()) for name in ("child", "parent")]
    running.signal(number)
    running.says("a second signal kills it")
    running.signal(number)
    ended = running.wait()

    assert code == ended.code
    assert "the broker delivers 1 unfinished task again" in ended.stderr
    eventually(lambda: not any(is_alive(pid) for pid in pids))
    eventually(lambda: vhost.figures() == (1, 0))


def test_the_second_signal_ends_dots_too(rqtool: Program, vhost: Vhost) -> None:
    """Pretended work holds nobody up."""
    vhost.publish(b"." * 300)
    running = rqtool.start("work")
    running.says("Received")
    running.signal(signal.SIGINT)
    running.says("a second signal kills it")
    running.signal(signal.SIGINT)

    assert running.wait().code == 130
    eventually(lambda: vhost.figures() == (1, 0))


def test_max_tasks(rqtool: Program, vhost: Vhost) -> None:
    """No more than N are begun, and no more than N are taken from the others."""
    vhost.publish(b"1", b"2", b"3")
    assert rqtool("work", "--max-tasks", "2", "-j", "4", "--", *LOG).code == 0

    assert sorted(rqtool.log()) == ["1", "2"]
    assert vhost.bodies() == [b"3"]


@pytest.mark.parametrize("command", [["sh", "-c", "exit 127"], ["./there"]])
def test_a_command_that_cannot_run_burns_nothing(rqtool: Program, vhost: Vhost, command: list[str]) -> None:
    """Exit codes 126 and 127, or a program that vanishes: the task goes back, the worker stops with one line."""
    vhost.publish(b"1", b"2", b"3")
    there = rqtool.cwd / "there"
    there.write_text("#!/nowhere/interpreter\n")
    there.chmod(0o755)
    ended = rqtool("work", "--prefetch", "3", "--", *command)

    assert ended.code == 2
    assert re.search(r"^rqtool: The command can't be run: .*The task is back in the queue", ended.stderr, re.MULTILINE)
    assert sorted(vhost.bodies()) == [b"1", b"2", b"3"]


def test_a_typo_is_noticed_before_anything_is_taken(rqtool: Program, vhost: Vhost) -> None:
    """A command that is not there: usage error, and the queue is untouched."""
    vhost.publish(b"1")
    ended = rqtool("work", "--", "./convrt.sh")

    assert ended.code == 2
    assert ended.stderr.startswith("rqtool: The command can't be run: './convrt.sh' is not there. ")
    assert vhost.bodies() == [b"1"]


def test_heartbeats_go_on(rqtool: Program, vhost: Vhost) -> None:
    """A task of four heartbeats keeps its connection and runs once; so does a pipe that is idle for four."""
    vhost.query = "?heartbeat=5"
    url = {"RQTOOL_URL": vhost.url}
    vhost.declare("idle")
    vhost.publish(b"." * 20)
    sender = rqtool.start("send", "-q", "idle", stdin=subprocess.PIPE, env=url)
    sender.write(b"before\n")
    worker = rqtool.start("work", "--drain", env=url)
    eventually(lambda: vhost.ready("idle") == 1)

    def connections() -> set[str]:
        rows = vhost.api("GET", f"/api/vhosts/{vhost.path}/connections")
        return {row["name"] for row in rows if "rqtool" in str(row.get("client_properties"))}

    eventually(lambda: len(connections()) == 2)
    before = connections()
    worker.says(" [x] Done")
    assert before & connections() == before
    sender.write(b"after\n")
    eventually(lambda: vhost.ready("idle") == 2)
    sender.close_input()

    assert (sender.wait().code, sender.stderr) == (0, "")
    ended = worker.wait()
    assert (ended.code, ended.stdout) == (0, f" [x] Received '{'.' * 20}'\n [x] Done '{'.' * 20}'\n")
    assert "lost" not in ended.stderr


def test_ids_of_others_need_not_be_unique(rqtool: Program, vhost: Vhost) -> None:
    """Four different tasks under one message id, as somebody's program sends them, are four tasks."""
    with vhost.channel() as channel:
        for n in range(4):
            properties = pika.BasicProperties(message_id="job")  # type: ignore[no-untyped-call]
            channel.basic_publish("", "task_queue", f"{n}".encode(), properties)
    assert rqtool("work", "-j", "2", "--drain", "--", *LOG).code == 0

    assert sorted(rqtool.log()) == ["0", "1", "2", "3"]


def test_whoever_reads_the_lines_may_leave(rqtool: Program, vhost: Vhost) -> None:
    """A closed pipe behind stdout ends the worker in order: one line, no traceback, no task in limbo."""
    vhost.publish(b"1.", b"2.", b"3.")
    command = " ".join(PYTHON) + " work --prefetch 3 | head -n 1"
    shell = subprocess.run(
        ["bash", "-c", command],
        env=clean_environment() | rqtool.environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip

    assert shell.stdout == " [x] Received '1.'\n"
    assert "Traceback" not in shell.stderr
    assert len([line for line in shell.stderr.splitlines() if "pretending" not in line]) <= 1
    eventually(lambda: vhost.figures()[1] == 0)
    assert set(vhost.bodies()) <= {b"1.", b"2.", b"3."}
