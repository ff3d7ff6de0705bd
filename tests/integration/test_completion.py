"""Names of queues: what a shell is offered for the word at the cursor, and what is suggested for a mistyped one."""

from __future__ import annotations

import pytest

from tests.tools import Program, Vhost

_PATIENT = """
import sys
from rqtool.cli import completion, main
completion.SECONDS = completion.PATIENCE = 60
sys.exit(main.main())
"""


@pytest.fixture
def patient(rqtool: Program) -> Program:
    """On a busy machine the broker's answer takes longer than somebody at a keyboard waits."""
    return Program(rqtool.environment, rqtool.cwd, ("-c", _PATIENT))


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
        ("rqtool help que", ["queues"]),
        ("rqtool help dead li", ["list"]),
    ],
)
def test_queue_names(line: str, expected: list[str], patient: Program, vhost: Vhost) -> None:
    """On every verb; without those that rqtool keeps beside a queue for tasks on their way."""
    for name in ("mail", "mail.dead", "mail.returned", "mail.retry.1s", "maps"):
        vhost.declare(name)
    assert offered(patient, line) == (expected, "")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nonsense"])
def test_silent_without_a_broker(url: str, rqtool: Program) -> None:
    assert offered(rqtool, "rqtool queues a", RQTOOL_API_URL=url) == ([], "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("queues phot", " here (did you mean 'photos'?). "),
        ("queues --check phot", " (did you mean 'photos'?). "),
        ("dead list phot", " (did you mean 'photos'?). "),
        ("dead show photos phot", ", but 'photos' is one: the id comes first. "),
        ("dead show an-id phot", " (did you mean 'photos'?). "),
        ("dead retry -q phot", " (did you mean 'photos'?). "),
        ("dead purge phot --yes", " (did you mean 'photos'?). "),
        ("release phot", " (did you mean 'photos'?). "),
        ("dead retry 3699d0fa-2fab", " (the id of a task is given with --id). "),
        ("dead 3699d0fa…0000000", " (the id of a task is given with --id). "),
        ("release 3699d0fa", ". "),
    ],
)
def test_what_may_be_meant(line: str, said: str, patient: Program, vhost: Vhost) -> None:
    """Every verb that wants a queue which exists has a suggestion for one that does not."""
    vhost.declare("photos")
    ended = patient(*line.split())
    name = next(word for word in line.split() if word.startswith(("phot", "3699")) and word != "photos")
    assert ended.code in (1, 3)
    assert f"here is no queue {name!r}{said}" in ended.stdout + ended.stderr
