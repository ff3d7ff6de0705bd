"""The tree of errors: what a user reads, and the exit code that a script sees."""

from __future__ import annotations

import signal

import pytest

from rqtool.errors import AccessRefused, RqtoolError, Stopped, Unreachable, UnsafeQueue, UsageError

EXIT_CODES = {RqtoolError: 1, UsageError: 2, Unreachable: 69, AccessRefused: 77, UnsafeQueue: 78}


@pytest.mark.parametrize(("kind", "code"), EXIT_CODES.items())
def test_each_kind_has_its_exit_code(kind: type[RqtoolError], code: int) -> None:
    """The codes are a contract with scripts."""
    assert code == kind("what").exit_code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_signal_has_the_exit_code_that_shells_give(number: int, code: int) -> None:
    """128 + N for signal N."""
    stopped = Stopped(number, "stopped by a second signal")
    assert code == stopped.exit_code
    assert str(stopped) == "stopped by a second signal."


def test_the_table_is_complete() -> None:
    """Every kind of error stands in the table above."""
    assert {*EXIT_CODES, Stopped} == {RqtoolError, *RqtoolError.__subclasses__()}


@pytest.mark.parametrize(
    ("what", "to_do", "text"),
    [
        ("It broke", "Fix it", "It broke. Fix it."),
        ("It broke.", "Fix it.", "It broke. Fix it."),
        ("It broke", "", "It broke."),
        ("", "Fix it", "Fix it."),
    ],
)
def test_an_error_reads_what_and_what_to_do(what: str, to_do: str, text: str) -> None:
    """Two sentences on one line, each with one full stop."""
    error = RqtoolError(what, to_do)
    assert text == str(error)
    assert (what, to_do) == (error.what, error.what_to_do)
