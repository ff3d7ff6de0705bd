"""How a run of `send` is told: as a line, as JSON, as an error with its exit code."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rqtool.amqp.window import Message
from rqtool.send.ledger import Refusal
from rqtool.send.report import Report, Summary, summary

SENT = Report(
    confirmed=2, unconfirmed=0, resume_at=2, refused=[], problem=None, killed_by=0, complete=True, seconds=0.5
)
LOST = replace(SENT, unconfirmed=3, problem="the connection was lost")
TOO_LARGE = Refusal(Message(1, "id", b"x", b""), "it has 9 bytes and the broker takes 8")


def _summary(report: Report, guarantee: str = "confirm", unsent: str | None = None) -> Summary:
    return summary(report, "q", guarantee, None if unsent is None else Path(unsent))


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
    """How many, whither, how sure, and how fast where it took long enough to tell."""
    assert line == _summary(report, guarantee).line


def test_a_queue_that_went() -> None:
    """What was confirmed went with it: nobody is told to go on behind it, nor that the rest is all there is."""
    gone = replace(LOST, problem="queue 'q' is gone", resume_at=0, queue_gone=True)
    for unsent in (None, "rest.txt"):
        error = str(_summary(gone, unsent=unsent).error)
        assert "Confirmed tasks went with the queue: send all again" in error
        assert "--skip" not in error


def test_a_queue_name_cannot_write_to_the_terminal() -> None:
    """Control characters of the queue's name are spelled out."""
    assert summary(SENT, "a\x1b[2J\n", "confirm", None).line == r" [x] Sent 2 tasks to 'a\x1b[2J\n' (all confirmed)"


@pytest.mark.parametrize("guarantee", ["confirm", "tx", "none"])
def test_all_sent_is_no_error(guarantee: str) -> None:
    """Everything confirmed: no error, exit code 0, with or without an --unsent file."""
    for unsent in (None, "rest.txt"):
        result = _summary(SENT, guarantee, unsent)
        assert (result.error, result.exit_code) == (None, 0)


@pytest.mark.parametrize(
    ("report", "guarantee", "unsent", "error"),
    [
        (
            LOST,
            "confirm",
            None,
            "the connection was lost; 2 tasks confirmed, 3 not. "
            "Nothing is sure from task 3 on: continue with --skip 2.",
        ),
        (
            LOST,
            "none",
            None,
            "the connection was lost; 2 tasks sent, 3 not. Nothing is sure from task 3 on: continue with --skip 2.",
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
            "Nothing is sure from task 3 on: continue with --skip 2.",
        ),
        (
            replace(LOST, confirmed=1, resume_at=99_999, unconfirmed=1_000_000),
            "tx",
            None,
            "the connection was lost; 1 task confirmed, 1,000,000 not. "
            "Nothing is sure from task 100,000 on: continue with --skip 99999.",
        ),
        (
            replace(SENT, unconfirmed=1, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            None,
            "task 2 was not taken; 2 tasks confirmed, 1 not. Mend what was refused and send it again.",
        ),
        (
            replace(SENT, unconfirmed=2, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            None,
            "task 2 was not taken; 2 tasks confirmed, 2 not. Nothing is sure from task 2 on: continue with --skip 1.",
        ),
        (
            replace(SENT, unconfirmed=1, resume_at=1, refused=[TOO_LARGE], problem="task 2 was not taken"),
            "confirm",
            "rest.txt",
            "task 2 was not taken; 2 tasks confirmed, 1 not. The rest is in rest.txt: send it with --from rest.txt.",
        ),
    ],
)
def test_the_error_says_what_is_sure_and_how_to_go_on(
    report: Report, guarantee: str, unsent: str | None, error: str
) -> None:
    """What went wrong, how many are confirmed, and the one way to send the rest without losing any; exit code 1."""
    result = _summary(report, guarantee, unsent)
    assert error == str(result.error)
    assert result.exit_code == 1


@pytest.mark.parametrize(("number", "code"), [(2, 130), (15, 143)])
def test_a_second_signal_is_the_exit_code(number: int, code: int) -> None:
    """A run that was killed says so, and still says what is sure."""
    result = _summary(replace(LOST, problem="stopped", killed_by=number))
    assert code == result.exit_code
    assert str(result.error).startswith("stopped; 2 tasks confirmed, 3 not.")


def test_json_has_everything() -> None:
    """The keys are a contract with programs; tasks are counted from 1 there, as in the texts."""
    report = replace(LOST, resume_at=1, refused=[TOO_LARGE], seconds=1.23456)
    assert json.loads(_summary(report).json) == {
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
    told = json.loads(_summary(SENT, "tx").json)
    assert (told["problem"], told["refused"], told["confirmed"], told["guarantee"]) == (None, [], 2, "tx")


def test_json_without_confirms_confirms_nothing() -> None:
    """With --guarantee none tasks are sent, and none of them counts as confirmed."""
    told = json.loads(_summary(SENT, "none").json)
    assert (told["sent"], told["confirmed"]) == (2, 0)


def test_json_is_one_line() -> None:
    """A line of output is a document, whatever the names hold."""
    assert "\n" not in summary(SENT, "a\nb", "confirm", None).json
