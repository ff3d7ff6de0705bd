"""A check for Prometheus and as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rqtool.management.queue import Queue
from rqtool.queues.check import Check, Status, Thresholds, check
from rqtool.queues.check_formats import formatted
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries

NOW = datetime(2026, 1, 1, 14, 0, tzinfo=UTC)


def queue(name: str, ready: int | None, sent: int | None = None) -> Diagnosis:
    figures = Queue("/", name, ready, 0, 0, "running", "classic", True, head_timestamp=sent)
    return Diagnosis(figures, Deliveries(0), [], Basis(60.0, Clock(None, NOW)))


def test_prometheus() -> None:
    """A gauge for each figure, with a sample where it is known; labels are escaped."""
    seen = [queue("a", 2, int(NOW.timestamp()) - 60), queue('b\\"\n', None)]
    lines = formatted(check(seen, Thresholds(), [], ""), "prometheus").split("\n")
    assert [line for line in lines if not line.startswith("#")] == [
        "rqtool_check_status 1",
        'rqtool_queue_messages_ready{vhost="/",queue="a"} 2',
        'rqtool_queue_messages_unacknowledged{vhost="/",queue="a"} 0',
        'rqtool_queue_messages_unacknowledged{vhost="/",queue="b\\\\\\"\\n"} 0',
        'rqtool_queue_consumers{vhost="/",queue="a"} 0',
        'rqtool_queue_consumers{vhost="/",queue="b\\\\\\"\\n"} 0',
        'rqtool_queue_stuck{vhost="/",queue="a"} 0',
        'rqtool_queue_stuck{vhost="/",queue="b\\\\\\"\\n"} 0',
        'rqtool_queue_oldest_ready_seconds{vhost="/",queue="a"} 60.0',
        'rqtool_queue_verdict{vhost="/",queue="a",verdict="no consumers"} 1',
        'rqtool_queue_verdict{vhost="/",queue="b\\\\\\"\\n",verdict="unknown"} 1',
    ]
    assert lines[0].startswith("# HELP rqtool_check_status ")
    assert lines[1] == "# TYPE rqtool_check_status gauge"


def test_json() -> None:
    """The status in a word and a number, and the queues as `queues --json` has them."""
    found = json.loads(formatted(check([queue("a", 2)], Thresholds(), [], ""), "json"))
    assert (found["status"], found["code"], found["figures"]) == (
        "WARNING", 1, {"ready": 2, "held": 0, "stuck": 0, "dead": 0},
    )  # fmt: skip
    assert found["text"].startswith("a: no consumers")
    assert [each["name"] for each in found["queues"]] == ["a"]


def test_an_error() -> None:
    """It is UNKNOWN in each format."""
    result = Check(Status.UNKNOWN, "No broker")
    assert formatted(result, "nagios") == "RQTOOL UNKNOWN: No broker"
    assert json.loads(formatted(result, "json"))["text"] == "No broker"
    assert "rqtool_check_status 3" in formatted(result, "prometheus").split("\n")
