"""What a shell is offered for the word at the cursor."""

from __future__ import annotations

import pytest

from tests.tools import Program, Vhost

PATIENT = "from rqtool.cli import completion, main; completion.SECONDS = 30; main.main()"
"""On a busy machine the broker's answer takes longer than somebody at a keyboard waits."""


def offered(rqtool: Program, line: str, **environment: str) -> tuple[list[str], str]:
    """What bash would offer for the last word of the line, and what is said on stderr."""
    words = len(line.split(" "))
    asked = {"_RQTOOL_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(words - 1)}
    ended = rqtool(env=asked | environment)
    return ended.stdout.split(), ended.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rqtool queues ma", ["mail", "mail.dead", "maps"]),
        ("rqtool release --yes map", ["maps"]),
        ("rqtool work -q mai", ["mail", "mail.dead"]),
        ("rqtool dead list x", []),
        ("rqtool wor", ["work"]),
    ],
)
def test_queue_names(line: str, expected: list[str], rqtool: Program, vhost: Vhost) -> None:
    """On every verb; without those that rqtool keeps beside a queue for tasks on their way."""
    for name in ("mail", "mail.dead", "mail.returned", "mail.retry.1s", "maps"):
        vhost.declare(name)
    patient = Program(rqtool.environment, rqtool.cwd, ("-c", PATIENT))
    assert offered(patient, line) == (expected, "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_silent_without_a_broker(url: str, rqtool: Program) -> None:
    assert offered(rqtool, "rqtool queues a", RQTOOL_API_URL=url) == ([], "")
