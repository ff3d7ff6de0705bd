"""Which settings may drop confirmed messages."""

from __future__ import annotations

import sys

import pytest

from rqtool.topology import dead, drops, most_returns, queue_arguments, sibling_arguments, waiting, warning

SAFE = {"dead-letter-exchange": "", "dead-letter-strategy": "at-least-once", "overflow": "reject-publish"}


@pytest.mark.parametrize(
    ("settings", "kind", "found"),
    [
        ({}, "classic", []),
        ({}, None, []),
        ({"x-max-length": 50}, "classic", ["x-max-length=50"]),
        ({"x-max-length": 50}, None, ["x-max-length=50"]),
        ({"max-length": 50}, "quorum", ["policy max-length=50"]),
        ({"x-max-length": 50, "max-length": 9}, "quorum", ["x-max-length=50", "policy max-length=9"]),
        ({"x-max-length-bytes": 50, "x-overflow": "drop-head"}, "classic", ["x-max-length-bytes=50"]),
        ({"x-max-length": 50, "x-overflow": "reject-publish"}, "classic", []),
        ({"x-max-length": 50, "x-overflow": "reject-publish-dlx"}, "classic", []),
        ({"max-length": 50, "overflow": "reject-publish-dlx"}, "quorum", ["policy max-length=50"]),
        ({"max-length-bytes": 50, "overflow": "reject-publish"}, "quorum", []),
        ({"x-max-length": 50, "overflow": "reject-publish"}, "classic", []),
        ({"max-length": 9, "overflow": "reject-publish", "x-overflow": "drop-head"}, None, ["policy max-length=9"]),
        ({"x-message-ttl": 0}, "classic", ["x-message-ttl=0"]),
        ({"message-ttl": 1000}, "quorum", ["policy message-ttl=1000"]),
        ({"x-message-ttl": 1000, "x-dead-letter-exchange": ""}, "quorum", ["x-message-ttl=1000"]),
        ({"message-ttl": 1000, **SAFE}, "quorum", []),
        ({"message-ttl": 1000, **SAFE}, "classic", ["policy message-ttl=1000"]),
        ({"message-ttl": 1000, **SAFE, "overflow": "drop-head"}, "quorum", ["policy message-ttl=1000"]),
        ({"x-expires": 5000, **SAFE}, "quorum", ["x-expires=5000"]),
        ({"expires": 5000}, "classic", ["policy expires=5000"]),
        ({"x-delivery-limit": 3}, "quorum", ["x-delivery-limit=3"]),
        ({"delivery-limit": 0}, "quorum", ["policy delivery-limit=0"]),
        ({"x-delivery-limit": -1}, "quorum", []),
        ({"x-delivery-limit": 3, "dead-letter-exchange": "dlx"}, "quorum", []),
        ({"delivery-limit": 3}, "classic", []),
        ({"x-max-length-bytes": 50, "x-max-age": "1D", "expires": 5}, "stream", []),
        ({"x-max-priority": 5, "x-queue-mode": "lazy", "x-single-active-consumer": True}, "classic", []),
    ],
)
def test_what_may_drop(settings: dict[str, object], kind: str | None, found: list[str]) -> None:
    """Arguments and policies; what is rejected or moved with a confirm is not dropped."""
    assert drops(settings, kind) == found


def test_a_warning_says_what_is_known() -> None:
    assert warning("jobs", []) == ""
    assert warning("jobs", ["a", "b"]) == "queue 'jobs' may drop tasks that it has confirmed: a, b"
    assert "may not see the settings of queue 'jobs'" in warning("jobs", None)


@pytest.mark.parametrize(
    ("arguments", "most"),
    [
        ({}, None),
        ({"x-queue-type": "classic", "x-delivery-limit": 3}, None),
        ({"x-queue-type": "quorum"}, 20),
        ({"x-queue-type": "quorum", "x-delivery-limit": 3}, 3),
        ({"x-queue-type": "quorum", "x-delivery-limit": -1}, sys.maxsize),
    ],
)
def test_most_returns(arguments: dict[str, object], most: int | None) -> None:
    assert most_returns(arguments, 20) == most


def test_rabbitmq_3_has_no_limit_of_its_own() -> None:
    assert most_returns({"x-queue-type": "quorum"}, None) == sys.maxsize


def test_rqtools_own_queues_do_not() -> None:
    """The queues that rqtool makes: plain, quorum, for waiting, for the dead of a plain one."""
    assert drops(queue_arguments("q", "quorum"), "quorum") == []
    assert drops(sibling_arguments(waiting("q", "1s", 1.0), None), "quorum") == []
    assert drops(sibling_arguments(dead("q"), None), None) == []
