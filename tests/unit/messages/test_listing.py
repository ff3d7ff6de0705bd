"""Dead tasks as lines and as JSON."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.amqp import headers
from rqtool.messages.listing import DeadTask, dead_as_json, dead_as_lines, read_dead_task

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEAD_HEADER = "id\tage\tattempts\tworker\treason\tbody"


def dead(message_id: object = "id", timestamp: object = None, body: bytes = b"x", **found: object) -> DeadTask:
    return read_dead_task("q", message_id, timestamp, {name.replace("_", "-"): found[name] for name in found}, body)


def test_a_dead_task_in_full() -> None:
    """A line has the first line of the worker's error as the reason; JSON has all of it."""
    task = dead(
        body=b"do it",
        x_rqtool_attempts=4,
        x_rqtool_error="exit code 1\nboom",
        x_rqtool_failed_at="2026-03-01T13:58:30+02:00",
        x_rqtool_worker="host:1",
    )
    assert dead_as_lines([task], NOW, first=True).splitlines() == [DEAD_HEADER, "id\t1m\t4\thost:1\texit code 1\tdo it"]
    assert json.loads(dead_as_json([task], NOW, first=True) + "]") == [
        {
            "id": "id",
            "failed_at": "2026-03-01T11:58:30+00:00",
            "age_seconds": 90,
            "attempts": 4,
            "worker": "host:1",
            "reason": "exit code 1",
            "error": "exit code 1\nboom",
            "queue": "q",
            "body": "do it",
            "body_bytes": 5,
        }
    ]


def test_a_dead_task_without_headers() -> None:
    """Empty fields, and nulls."""
    task = dead(None)
    assert dead_as_lines([task], NOW, first=True).splitlines()[1] == "\t\t\t\t\tx"
    [row] = json.loads(dead_as_json([task], NOW, first=True) + "]")
    assert {key for key, value in row.items() if value is None} == {
        "id", "failed_at", "age_seconds", "attempts", "worker", "error",
    }  # fmt: skip


def test_without_dead_tasks_there_is_the_header() -> None:
    """An empty list is a header line and an empty array."""
    assert dead_as_lines([], NOW, first=True).splitlines() == [DEAD_HEADER]
    assert dead_as_json([], NOW, first=True) == "["


def test_the_id_of_a_dead_task() -> None:
    """Its message id, else the token of its copy."""
    assert dead("a", x_rqtool_copy="b").id == "a"
    assert dead("", x_rqtool_copy="b").id == "b"
    assert dead(b"\xff").id == "\ufffd"


@pytest.mark.parametrize(
    ("seconds", "age"),
    [(-5, "0s"), (0, "0s"), (59, "59s"), (60, "1m"), (3_599, "59m"), (3_600, "1h"), (86_399, "23h"), (400_000, "4d")],
)
def test_ages(seconds: int, age: str) -> None:
    """One unit, rounded down; never negative, even if another clock is ahead."""
    assert dead(timestamp=int(NOW.timestamp()) - seconds).age(NOW) == age


def test_when_it_failed() -> None:
    """The worker's time takes precedence over the broker's, and that over the time of sending."""
    death = {"reason": "rejected", "time": NOW - timedelta(seconds=2)}
    failed = (NOW - timedelta(seconds=1)).isoformat()
    sent = int(NOW.timestamp()) - 3
    assert dead(timestamp=sent, x_rqtool_failed_at=failed, x_death=[death]).seconds(NOW) == 1
    assert dead(timestamp=sent, x_death=[death]).seconds(NOW) == 2
    assert dead(timestamp=sent).seconds(NOW) == 3


@pytest.mark.parametrize("reason", ["delivery_limit", "rejected", "expired", "maxlen"])
def test_the_brokers_reason(reason: str) -> None:
    """It comes after the worker's, which is the earlier one."""
    alone = dead(x_death=[{"reason": reason}])
    assert (alone.reason, alone.why) == (f"given up by the broker: {reason}", f"broker: {reason}")
    both = dead(x_rqtool_error="exit code 1\nmore", x_death=[{"reason": reason}, {"reason": "older"}])
    assert both.reason == f"exit code 1; given up by the broker: {reason}"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.datetimes() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["reason", "time", "x"]), inner),
    max_leaves=5,
)
KNOWN = st.sampled_from(["x-death", headers.ATTEMPTS, headers.ERROR, headers.FAILED_AT, headers.WORKER, headers.COPY])


@given(st.none() | st.text() | st.binary(), ANYTHING, st.dictionaries(KNOWN, ANYTHING), st.binary(max_size=1_200))
def test_headers_of_any_shape(message_id: object, timestamp: object, found: dict[str, object], body: bytes) -> None:
    """Any program can write headers: each task is one line of six fields, without control characters, and JSON."""
    task = read_dead_task("q", message_id, timestamp, found, body)
    [line] = dead_as_lines([task], NOW, first=False).splitlines()
    assert line.count("\t") == 5
    assert line.replace("\t", "").isprintable()
    [row] = json.loads(dead_as_json([task], NOW, first=True) + "]")
    start = row["body"].encode() if "body" in row else base64.b64decode(row["body_base64"])
    assert body.startswith(start)
    assert len(start) > min(len(body), 1_000) - 4


def test_the_start_of_a_body() -> None:
    """A thousand bytes are shown; a character that the cut splits is left out, and a binary body shows as bytes."""
    assert dead(body="ü".encode() * 501).shown == "ü" * 500 + "…"
    assert dead(body=b"a" + "ü".encode() * 501).text == "a" + "ü" * 499
    assert dead(body=b"\xff\n").shown == r"b'\xff\n'"
    assert dead(body=b"\x1b[31m[bold]\n").shown == r"\x1b[31m[bold]\n"
    assert dead(body=b"a\xc3").text is None
