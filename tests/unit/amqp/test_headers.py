"""The headers on tasks: what is read of them, what is written, and what a copy must not carry."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pika
import pytest

from rqtool.amqp.headers import (
    ATTEMPTS,
    COPY,
    ERROR,
    FAILED_AT,
    LONGEST_ERROR,
    OWN_PREFIX,
    STARTS,
    WORKER,
    as_new,
    copied_at,
    count,
    failed,
    of_the_sender,
    started,
    text,
)
from rqtool.amqp.message import copied

SENDERS = {"tenant": "a", "n": 3, "nested": {"list": [1, {"x": None}]}, "x-own": True, "X-Trace": b"\xff", "": ""}
BROKERS = {
    "x-death": [{"queue": "q.retry.1s", "count": 2}],
    "x-first-death-exchange": "",
    "x-first-death-queue": "q",
    "x-first-death-reason": "expired",
    "x-last-death-exchange": "",
    "x-last-death-queue": "q",
    "x-last-death-reason": "expired",
    "x-delivery-count": 3,
    "x-acquired-count": 4,
    "CC": ["other"],
    "BCC": ["other"],
}
OURS = {ATTEMPTS: 2, ERROR: "old", FAILED_AT: "then", WORKER: "host:1", STARTS: 2, COPY: "token"}
FAILURE: dict[str, Any] = {"attempts": 3, "error": "exit code 1", "at": "2026-01-01T00:00:00+00:00", "worker": "host:2"}


def test_the_names_are_a_contract() -> None:
    """Tasks of an older rqtool are in queues, and users read these names."""
    assert list(OURS) == [
        "x-rqtool-attempts",
        "x-rqtool-error",
        "x-rqtool-failed-at",
        "x-rqtool-worker",
        "x-rqtool-starts",
        "x-rqtool-copy",
    ]
    assert all(name.startswith(OWN_PREFIX) for name in OURS)


@pytest.mark.parametrize("value", [1, 3, 2**63 - 1])
def test_a_counter_is_read(value: int) -> None:
    """As it is."""
    assert count({STARTS: value, ATTEMPTS: 7}, STARTS) == value


@pytest.mark.parametrize("value", [None, "3", b"3", 3.0, True, False, 0, -1, -(2**63), [3], {"n": 3}])
def test_what_is_no_counter_counts_nothing(value: object) -> None:
    """Anybody can write headers: other types, truth values, and what is below 0 are no counter."""
    found = count({STARTS: value}, STARTS)
    assert found == 0
    assert type(found) is int


def test_no_header_counts_nothing() -> None:
    """A task that was never tried has no counter, and names are exact."""
    assert count({}, ATTEMPTS) == 0
    assert count({ATTEMPTS.upper(): 3, STARTS: 3}, ATTEMPTS) == 0


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("", ""),
        ("zwei € 🐇", "zwei € 🐇"),
        ("zwei €".encode(), "zwei €"),
        (b"a\xffb", "a�b"),
        (b"", ""),
        (None, ""),
        (0, "0"),
        (-3, "-3"),
        (True, "True"),
        (1.5, "1.5"),
        (["a", 1], "['a', 1]"),
    ],
)
def test_every_value_is_text(value: object, shown: str) -> None:
    """Bytes as UTF-8 as far as they are, nothing as nothing, all else as Python writes it."""
    assert text({"h": value}, "h") == shown
    assert text({"other": value}, "h") == ""


def test_the_brokers_own_stay_behind() -> None:
    """What the sender and rqtool wrote goes on with a copy, in its order; what the broker wrote does not."""
    assert list(of_the_sender(BROKERS | SENDERS | OURS).items()) == list((SENDERS | OURS).items())
    assert of_the_sender({}) == {}


@pytest.mark.parametrize("name", ["CC", "cc", "Cc", "BCC", "bcc", "Bcc", "X-Death", "X-DELIVERY-COUNT"])
def test_the_brokers_own_are_known_in_any_case(name: str) -> None:
    """A copy must not reach further queues because of a capital letter."""
    assert of_the_sender({name: ["other"], "tenant": "a"}) == {"tenant": "a"}


@pytest.mark.parametrize("name", ["ccv", "CC-list", "cc_emails", "bcc-archive", "x-deathly", "x-delivery-country"])
def test_a_name_that_begins_like_the_brokers_is_the_senders(name: str) -> None:
    """No header that somebody sent is lost with a retry."""
    assert of_the_sender({name: "kept"}) == {name: "kept"}


def test_a_failure_is_written_down() -> None:
    """How often, why, when and where, beside what the sender wrote."""
    assert failed(SENDERS, **FAILURE) == SENDERS | {
        ATTEMPTS: 3,
        ERROR: "exit code 1",
        FAILED_AT: "2026-01-01T00:00:00+00:00",
        WORKER: "host:2",
    }


def test_a_copy_says_when_it_was_made() -> None:
    """To the millisecond. One of version 0.4 does not, nor does what anybody else writes there."""
    before = time.time() - 0.001
    assert before <= copied_at(copied(pika.BasicProperties(), b"x", {}, 4096).token) <= time.time()  # type: ignore[no-untyped-call]
    odd = ["", "c0ffee12", "some-thing", "-", "c0ffee-", "a-" + 300 * "f"]
    assert {copied_at(token) for token in odd} == {math.inf}


def test_a_failure_replaces_the_one_before() -> None:
    """A verdict ends the count of starts, and the broker's own stay behind."""
    written = failed(SENDERS | OURS | BROKERS, **FAILURE)
    assert written == failed(SENDERS, **FAILURE) | {COPY: "token"}
    assert STARTS not in written


