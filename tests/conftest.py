"""One private RabbitMQ for the whole run, from the code that users run; a fresh vhost for each test."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from rqtool.cli.main import main
from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node
from tests.old_queues import declare_siblings
from tests.tools import Ended, Program, Run, Vhost

# Nothing of the caller's reaches the tests, but for which RabbitMQ is tried.
for name in [name for name in os.environ if name.startswith(("RQTOOL_", "AMQP_")) and name != "RQTOOL_RABBITMQ_SERVER"]:
    del os.environ[name]


# `make check` is to be quick; `make test` looks harder.
# How long an example takes to draw is up to the machine: the first one waits while Hypothesis reads the whole source.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("default"), max_examples=20)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--nodes", type=int, default=1, help="How many nodes the brokers of the tests have.")
    parser.addoption("--kills", type=int, default=1, help="How often the broker is killed under new queues.")
    parser.addoption("--scale", type=int, default=1, help="How many times as many tasks and rounds, where it matters.")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[PrivateBroker]:
    """The broker of the run; a test that stops or kills it has one of its own."""
    local = PrivateBroker(tmp_path_factory.mktemp("broker"), {"heartbeat": "60"})
    local.start(pytestconfig.getoption("--nodes"))
    try:
        yield local
    finally:
        local.stop()


@pytest.fixture
def scale(pytestconfig: pytest.Config) -> int:
    return int(pytestconfig.getoption("--scale"))


@pytest.fixture
def node(broker: PrivateBroker) -> Node:
    nodes = broker.running()
    assert nodes, "an earlier test has ended the broker of the run"
    return nodes[0]


@pytest.fixture
def vhost(broker: PrivateBroker, node: Node, request: pytest.FixtureRequest) -> Iterator[Vhost]:
    """A vhost named after the test. The tutorial's queue is there, declared by another program, so that no test waits
    until a queue of rqtool's own is old enough; `@pytest.mark.empty_vhost` is for those that are about making one.
    """
    fresh = Vhost(node, f"{request.node.name[:80]}", nodes=broker.members())
    fresh.create()
    if not request.node.get_closest_marker("empty_vhost"):
        fresh.declare("task_queue")
    yield fresh
    fresh.delete()


@pytest.fixture
def old_places(vhost: Vhost) -> None:
    """The queues beside the tutorial's are there, too, so that no test waits until those are old enough."""
    declare_siblings(vhost, "task_queue", delays="100ms,200ms,1s,6s")


@pytest.fixture
def rqtool(vhost: Vhost, tmp_path: Path) -> Iterator[Program]:
    """The installed program, pointed at the test's vhost; what it leaves running is killed."""
    program = Program(vhost.environment, cwd=tmp_path)
    yield program
    program.end_all()


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program where no broker is, run in this process: for what is decided before one is asked."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str, url: str = "amqp://127.0.0.1:1/", api_url: str = "http://127.0.0.1:1/") -> Ended:
        monkeypatch.setenv("RQTOOL_URL", url)
        monkeypatch.setenv("RQTOOL_API_URL", api_url)
        monkeypatch.setattr(sys, "argv", ["rqtool", *arguments])
        return Ended(main(), *capsys.readouterr())

    return run


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """A failure carries the end of the node's log."""
    outcome = yield
    report = outcome.get_result()  # type: ignore[attr-defined]
    node = getattr(item, "funcargs", {}).get("node")
    if report.failed and isinstance(node, Node) and node.log.exists():
        tail = node.log.read_text(errors="replace").splitlines()[-30:]
        report.sections.append(("end of the broker's log", "\n".join(tail)))
