"""`rqtool dead purge`: no more is deleted than was said."""

from __future__ import annotations

import json
import signal
import threading

from tests.dead import DEAD, Terminal, bury, declare, numbered
from tests.tools import Program, Vhost, eventually


def test_deleting_asks(vhost: Vhost) -> None:
    """On a terminal it asks: anything but yes deletes nothing; yes deletes what was there when it asked."""
    declare(vhost)
    bury(vhost, *numbered(3))
    for word, left in ((b"n\n", 3), (b"\n", 3), (b"y\n", 1)):
        terminal = Terminal(vhost, "purge")
        eventually(lambda terminal=terminal: b"[y/N]" in terminal.shown)  # type: ignore[misc]
        assert b"Delete 3 tasks of 'task_queue.dead' for good? [y/N] " in terminal.shown
        if left == 1:
            bury(vhost, b"later")
        terminal.type(word)
        assert terminal.wait() == 0
        assert (b"nothing is deleted" in terminal.shown) == (left == 3)
        assert vhost.ready(DEAD) == left
    assert vhost.bodies(DEAD) == [b"later"]


def test_deleting_some_asks_about_those(vhost: Vhost) -> None:
    """With --id the question is about the chosen ones, and the others keep their places."""
    declare(vhost, "quorum")
    bury(vhost, *numbered(6))
    terminal = Terminal(vhost, "purge", "--id", "id-1", "--id", "id-5")
    eventually(lambda: b"Delete 2 tasks" in terminal.shown)
    terminal.type(b"yes\n")
    assert terminal.wait() == 0
    assert vhost.bodies(DEAD) == [b"0", b"2", b"3", b"4"]


def test_ctrl_c_at_the_question(vhost: Vhost) -> None:
    """130, nothing is deleted, the order stays."""
    declare(vhost)
    bury(vhost, *numbered(3))
    terminal = Terminal(vhost, "purge")
    eventually(lambda: b"[y/N]" in terminal.shown)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.wait() == 130
    assert b"0 tasks deleted" in terminal.shown
    eventually(lambda: vhost.ready(DEAD) == 3)
    assert vhost.bodies(DEAD) == numbered(3)


def test_deleting_in_scripts(rqtool: Program, vhost: Vhost) -> None:
    """Without a terminal it can't ask: a usage error, and nothing is deleted; --yes deletes."""
    declare(vhost)
    bury(vhost, *numbered(700))
    ended = rqtool("dead", "purge")
    assert (ended.code, ended.stdout, vhost.ready(DEAD)) == (2, "", 700)
    assert ended.stderr == "rqtool: Nothing is deleted: there is no terminal to ask on. Add --yes.\n"
    assert rqtool("dead", "purge", "--yes", "--limit", "2").stdout == " [x] Deleted 2 tasks of 'task_queue.dead'\n"
    assert json.loads(rqtool("dead", "purge", "--yes", "--json").stdout) == {"queue": "task_queue", "deleted": 698}
    assert vhost.ready(DEAD) == 0


def test_deleting_leaves_what_comes_meanwhile(rqtool: Program, vhost: Vhost) -> None:
    """Tasks that die while others are deleted are not deleted with them."""
    declare(vhost)
    bury(vhost, *numbered(5_000))
    stop = threading.Event()
    later: list[bytes] = []

    def go_on() -> None:
        with vhost.channel() as channel:
            while not stop.is_set():
                later.append(b"later-%d" % len(later))
                channel.basic_publish("", DEAD, later[-1], mandatory=True)

    before = vhost.ready(DEAD)
    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        deleted = json.loads(rqtool("dead", "purge", "--yes", "--json").stdout)["deleted"]
    finally:
        stop.set()
        thread.join(10)
    assert before <= deleted < before + len(later)
    assert vhost.bodies(DEAD) == later[deleted - before :]
