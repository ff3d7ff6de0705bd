"""`rqtool work --bar`: progress on the last line of a terminal, and nothing anywhere else."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator

import pytest

from tests.integration.test_watch import Terminal
from tests.tools import Program, Vhost, eventually, lines

DRAWN = re.compile(rb"\x1b7(?:\x1b\[r)?\x1b\[24;1H\x1b\[K([^\x1b]*)\x1b8")
MARGINS, ALL = b"\n\x1b7\x1b[1;23r\x1b8\x1b[A", b"\x1b7\x1b[r\x1b[24;1H\x1b[K\x1b8"
TALK = ["sh", "-c", 'echo "out $1"; echo "err $1" >&2; [ "$1" != bad ]', "sh", "{}"]


@pytest.fixture
def terminal(vhost: Vhost, rqtool: Program) -> Iterator[Terminal]:
    """A worker with a bar, and 300 tasks, of which one fails; it ends by itself."""
    rqtool("send", "bad", *[f"{n}" for n in range(299)])
    opened = Terminal(vhost, 100, "work", "--bar", "--drain", "--retry-delays", "none", "-j", "2", "--", *TALK)
    yield opened
    opened.close()


@pytest.mark.usefixtures("old_places")
def test_the_bar_tears_nothing(terminal: Terminal) -> None:
    """Tasks print whole lines above it; it knows what is done, failed and left; the terminal is as before then."""
    code = terminal.end(seconds=40)
    drawn = [bar.decode() for bar in DRAWN.findall(terminal.shown)]
    assert "299 done, 1 failed, 0 running, " in drawn[-2]
    assert ", 0 left, ETA " in drawn[-2]
    assert max(map(len, drawn)) < 100
    before, rest = terminal.shown.split(MARGINS)
    assert rest.count(ALL) == 1
    assert b" done" not in before
    said = DRAWN.sub(b"", before + rest).decode().splitlines()
    numbers = [str(n) for n in range(299)]
    assert sorted(line for line in said if line[:3] in ("out", "err")) == sorted(
        f"{stream} {task}" for stream in ("out", "err") for task in ["bad", *numbers]
    )
    assert [line for line in said if "[x]" in line] == []
    assert any(line.startswith("rqtool: 299 done, 1 failed and dead in ") for line in said)
    assert code == 1
    assert terminal.is_as_before()


@pytest.mark.usefixtures("old_places")
def test_a_second_signal_cleans_up_too(vhost: Vhost, rqtool: Program) -> None:
    """The terminal scrolls as a whole again."""
    vhost.publish("x")
    terminal = Terminal(vhost, 80, "work", "--bar", "--", "sleep", "60")
    try:
        eventually(lambda: b"1 running" in terminal.read())
        terminal.process.send_signal(signal.SIGINT)
        eventually(lambda: b"a second signal kills it" in terminal.read())
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == 128 + signal.SIGINT
        assert terminal.shown.count(ALL) == 1
    finally:
        terminal.close()


@pytest.mark.usefixtures("old_places")
def test_without_a_terminal_there_is_no_bar(rqtool: Program) -> None:
    """A log gets what the tasks print, and the summary."""
    rqtool("send", input=lines(b"1", b"2"))
    ended = rqtool("work", "--bar", "--max-tasks", "2", "--", *TALK)
    assert (ended.code, ended.stdout) == (0, "out 1\nout 2\n")
    assert re.fullmatch(r"err 1\nerr 2\nrqtool: 2 done in [^\n]*\n", ended.stderr)


@pytest.mark.usefixtures("old_places")
def test_what_waits_for_another_attempt_is_shown(vhost: Vhost, rqtool: Program) -> None:
    """Nothing is left to begin for now, and the worker is not done; a wait queue of two delays counts once."""
    vhost.publish("bad", "worse", "good")
    only_good = ["sh", "-c", '[ "$1" = good ]', "sh", "{}"]
    terminal = Terminal(vhost, 100, "work", "--bar", "--drain", "--retry-delays", "10m,10m", "--", *only_good)
    try:
        eventually(lambda: b"1 done, 2 failed, 0 running, " in terminal.read())
        eventually(lambda: b" 0 left, 2 to retry, ETA ?\x1b" in terminal.read())
    finally:
        terminal.close()


def test_wait_queues_that_are_missing(vhost: Vhost) -> None:
    """Where the user may not make them they are not looked for again and again: the broker logs an error each time."""
    vhost.api("PUT", "/api/users/barred", {"password": "barred", "tags": ""})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/barred", {"configure": "^$", "write": ".*", "read": ".*"})
    vhost.publish(*"abcdef")
    barred = Vhost(vhost.node, vhost.name, "barred", "barred")
    terminal = Terminal(barred, 100, "work", "--bar", "--retry-delays", "10m", "--", "sleep", "1")

    def errors() -> int:
        return vhost.node.log.read_text().count(f"no queue 'task_queue.retry.10m' in vhost '{vhost.name}'")

    try:
        eventually(lambda: b" 1 done, " in terminal.read())
        before = errors()
        eventually(lambda: b" 5 done, " in terminal.read())
        assert before > 0
        assert errors() == before
    finally:
        terminal.close()
        vhost.api("DELETE", "/api/users/barred")


@pytest.mark.usefixtures("old_places")
def test_a_pause_is_shown(vhost: Vhost, rqtool: Program) -> None:
    """While the brake lets nothing begin, the bar counts down instead of looking as if the worker hung."""
    vhost.publish(*["bad"] * 20)
    terminal = Terminal(vhost, 100, "work", "--bar", "--drain", "--retry-delays", "6s", "--", "false")
    try:
        eventually(lambda: b" 0 running, paused for 1s, " in terminal.read())
        eventually(lambda: b" 0 running, paused for 2s, " in terminal.read())
    finally:
        terminal.close()
