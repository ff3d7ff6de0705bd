"""How long to go on without progress."""

from __future__ import annotations

from rqtool.send.timeout import Timeout


def test_it_runs_out_and_is_restarted() -> None:
    """It shrinks with time, never below zero; a restart gives all of it again, even when none was left."""
    now = 1000.0
    timeout = Timeout(30, lambda: now)
    assert timeout.left == 30
    now += 29
    assert timeout.left == 1
    now += 2
    assert timeout.left == 0
    timeout.restart()
    assert timeout.left == 30
