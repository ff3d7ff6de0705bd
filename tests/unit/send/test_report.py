"""How a run of `send` is reported: as a line, as JSON, as an error with its exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.amqp.window import Message
from rqtool.send.outbox import Refusal
from rqtool.send.report import Report, json_line, sent_line, why_incomplete

SENT = Report(
    queue="q", guarantee="confirm", confirmed=2, unconfirmed=0, resume_at=2, refused=[],
    problem=None, killed_by=0, complete=True, queue_gone=False, seconds=0.5,
)  # fmt: skip
LOST = replace(SENT, unconfirmed=3, problem="the connection was lost")
TOO_LARGE = Refusal(Message(1, "id", b"x", b""), "it has 9 bytes and the broker takes 8")


def _error(report: Report, unsent: str | None = None) -> str:
    return str(report.error(None if unsent is None else Path(unsent)))


@pytest.mark.parametrize(
    ("report", "guarantee", "line"),
    [
        (SENT, "confirm", " [x] Sent 2 tasks to 'q' (all confirmed)"),
        (SENT, "tx", " [x] Sent 2 tasks to 'q' (all confirmed)"),
        (SENT, "none", " [x] Sent 2 tasks to 'q' (not confirmed: --guarantee none)"),
        (replace(SENT, confirmed=0), "confirm", " [x] Sent 0 tasks to 'q' (all confirmed)"),
        (replace(SENT, confirmed=1), "confirm", " [x] Sent 1 task to 'q' (all confirmed)"),
        (replace(SENT, seconds=1.0), "confirm", " [x] Sent 2 tasks to 'q' (all confirmed)"),
        (
            replace(SENT, confirmed=100_000, seconds=8.0),
            "confirm",
            " [x] Sent 100,000 tasks to 'q' (all confirmed, 12,500/s)",
        ),
        (LOST, "confirm", " [x] Sent 2 tasks to 'q' (not all)"),
        (LOST, "none", " [x] Sent 2 tasks to 'q' (not all)"),
        (replace(LOST, seconds=2.0), "confirm", " [x] Sent 2 tasks to 'q' (not all, 1/s)"),
    ],
)
def test_the_line(report: Report, guarantee: str, line: str) -> None:
    """How many, to which queue, whether confirmed, and how fast where the run took more than a second."""
    assert line == replace(report, guarantee=guarantee).line()


def test_a_queue_that_went() -> None:
    """The confirmed tasks went with it: the advice is to send all of them again, not to skip or to send the rest."""
    gone = replace(LOST, problem="queue 'q' is gone", resume_at=0, queue_gone=True)
    for unsent in (None, "rest.txt"):
        error = _error(gone, unsent)
        assert "The queue took confirmed tasks with it. Send all again" in error
        assert "--skip" not in error


def test_a_queue_name_cannot_write_to_the_terminal() -> None:
    """Control characters of the queue's name are spelled out."""
    assert replace(SENT, queue="a\x1b[2J\n").line() == r" [x] Sent 2 tasks to 'a\x1b[2J\n' (all confirmed)"


@pytest.mark.parametrize("guarantee", ["confirm", "tx", "none"])
def test_all_sent_is_no_error(guarantee: str) -> None:
    """Everything confirmed: no error, exit code 0, with or without an --unsent file."""
    report = replace(SENT, guarantee=guarantee)
    assert (report.error(None), report.error(Path("rest.txt")), report.exit_code) == (None, None, 0)


