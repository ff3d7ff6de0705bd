"""Brokers that keep less than is needed for a judgement: nobody is accused, and nothing is said to be all right."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import Program, Vhost, eventually

MINUTES = [f"management.sample_retention_policies.{kind}.minute" for kind in ("global", "basic", "detailed")]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("settings", "words", "consumers"),
    [
        ({"management_agent.disable_metrics_collector": "true"}, "The broker keeps no statistics", ""),
        ({"management.rates_mode": "none"}, "The broker counts no deliveries", "1"),
        (dict.fromkeys(MINUTES, "5"), "The broker remembers 1 min only", "1"),
    ],
    ids=["no metrics", "no rates", "a minute"],
)
def test_it_says_so(tmp_path: Path, settings: dict[str, str], words: str, consumers: str) -> None:
    """The figures are there, the verdict is none, a check is UNKNOWN."""
    broker = PrivateBroker(tmp_path / "broker", settings)
    try:
        [node] = broker.start()
        vhost = Vhost(node, "/")
        rqtool = Program(vhost.environment, tmp_path)
        vhost.declare("q")
        with vhost.channel() as channel:
            channel.basic_publish("", "q", b"x")
            channel.basic_consume("q", lambda *_: None)

            def row() -> list[str]:
                channel.connection.process_data_events(0)
                return rqtool("queues").stdout.splitlines()[1].split("\t")

            eventually(lambda: row()[:4] == ["q", "0", "1", consumers])
            eventually(lambda: row()[6] == "unknown", 90, every=2)
            assert words in rqtool("queues").stderr
            checked = rqtool("queues", "--check")
            assert (checked.code, words in checked.stdout) == (3, True)
    finally:
        broker.stop()
