"""`rqtool work --output`, `--tag` and `--joblog`: what a reader gets, and that no task is done that he has not read."""

from __future__ import annotations

import os
import subprocess
from itertools import pairwise

import pytest

from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually, lines

TASKS = [b"%03d" % n for n in range(60)]
LOUD = ("--", "sh", "-c", 'yes "$1" | head -n 3000; echo "end $1"', "sh", "{}")


@pytest.mark.parametrize("mode", ["line", "group"])
def test_lines_of_jobs_never_mix(rqtool: Program, vhost: Vhost, mode: str) -> None:
    """Each has its tag, in whole lines; a group is whole too. So is the talk of the worker in between."""
    rqtool("send", input=lines(*TASKS))
    ended = rqtool("work", "--drain", "-j", "4", "--output", mode, "--tag", *LOUD)
    assert ended.code == 0
    own = [line for line in ended.stdout.splitlines() if "\t" in line]
    expected = [f"{task}\t{task}" for task in map(bytes.decode, TASKS) for _ in range(3000)]
    expected += [f"{task}\tend {task}" for task in map(bytes.decode, TASKS)]
    assert sorted(own) == sorted(expected)
    talk = [line for line in ended.stdout.splitlines() if "\t" not in line]
    assert all(line.startswith((" [x] Received '", " [x] Done")) for line in talk)
    assert len(talk) == 2 * len(TASKS)
    if mode == "group":
        owners = [line[:3] for line in own]
        assert sum(one != other for one, other in pairwise(owners)) == len(TASKS) - 1


@pytest.mark.parametrize("mode", ["line", "group"])
def test_no_ack_before_the_output_is_handed_on(rqtool: Program, vhost: Vhost, mode: str) -> None:
    """A worker whose output nobody reads is killed: what is not in the pipe by then is done again."""
    rqtool("send", input=lines(*TASKS))
    reader, writer = os.pipe()
    worker = subprocess.Popen(
        [*PYTHON, "work", "--quiet", "-j", "4", "--output", mode, *LOUD],
        stdout=writer, cwd=rqtool.cwd, env=clean_environment(**vhost.environment),
    )  # fmt: skip
    os.close(writer)
    with os.fdopen(reader, "rb") as output:
        figures = [vhost.figures()]

        def stands_still() -> bool:
            figures.append(vhost.figures())
            return figures[0] != figures[-1] and len(set(figures[-20:])) == 1

        eventually(stands_still, every=0.1)
        worker.kill()
        worker.wait()
        seen = {line[4:] for line in output.read().splitlines() if line.startswith(b"end ")}
    eventually(lambda: vhost.figures()[1] == 0)
    assert set(TASKS) - set(vhost.bodies()) <= seen
    assert len(seen) < len(TASKS)


def test_a_reader_that_goes_costs_no_task(rqtool: Program, vhost: Vhost) -> None:
    """It ends the worker, with what the tasks ran, in one line; the tasks are in the queue."""
    rqtool("send", input=lines(*TASKS))
    ended = subprocess.run(
        ["sh", "-c", '"$@" | head -n 1', "sh", *PYTHON, "work", "--quiet", "-j", "4", "--", "yes"],
        capture_output=True, cwd=rqtool.cwd, env=clean_environment(**vhost.environment), timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout == b"y\n"
    assert ended.stderr == b"rqtool: The output can't be written: its reader is gone. Send it elsewhere.\n"
    assert sorted(vhost.bodies()) == TASKS


def test_workers_share_a_job_log(rqtool: Program, vhost: Vhost) -> None:
    """One header, and a line for each attempt: done, failed, tried again, killed, timed out."""
    vhost.publish("0", "3", "9", "sleep")
    script = '[ $1 = 9 ] && kill -9 $$; [ $1 = sleep ] && sleep 60; printf "%s" "$1"; exit $1'
    arguments = ("--drain", "--retry-delays", "100ms", "--timeout", "1s", "--joblog", "log", "--", "sh", "-c", script)
    workers = [rqtool.start("work", "-j", "2", *arguments, "sh", "{}") for _ in range(3)]
    assert {worker.wait().code for worker in workers} <= {0, 1}

    header, *rows = (rqtool.cwd / "log").read_text().splitlines()
    assert header == "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand"
    columns = [row.split("\t") for row in rows]
    ends = sorted((row[8].split()[-1], *map(int, row[4:8])) for row in columns)
    failed = [("3", 1, 1, 3, 0), ("9", 1, 0, 0, 9), ("sleep", 5, 0, -1, 15)]
    assert ends == [("0", 1, 1, 0, 0), *sorted(failed * 2)]
    assert all(1 <= float(row[3]) < 10 for row in columns if row[8].endswith("sleep"))


def test_when_a_task_that_a_signal_ended_began(rqtool: Program, vhost: Vhost) -> None:
    """It is in the job log, though such a task is judged only when it is clear that the signal was for it alone."""
    vhost.publish("task")
    script = "date +%s.%N; kill -TERM $$"
    ended = rqtool("work", "--quiet", "--drain", "--retry-delays", "none", "--joblog", "log", "--", "sh", "-c", script)
    _, row = (rqtool.cwd / "log").read_text().splitlines()
    assert float(row.split("\t")[2]) <= float(ended.stdout)


def test_a_job_log_that_can_not_be_written(rqtool: Program, vhost: Vhost) -> None:
    """One that can't be opened is refused; one that is full stops the worker, and no task is lost or judged."""
    rqtool("send", input=lines(*TASKS))
    refused = rqtool("work", "--joblog", "no/log", "--", "true")
    assert refused.code == 2
    assert "--joblog no/log: it can't be opened: no such file or directory" in refused.stderr

    limited = Program(rqtool.environment, rqtool.cwd, program=("-c", _WITH_A_SMALL_DISK))
    ended = limited("work", "--quiet", "--joblog", "log", "--", "sh", "-c", "echo >> done")
    assert ended.code == 1
    assert ended.stderr.startswith("rqtool: The job log log can't be written: ")
    done = len((rqtool.cwd / "done").read_text().splitlines())
    assert len(vhost.bodies()) == len(TASKS) - done
    assert not vhost.exists("task_queue.dead") or not vhost.bodies("task_queue.dead")


_WITH_A_SMALL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
from rqtool.cli.main import main
sys.exit(main())
"""
