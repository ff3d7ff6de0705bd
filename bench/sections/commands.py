"""A command for each task: `rqtool work -- cat` beside `amqp-consume cat`."""

from __future__ import annotations

import os
import subprocess
import time
from functools import partial

from bench import bodies, stamps
from bench.broker import Broker
from bench.figures import Group, Sample
from bench.process import ROOT, RQTOOL, Command
from bench.turns import Size, Turn, measured

QUEUE = "bench-commands"
OURS, TWO, C = "rqtool work -- cat", "rqtool work -j 2 -- cat", "amqp-consume cat"
PREFETCH = "10"


def measure(broker: Broker, size: Size) -> list[Group]:
    """With one job and with two."""
    count = size.of(2_000)
    tasks = bodies.write(broker.folder / "commands", bodies.short(count))

    def queued(command: Command) -> Sample:
        broker.fill(QUEUE, bodies.short(count))
        return _rate(command, broker, count)

    work = [RQTOOL, "work", "--queue", QUEUE, "--prefetch", PREFETCH, "--quiet"]
    consume = ["amqp-consume", f"--url={broker.url}", f"--queue={QUEUE}", f"--prefetch-count={PREFETCH}", "cat"]
    xargs = ["xargs", "--arg-file", str(tasks), "--delimiter=\\n", "-n1"]
    turns = {
        OURS: Turn(partial(queued, [*work, "--", "cat"]), before=C),
        TWO: Turn(partial(queued, [*work, "--jobs", "2", "--", "cat"]), before=C),
        C: Turn(partial(queued, consume), "C, one job"),
        "xargs -n1 echo": Turn(partial(_rate, [*xargs, "echo"], broker, count), "no broker"),
        "xargs -n1 -P2 echo": Turn(partial(_rate, [*xargs, "-P2", "echo"], broker, count), "no broker"),
    }
    return [measured(f"{count:,} tasks", "/s", turns, heading=f"to {C}")]


def _rate(command: Command, broker: Broker, count: int) -> Sample:
    """By the bytes that come out. Raises RuntimeError where it ends before all tasks are done."""
    with (broker.folder / "commands.log").open("wb") as log:
        process = subprocess.Popen(
            command, env=broker.environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
        )
    try:
        seen = _watched(process, count)
    finally:
        process.terminate()
    _, _, usage = os.wait4(process.pid, 0)
    # Popen would wait for it again.
    process.returncode = 0
    return Sample(stamps.rate(seen, count), (usage.ru_utime + usage.ru_stime) / count)


def _watched(process: subprocess.Popen[bytes], count: int) -> list[tuple[float, int]]:
    """Return when how many bodies came out, up to the end of what is timed."""
    each, size, done = len(next(bodies.short(1))), 0, 0
    seen: list[tuple[float, int]] = []
    assert process.stdout is not None
    with process.stdout as out:
        while done < count * stamps.END:
            read = os.read(out.fileno(), 65536)
            if not read:
                raise RuntimeError(f"{process.args!r} ended after {done:,} of {count:,} tasks")
            # Line ends are echo's.
            size += len(read) - read.count(b"\n")
            seen.append((time.monotonic(), size // each - done))
            done = size // each
    return seen
