"""What is known about queues, from the rows of the API, without a broker."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rqtool.management.queue import Queue, completed, read_queue

LIVE = Queue("/", "q", 0, 0, None, "running", "quorum", True, messages=0)
FULL = replace(LIVE, messages_ready=9, messages=9)


@pytest.mark.parametrize(
    ("row", "found"),
    [
        ({"arguments": {"x-max-length": 5}}, ("x-max-length=5",)),
        ({"effective_policy_definition": {"max-length": 5}}, ("policy max-length=5",)),
        ({"arguments": {"x-overflow": "reject-publish"}, "effective_policy_definition": {"max-length": 5}}, ()),
        ({"type": "quorum", "arguments": {"x-delivery-limit": 5}}, ("x-delivery-limit=5",)),
        ({"arguments": [], "effective_policy_definition": "undefined"}, ()),
        ({"effective_policy_definition": None}, ()),
    ],
)
def test_settings_that_may_drop(row: dict[str, Any], found: tuple[str, ...]) -> None:
    """Arguments and policy together."""
    assert read_queue({"vhost": "/", "name": "q", **row}).drops == found


@pytest.mark.parametrize(("online", "state"), [(["a"], "minority"), ([], "minority"), (["a", "c"], "running")])
def test_most_of_a_quorum_queue_is_down(online: list[str], state: str) -> None:
    assert read_queue({"name": "q", "state": "running", "members": ["a", "b", "c"], "online": online}).state == state
    assert read_queue({"name": "q", "state": "running", "members": [], "online": []}).state == "running"


@pytest.mark.parametrize(
    ("live", "reported", "ready"),
    [
        (LIVE, [replace(LIVE, messages=None)], None),
        (LIVE, [], None),
        (LIVE, [LIVE], 0),
        (LIVE, [FULL], 0),
        (FULL, [replace(LIVE, messages=None)], 9),
        (replace(LIVE, type="classic"), [], 0),
        (replace(LIVE, messages_ready=None, messages=None), [LIVE], None),
    ],
    ids=["not yet", "nobody knows it", "empty", "just emptied", "full", "classic ones are live", "can't be asked"],
)
def test_a_nought_before_the_first_report_is_none(live: Queue, reported: list[Queue], ready: int | None) -> None:
    """A quorum queue says 0 until it has looked."""
    [found] = completed([live], reported)
    assert (found.messages_ready, found.messages is None) == (ready, ready is None)


def test_what_only_the_reports_know() -> None:
    """A queue that is not listed yet is not known; policies and consumers come from the reports."""
    there = replace(FULL, consumers=2, drops=("policy expires=1",))
    assert completed([], [there]) == [replace(there, messages=None, messages_ready=None, messages_unacknowledged=None)]
    assert completed([FULL], [there]) == [there]