@pytest.mark.parametrize(
    ("report", "guarantee", "unsent", "error"),
    [
        (
            LOST,
            "confirm",
            None,
            "the connection was lost; 2 tasks confirmed, 3 not. "
            "Tasks from 3 on may be unconfirmed; resume with --skip 2.",
        ),
        (
            LOST,
            "none",
            None,
            "the connection was lost; 2 tasks sent, 3 not. Tasks from 3 on may be unconfirmed; resume with --skip 2.",
        ),
        (
            LOST,
            "confirm",
            "rest.txt",
            "the connection was lost; 2 tasks confirmed, 3 not. The rest is in rest.txt: send it with --from rest.txt.",
        ),
        (
            replace(SENT, problem="stopped before the end of the input"),
            "confirm",
            None,
            "stopped before the end of the input; 2 tasks confirmed. "
            "Tasks from 3 on may be unconfirmed; resume with --skip 2.",
        ),
        (
            replace(LOST, confirmed=1, resume_at=99_999, unconfirmed=1_000_000),
            "tx",
            None,
            "the connection was lost; 1 task confirmed, 1,000,000 not. "
            "Tasks from 100,000 on may be unconfirmed; resume with --skip 99999.",
        ),
        (
            replace(SENT, unconfirmed=1, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            None,
            "task 2 was not taken; 2 tasks confirmed, 1 not. Fix the refused tasks and send them again.",
        ),
        (
            replace(SENT, unconfirmed=2, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            None,
            "task 2 was not taken; 2 tasks confirmed, 2 not. Tasks from 2 on may be unconfirmed; resume with --skip 1.",
        ),
        (
            replace(SENT, unconfirmed=1, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            "rest.txt",
            "task 2 was not taken; 2 tasks confirmed, 1 not. The rest is in rest.txt: send it with --from rest.txt.",
        ),
    ],
)
def test_the_error_says_what_is_confirmed_and_how_to_go_on(
    report: Report, guarantee: str, unsent: str | None, error: str
) -> None:
    """What went wrong, how many are confirmed, and the one way to send the rest without losing any; exit code 1."""
    report = replace(report, guarantee=guarantee)
    assert error == _error(report, unsent)
    assert report.exit_code == 1


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_second_signal_is_the_exit_code(number: int, code: int) -> None:
    """A run that was killed says so, and still says what is confirmed."""
    report = replace(LOST, problem="stopped", killed_by=number)
    assert code == report.exit_code
    assert _error(report).startswith("stopped; 2 tasks confirmed, 3 not.")


def test_json_has_everything() -> None:
    """The keys are a contract with programs; tasks are counted from 1 there, as in the texts."""
    report = replace(LOST, resume_at=1, refused=[TOO_LARGE], seconds=1.23456)
    assert json.loads(report.json()) == {
        "queue": "q",
        "guarantee": "confirm",
        "sent": 2,
        "confirmed": 2,
        "unconfirmed": 3,
        "resume_at": 1,
        "refused": [{"task": 2, "why": TOO_LARGE.why}],
        "problem": "the connection was lost",
        "seconds": 1.235,
    }


def test_json_of_a_run_without_trouble() -> None:
    """No problem is null, and nothing refused an empty list."""
    result = json.loads(replace(SENT, guarantee="tx").json())
    assert (result["problem"], result["refused"], result["confirmed"], result["guarantee"]) == (None, [], 2, "tx")


def test_json_without_confirms_confirms_nothing() -> None:
    """With --guarantee none tasks are sent, and none of them counts as confirmed."""
    result = json.loads(replace(SENT, guarantee="none").json())
    assert (result["sent"], result["confirmed"]) == (2, 0)


def test_json_is_one_line() -> None:
    """A line of output is a document, whatever the names hold."""
    assert "\n" not in replace(SENT, queue="a\nb").json()


def test_lines_of_a_task() -> None:
    """As the tutorial prints it, or with its id for programs."""
    message = Message(0, "an id", b"\xff" + b"x" * 200, b"")
    assert sent_line(replace(message, body=b"a b")) == " [x] Sent 'a b'"
    assert json.loads(json_line(message)) == {"id": "an id", "task": "\ufffd" + "x" * 99}


def test_an_input_that_breaks_off() -> None:
    """In words, without Python's number of the error."""
    why = why_incomplete([], OSError(5, "Input/output error"), ended=False)
    assert why == "the input can't be read any further: Input/output error"
