"""`rqtool broker`: a private node that starts, is found, is recognised when it is gone, and leaves nothing running."""

from __future__ import annotations

import json
import os
import socket
import stat
from pathlib import Path

import pytest

from rqtool.localbroker import LocalBroker
from tests.tools import Program, eventually, sigkill


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Rqtool with a state directory of its own and no broker named."""
    return Program({"XDG_STATE_HOME": str(tmp_path / "state")}, cwd=tmp_path)


def processes_of(home: Path) -> list[str]:
    """Processes that have this path among their arguments or in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
            except OSError:
                continue
            if str(home).encode() in told:
                found.append((process / "comm").read_text().strip())
    return found


def test_start_use_stop(program: Program, tmp_path: Path) -> None:
    """Start prints both addresses, twice is harmless, the verbs find it, and after stop no process is left."""
    home = tmp_path / "state" / "rqtool" / "broker"
    assert program("broker", "status").code == 69
    first = program("broker", "start", "--json")
    try:
        again = program("broker", "start", "--json")
        status = program("broker", "status")
        assert program("send", "kept").code == 0
        assert "task_queue\t1\t0\t0\trunning\tclassic" in program("queues").stdout
    finally:
        stopped = program("broker", "stop")

    node = json.loads(first.stdout)
    assert (first.code, again.code, status.code, stopped.code) == (0, 0, 0, 0)
    assert node == json.loads(again.stdout)
    assert node["amqp_url"] in status.stdout
    assert node["api_url"] in status.stdout
    assert processes_of(home) == []
    assert program("broker", "stop").code == 0
    assert program("send", "x").code == 69
    readable = [p for p in home.iterdir() if p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and p.name != "lock"]
    assert readable == []


def test_a_crash_is_recognised_and_the_data_stays(tmp_path: Path) -> None:
    """After SIGKILL status says so, the next start takes the same ports and the same tasks."""
    broker = LocalBroker(tmp_path / "node")
    before = broker.start()
    program = Program({"RQTOOL_URL": before.amqp_url, "RQTOOL_API_URL": before.api_url}, cwd=tmp_path)
    try:
        assert program("send", "kept").code == 0
        broker.stop()
        before = broker.start()
        sigkill(before.pid)
        eventually(lambda: broker.status() is None)
        after = broker.start()
        assert (before.amqp_port, before.api_port) == (after.amqp_port, after.api_port)
        assert before.pid != after.pid
        ended = program("work", "--drain")
        assert ended.stdout == " [x] Received 'kept'\n [x] Done\n"
    finally:
        broker.stop()
    assert processes_of(broker.home) == []


def test_a_port_that_was_taken_meanwhile(tmp_path: Path) -> None:
    """Where somebody else has the old port, another one is used."""
    broker = LocalBroker(tmp_path / "node")
    before = broker.start()
    broker.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", before.amqp_port))
        squatter.listen()
        try:
            after = broker.start()
            assert before.amqp_port != after.amqp_port
            assert before.api_port == after.api_port
        finally:
            broker.stop()


def test_a_state_of_another_life(tmp_path: Path) -> None:
    """A pid that belongs to another program now (the machine was rebooted) is not ours."""
    broker = LocalBroker(tmp_path / "node")
    (tmp_path / "node").mkdir()
    state = {"pid": os.getpid(), "amqp_port": 1, "api_port": 2, "dist_port": 3, "epmd_port": 4}
    (tmp_path / "node" / "node.json").write_text(json.dumps(state))
    assert broker.status() is None
    assert broker.stop() is None
    (tmp_path / "node" / "node.json").write_text("{half")
    assert broker.status() is None


def test_no_server_installed(program: Program, tmp_path: Path) -> None:
    """69, and the one command that installs it here; a variable that leads nowhere is a usage error."""
    wrong = program("broker", "start", env={"RQTOOL_RABBITMQ_SERVER": str(tmp_path / "nothing")})
    assert wrong.code == 2
    assert "RQTOOL_RABBITMQ_SERVER names" in wrong.stderr


def test_a_node_that_cannot_start(tmp_path: Path) -> None:
    """A broken configuration: 69, its own last words, and nothing left running."""
    broker = LocalBroker(tmp_path / "node", {"no.such.setting": "1"})
    from rqtool.errors import Unreachable

    with pytest.raises(Unreachable, match="ended while starting"):
        broker.start()
    eventually(lambda: processes_of(broker.home) == [])