@pytest.mark.parametrize("letter", ["e", "€", "\n"])
def test_a_long_error_is_cut_at_its_end(letter: str) -> None:
    """All headers of a message share one frame; the reason comes first, and is kept."""
    assert LONGEST_ERROR == 2000
    for length in (LONGEST_ERROR - 1, LONGEST_ERROR):
        error = "why" + letter * (length - 3)
        assert failed({}, **FAILURE | {"error": error})[ERROR] == error
    longer = failed({}, **FAILURE | {"error": "why" + letter * LONGEST_ERROR})[ERROR]
    assert longer == "why" + letter * (LONGEST_ERROR - 3)


def test_a_start_is_counted() -> None:
    """The new count replaces the old one; the failures so far, and what the sender wrote, go on."""
    others = {name: value for name, value in OURS.items() if name != STARTS}
    assert started(SENDERS, starts=1) == SENDERS | {STARTS: 1}
    assert started(SENDERS | OURS | BROKERS, starts=3) == SENDERS | others | {STARTS: 3}


def test_no_start_is_no_header() -> None:
    """A start that is taken back leaves the task as it was before."""
    others = {name: value for name, value in OURS.items() if name != STARTS}
    assert started(SENDERS | OURS | BROKERS, starts=0) == SENDERS | others
    assert started({}, starts=0) == {}


def test_as_new_is_what_was_sent() -> None:
    """Nothing of rqtool's is left, known today or not, nor of the broker's."""
    assert as_new(SENDERS | OURS | BROKERS | {f"{OWN_PREFIX}later": 1}) == SENDERS
    assert as_new(failed(started(SENDERS, starts=2), **FAILURE)) == SENDERS


@pytest.mark.parametrize(
    "write",
    [
        of_the_sender,
        as_new,
        lambda headers: failed(headers, **FAILURE),
        lambda headers: started(headers, starts=0),
        lambda headers: started(headers, starts=3),
    ],
)
@pytest.mark.parametrize("given", [{}, SENDERS, SENDERS | OURS | BROKERS])
def test_a_deliverys_headers_are_left_alone(
    write: Callable[[Mapping[str, Any]], dict[str, Any]], given: dict[str, Any]
) -> None:
    """A delivery may be copied again, or returned: what comes out is a dict of its own."""
    before = dict(given)
    write(MappingProxyType(given))
    written = write(given)
    assert given == before
    written["more"] = 1
    assert "more" not in given
