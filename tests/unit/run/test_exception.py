"""What comes of an exception of the user's code: Retry and Reject are verdicts, all else a failed attempt."""

from __future__ import annotations

from pathlib import Path

import pytest

import rqtool
from rqtool.run.child.exception import judge_exception
from rqtool.run.outcome import Failed, Outcome, Postponed, Rejected

MODULE = """
import asyncio, datetime, json
import rqtool
class Mute(Exception):
    def __str__(self): raise RuntimeError
class Bad(rqtool.Reject):
    def __init__(self): pass
def chained(length):
    try: raise KeyError
    except Exception as error: raise RuntimeError("word " * length) from error
def handle(body): {}
"""


def _judge(line: str) -> Outcome:
    names: dict[str, object] = {}
    exec(compile(MODULE.format(line), "tasks.py", "exec"), names)
    try:
        names["handle"](b"task")  # type: ignore[operator]
    except BaseException as error:
        return judge_exception(error)
    raise AssertionError(line)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("raise rqtool.Retry()", Postponed("Retry, without a reason")),
        ("raise rqtool.Retry('10s', 'rate limit')", Postponed("rate limit", 10.0)),
        ("raise rqtool.Retry(0)", Postponed("Retry, without a reason", 0.0)),
        ("raise rqtool.Retry(None, None)", Postponed("Retry, without a reason")),
        ("raise rqtool.Reject(None)", Rejected("rejected by the function")),
        ("raise rqtool.Reject()", Rejected("rejected by the function")),
        ("raise rqtool.Reject('no\\n such user')", Rejected("no such user")),
        ("raise Bad()", "Bad"),
        ("raise ValueError('bad\\nvery')", "ValueError: bad very"),
        ("assert not body", "AssertionError"),
        ("json.loads('{1')", "JSONDecodeError: Expecting property name enclosed in double quotes: line 1 column 2 (ch"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise asyncio.CancelledError", "CancelledError"),
        ("raise TimeoutError('theirs')", "TimeoutError: theirs"),
        ("raise Mute", "Mute: <exception str() failed>"),
        ("raise rqtool.Retry('soon')", "UsageError: 'soon' is not a duration."),
        ("raise rqtool.Retry(-1)", "Retry(-1): no delay between 0 and 720h"),
        ("raise rqtool.Retry(float('nan'))", "Retry(nan): no delay between 0 and 720h"),
        ("raise rqtool.Retry(1e300)", "Retry(1e+300): no delay between 0 and 720h"),
        ("raise rqtool.Retry(datetime.timedelta(1))", "Retry(datetime.timedelta(days=1)): no delay between 0 and 720h"),
    ],
)  # fmt: skip
def test_each_exception(line: str, expected: Outcome | str) -> None:
    """One line says what it was, and where the user wrote it."""
    outcome = _judge(line)
    if isinstance(expected, str):
        assert isinstance(outcome, Failed)
        assert outcome.why.startswith(expected)
        assert outcome.why.endswith(" (tasks.py:11)") or expected == "Bad"
    else:
        assert outcome == expected


def test_the_traceback_is_printed_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    """For the developer; its last lines are the detail; neither shows rqtool's own frames."""
    outcome, cut = _judge("chained(1)"), _judge("chained(10_000)")
    printed = capsys.readouterr().err
    assert isinstance(outcome, Failed)
    assert isinstance(cut, Failed)
    assert printed.count("Traceback") == 4
    assert outcome.detail in printed
    assert outcome.detail.endswith("RuntimeError: word ")
    assert len(outcome.detail.splitlines()) == 10
    assert (len(cut.detail), len(cut.why) < 600) == (2000, True)
    assert str(Path(rqtool.__file__).parent) not in printed
