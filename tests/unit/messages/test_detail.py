"""Everything about one dead task."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.messages.detail import Detail, detail_as_json, detail_as_text
from rqtool.messages.listing import read_dead_task

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
HEADERS: dict[str, Any] = {
    "x-rqtool-attempts": 1,
    "x-rqtool-error": "exit code 3\nreading\n\x1b[31mno such file",
    "x-rqtool-failed-at": "2026-03-01T11:58:30+00:00",
    "x-rqtool-worker": "host:1",
    "mine": "yes",
}


def detail(body: bytes = b"x", headers: dict[str, Any] = HEADERS) -> Detail:
    return Detail(read_dead_task("q", "id-1", None, headers, body), None, headers, body)


def test_as_text() -> None:
    """A line per field, then headers, stderr and body; control characters are escaped, line ends are not."""
    assert detail_as_text(detail(b"one\n\ttwo\n"), NOW).splitlines() == [
        "id           id-1",
        "queue        q",
        "attempts     1",
        "sent",
        "first failed 2026-03-01T11:58:30+00:00",
        "last failed  2026-03-01T11:58:30+00:00 (1m ago)",
        "worker       host:1",
        "exit code    3",
        "reason       exit code 3",
        "",
        "headers:",
        "  x-rqtool-attempts: 1",
        r'  x-rqtool-error: "exit code 3\nreading\n\u001b[31mno such file"',
        '  x-rqtool-failed-at: "2026-03-01T11:58:30+00:00"',
        '  x-rqtool-worker: "host:1"',
        '  mine: "yes"',
        "",
        "stderr:",
        "  reading",
        r"  \x1b[31mno such file",
        "",
        "body (9 bytes):",
        "  one",
        r"  \ttwo",
    ]


def test_a_binary_body_is_base64() -> None:
    body = b"\xff" * 100
    said = detail_as_text(detail(body), NOW)
    assert base64.b64decode(said.partition("body (100 bytes, base64):\n")[2]) == body
    found = json.loads(detail_as_json(detail(body), NOW))
    assert "body" not in found
    assert base64.b64decode(found["body_base64"]) == body


def test_as_json() -> None:
    """The keys of the list, and more; the body is whole."""
    found = json.loads(detail_as_json(detail(b"y" * 5_000), NOW))
    assert found == {
        "id": "id-1",
        "failed_at": "2026-03-01T11:58:30+00:00",
        "age_seconds": 90,
        "attempts": 1,
        "worker": "host:1",
        "reason": "exit code 3",
        "error": HEADERS["x-rqtool-error"],
        "queue": "q",
        "body_bytes": 5_000,
        "sent_at": None,
        "first_failed_at": "2026-03-01T11:58:30+00:00",
        "exit_code": 3,
        "stderr": "reading\n\x1b[31mno such file",
        "headers": HEADERS,
        "body": "y" * 5_000,
    }


@pytest.mark.parametrize(
    ("error", "code"),
    [("exit code 3", 3), ("exit code 255\nx", 255), ("killed by SIGKILL", None), ("exit code 3333", None), ("", None)],
)
def test_exit_codes(error: str, code: int | None) -> None:
    assert detail(headers={"x-rqtool-error": error}).exit_code == code


def test_the_first_failure_is_known_after_one_attempt_alone() -> None:
    assert detail(headers=HEADERS | {"x-rqtool-attempts": 2}).first_failed_at is None


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.binary() | st.datetimes() | st.floats() | st.decimals(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from([*HEADERS, "x-death", "mine"]), ANYTHING), st.binary())
def test_headers_of_any_shape(headers: dict[str, Any], body: bytes) -> None:
    """Strict JSON, and text without control characters."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(detail_as_json(detail(body, headers), NOW), parse_constant=refuse)
    assert found["headers"].keys() == headers.keys()
    assert detail_as_text(detail(body, headers), NOW).replace("\n", "").isprintable()


def test_values_that_json_has_not() -> None:
    headers = {"a": Decimal("1.5"), "b": NOW, "c": b"\xff", "d": float("nan"), "e": [{"f": NOW.replace(tzinfo=None)}]}
    assert json.loads(detail_as_json(detail(headers=headers), NOW))["headers"] == {
        "a": "1.5",
        "b": "2026-03-01T12:00:00+00:00",
        "c": r"\xff",
        "d": "nan",
        "e": [{"f": "2026-03-01T12:00:00+00:00"}],
    }
