"""Load: senders that offer tasks until each is confirmed, and know of each whether it is."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from tests.soak.broker import Broker
from tests.soak.journal import Journal
from tests.soak.scenario import Kind
from tests.soak.tasks import Task, parse
from tests.tools import Ended, Program, Running

RUN_SECONDS = 180.0
"""For one run of `send`, whatever befalls it: its --give-up and the longest fault are shorter."""
GIVE_UP = "60s"
MOST_ARGUMENTS = 3
_STOPPED = (-signal.SIGINT, -signal.SIGTERM, 128 + signal.SIGINT, 128 + signal.SIGTERM)
AT_ONCE = 10
AGAIN_SECONDS = 0.5
"""Tasks written into a pipe together."""


class Senders:
    """Everything that was offered, how often, and what of it is confirmed."""

    def __init__(self, broker: Broker, folder: Path, journal: Journal) -> None:
        self._broker = broker
        self._folder = folder
        self._journal = journal
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._told: set[int] = set()
        self._frozen: set[int] = set()
        self._closed = False
        self.tasks: dict[str, Task] = {}
        self.offers: Counter[str] = Counter()
        self.confirmed: set[str] = set()

    def send_all(self, name: str, queue: str, kind: Kind, tasks: Sequence[Task], until: float, rate: int = 0) -> None:
        """Offer the tasks again and again until each is confirmed, at latest until the journal's time `until`. `rate`:
        through a pipe, so many a second; 0: from a file, or as arguments.
        """
        rest = list(tasks)
        while rest and not self._closed:
            if self._journal.now > until:
                self._journal.hang(f"{name}: {len(rest)} tasks can't be sent")
                return
            rest = self._send(name, queue, kind, rest, rate)
            if rest:
                time.sleep(AGAIN_SECONDS)

    def running(self) -> list[str]:
        """The senders that are at it now."""
        return sorted(name for name, run in self._running.items() if run.process.poll() is None)

    def has_confirmed(self, name: str) -> bool:
        """Whether a sender has said of a task that it is confirmed."""
        return name in self._running and bool(_named(self._running[name].stdout))

    def signal(self, name: str, number: int) -> None:
        """A second SIGINT or SIGTERM would mean another thing: it is left out."""
        run = self._running[name]
        if number in (signal.SIGINT, signal.SIGTERM):
            if run.process.pid in self._told:
                return
            self._told.add(run.process.pid)
        if number == signal.SIGSTOP:
            self._frozen.add(run.process.pid)
        run.signal(number)

    def end_all(self) -> None:
        """Kill what runs; nothing is sent any more."""
        self._closed = True
        for run in list(self._running.values()):
            if run.process.poll() is None:
                run.kill()

    def _send(self, name: str, queue: str, kind: Kind, tasks: list[Task], rate: int) -> list[Task]:
        """One run of the program. Returns what is not confirmed."""
        run_name = f"send.{name}.{next(self._numbers)}"
        unsent = self._folder / f"{run_name}.unsent"
        words = ["send", "-q", queue, "--type", kind, "--json", "--ids", "--give-up", GIVE_UP, "--unsent", str(unsent)]
        with self._lock:
            self.tasks.update((task.id, task) for task in tasks)
            self.offers.update(task.id for task in tasks)
        if not rate and len(tasks) <= MOST_ARGUMENTS:
            words += ["--", *(task.line for task in tasks)]
        elif not rate:
            source = self._folder / f"{run_name}.input"
            source.write_text("".join(f"{task.line}\n" for task in tasks))
            words += ["--from", str(source)]
        program = Program(self._broker.environment, cwd=self._folder)
        run = program.start(*words, name=run_name, stdin=subprocess.PIPE if rate else subprocess.DEVNULL)
        self._running[name] = run
        if rate:
            _feed(run, tasks, rate)
        try:
            ended = run.wait(RUN_SECONDS)
        except subprocess.TimeoutExpired:
            self._journal.hang(f"{run_name} (pid {run.process.pid})")
            run.kill()
            return tasks
        pid = run.process.pid
        rest = self._rest(run_name, ended, tasks, unsent, told=pid in self._told, frozen=pid in self._frozen)
        confirmed = {task.id for task in tasks} - {task.id for task in rest}
        with self._lock:
            self.confirmed |= confirmed
        return rest

    def _rest(
        self, name: str, ended: Ended, tasks: list[Task], unsent: Path, *, told: bool, frozen: bool
    ) -> list[Task]:
        """What a run leaves to be sent, by its own report; where it could not make one, what it did not name."""
        named = _named(ended.stdout)
        unnamed = [task for task in tasks if task not in named]
        if ended.code == -signal.SIGKILL:
            return unnamed
        report = _report(ended.stdout)
        if report is None:
            too_early = any(what in ended.stderr for what in ("<frozen site>", "import runpy"))  # Python was not up yet
            stopped = told and (ended.code in _STOPPED or too_early)
            out_of_reach = ended.code == 69 and (self._broker.was_away or frozen)  # --give-up's time ran on
            if not stopped and not out_of_reach:
                self._journal.trouble(f"{name} ended with {ended.code} and no report: {ended.stderr[-300:]}")
            return unnamed
        if ended.code:
            self._journal.say(f"{name} ended with {ended.code}: {report['confirmed']} confirmed, {report['problem']}")
        if report["confirmed"] and report["resume_at"] == 0 and "is gone" in str(report["problem"]):
            return tasks  # it took its word back: "Confirmed tasks went with the queue: send all again"
        rest = [parse(line) for line in unsent.read_text().splitlines()] if unsent.exists() else []
        # The signal came when all was said, or was confirmed and the pipe still open.
        late = told and (ended.code in _STOPPED or "stopped before the end" in str(report["problem"]))
        unlike = ((ended.code == 0) != (not rest) and not late) or report["confirmed"] != len(named)
        if report["confirmed"] + len(rest) != len(tasks) or unlike or {*rest} - {*unnamed}:
            self._journal.trouble(
                f"{name}, {len(tasks)} tasks: ended with {ended.code}, {len(named)} named, {len(rest)} in --unsent, "
                f"{report}"
            )
            return tasks
        return rest


def _named(stdout: str) -> set[Task]:
    """The tasks that a run has said are confirmed; the last line may have been cut off."""
    lines = stdout.splitlines(keepends=True)
    said = [json.loads(line) for line in lines if line.startswith('{"id"') and line.endswith("\n")]
    return {parse(each["task"]) for each in said}


def _report(stdout: str) -> dict[str, Any] | None:
    """What a run said at its end."""
    last = stdout.splitlines()[-1:]
    return json.loads(last[0]) if last and last[0].startswith('{"queue"') and last[0].endswith("}") else None


def _feed(run: Running, tasks: Sequence[Task], rate: int) -> None:
    with suppress(OSError):  # it is gone
        for at in range(0, len(tasks), AT_ONCE):
            run.write("".join(f"{task.line}\n" for task in tasks[at : at + AT_ONCE]).encode())
            time.sleep(AT_ONCE / rate)
    with suppress(OSError):
        run.close_input()
