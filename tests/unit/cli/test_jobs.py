"""How many tasks run at once."""

from __future__ import annotations

import pytest
import typer

from rqtool.cli.work import parse_jobs
from rqtool.run.processors import processors


@pytest.mark.parametrize(
    ("text", "jobs"),
    [
        ("1", 1),
        ("1000", 1000),
        ("auto", processors()),
        ("100%", processors()),
        ("200%", 2 * processors()),
        ("1%", 1),
        ("0%", 1),
    ],
)
def test_jobs(text: str, jobs: int) -> None:
    """A percentage is one job at least."""
    assert parse_jobs(text) == jobs


@pytest.mark.parametrize("text", ["", "0", "-1", "1001", "1.5", "%", "-50%", "50 %", "x%", "999999999%", "AUTO", "٣"])
def test_no_jobs(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(typer.BadParameter, match="is not a number from 1 to 1,000, N% or auto"):
        parse_jobs(text)
