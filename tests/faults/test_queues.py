"""What is not known after a crash of the broker is not empty."""

from __future__ import annotations

import json

import pytest

from tests.faults.conftest import Arena
from tests.tools import eventually, lines

TASKS = 1000


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_not_known_is_not_empty(arena: Arena, kind: str) -> None:
    """From its first answer after a crash on, the figure is right or not there, and nothing says OK to it."""
    arena.create("q", kind)
    assert arena.rqtool("send", "-q", "q", "--quiet", input=lines(*[b"x"] * TASKS)).code == 0
    eventually(lambda: arena.vhost.figures("q") == (TASKS, 0))
    seen = []

    def known() -> bool:
        ended = arena.rqtool("queues", "q", "--json")
        if ended.code != 0:
            return False  # the API does not know the queue yet, and says so
        [row] = json.loads(ended.stdout)
        seen.append((row["messages_ready"], row["verdict"]))
        assert arena.rqtool("queues", "q", "--check").code in (1, 3)
        return bool(row["messages_ready"] == TASKS)

    arena.kill(*arena.broker.running())
    arena.restart()
    eventually(known)
    assert set(seen) <= {(None, "unknown"), (TASKS, "no consumers")}
