"""The dead tasks of a queue, summed up; tables of dead tasks and of queues."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from rqtool.messages.listing import DeadTask, read_dead_task
from rqtool.messages.summary import sum_up, summaries_as_json, summaries_as_lines
from rqtool.messages.table import dead_as_table, summaries_as_table

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
UUID = "9f3c2a1b-1111-4222-8333-00000000002a"


def dead(error: str = "", minutes: int = 0, name: str = "id", body: bytes = b"x") -> DeadTask:
    failed = (NOW - timedelta(minutes=minutes)).isoformat()
    return read_dead_task("q", name, None, {"x-rqtool-error": error, "x-rqtool-failed-at": failed}, body)


def test_a_summary() -> None:
    """The three most frequent reasons, and the time of the oldest."""
    sample = [dead("b", 3), *[dead("a\nstderr")] * 3, *[dead("b", 9)] * 4, dead("c\t"), *[dead()] * 2]
    found = sum_up("q", 5_000, sample)
    assert summaries_as_lines([found], NOW) == (
        "queue\ttasks\toldest\treasons\tsampled\nq\t5000\t9m\tb (5), a (3), unknown (2)\t11\n"
    )
    assert json.loads(summaries_as_json([found], NOW)) == [
        {
            "queue": "q",
            "tasks": 5_000,
            "oldest_failed_at": "2026-03-01T11:51:00+00:00",
            "oldest_age_seconds": 540,
            "reasons": [{"reason": "b", "tasks": 5}, {"reason": "a", "tasks": 3}, {"reason": "unknown", "tasks": 2}],
            "sampled": 11,
        }
    ]


def test_nothing_to_sum_up() -> None:
    """A header, an empty array, no table; and a queue whose tasks could not be read."""
    assert summaries_as_lines([], NOW) == "queue\ttasks\toldest\treasons\tsampled\n"
    assert summaries_as_json([], NOW) == "[]\n"
    assert summaries_as_table([], NOW) == ""
    assert summaries_as_lines([sum_up("q", 2, [])], NOW).splitlines()[1] == "q\t2\t\t\t0"


@pytest.mark.parametrize(
    ("error", "why"),
    [
        ("exit code 3\nreading\nno such file", "exit code 3: no such file"),
        ("exit code 3\n3\n", "exit code 3: 3"),
        ("exit code 3", "exit code 3"),
        ("ValueError: x\nTraceback\nValueError: x", "ValueError: x"),
        ("Odd: x\nTraceback\ntasks.Odd: x", "Odd: x"),
        ("", ""),
    ],
)
def test_why(error: str, why: str) -> None:
    """The reason, with the last line of stderr in it unless that says the same."""
    assert dead(error).why == why


def test_a_list_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which task, and why: the beginning and the end of its id, and the last line of stderr."""
    monkeypatch.setenv("COLUMNS", "80")
    head, line = dead_as_table([dead("exit code 3\nno such file", 5, UUID, b"a.jpg")], NOW, first=True).splitlines()
    assert head.split() == ["id", "age", "attempts", "reason", "body"]
    assert line.split() == ["9f3c2a1b…000002a", "5m", *["exit", "code", "3:", "no", "such", "file"], "a.jpg"]
    assert len(line) <= 80
    assert dead(name="short-enough-id.").short_id == "short-enough-id."


def test_the_name_of_a_file_at_80_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has nearly as much room as the reason."""
    monkeypatch.setenv("COLUMNS", "80")
    line = dead_as_table([dead("exit code 1", name=UUID, body=b"photos/IMG_1077.jpg")], NOW, first=False)
    assert line.rstrip().endswith("photos/IMG_1077.jpg")


def test_a_list_at_120_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert UUID in dead_as_table([dead(name=UUID)], NOW, first=False)


def test_a_table_of_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    found = [sum_up("photos", 5_000, [dead("[red]no\x1b", 5)]), sum_up("q" * 100, 1, [dead("y" * 1_000)])]
    lines = summaries_as_table(found, NOW).splitlines()
    assert lines[1].split() == ["photos", "5,000", "5m", r"[red]no\x1b", "(1)"]
    assert max(map(len, lines)) <= 80
