"""`rqtool broker`: a private node that starts, is found, is recognised when it is gone, and leaves nothing running."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pika
import pytest
import urllib3

from rqtool.private_broker.cluster import PrivateBroker
from rqtool.private_broker.node import Node, remembered, runs
from rqtool.private_broker.server import SERVER_VARIABLE, find_server
from rqtool.private_broker.user import Login
from tests.tools import ALL_RIGHTS, Program, Vhost, eventually, lines, sigkill

pytestmark = pytest.mark.xdist_group("private broker")

GUEST = Login("guest", "guest")


@pytest.fixture
def program(tmp_path: Path) -> Program:
    """Rqtool with a state directory of its own and no broker named."""
    return Program({"XDG_STATE_HOME": str(tmp_path / "state")}, cwd=tmp_path)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[PrivateBroker, Program]]:
    """Likewise, with a private broker that one test leaves to the next: it moves, is taken over, and grows at last."""
    folder = tmp_path_factory.mktemp("lasting")
    broker = PrivateBroker(folder / "state" / "rqtool" / "broker")
    yield broker, Program({"XDG_STATE_HOME": str(folder / "state")}, cwd=folder)
    broker.stop()


def processes_of(home: Path) -> list[str]:
    """Processes that have this path among their arguments or in their environment."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and int(process.name) != os.getpid():
            try:
                told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
                name = (process / "comm").read_text().strip()
            except OSError:
                continue
            if str(home).encode() in told:
                found.append(name)
    return found


def lets_in(node: Node, login: Login) -> tuple[bool, bool]:
    """Whether this login opens an AMQP connection, and whether it may use the management API."""
    credentials = pika.PlainCredentials(*login)
    try:
        pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", node.amqp_port, credentials=credentials)).close()
        amqp = True
    except pika.exceptions.ProbableAuthenticationError:
        amqp = False
    return amqp, api_status(node, login) == 200


def api_status(node: Node, login: Login | None) -> int:
    headers = urllib3.make_headers(basic_auth=":".join(login)) if login else {}
    return urllib3.PoolManager().request("GET", f"{node.api_url}api/whoami", headers=headers).status


def back_to_version_04(broker: PrivateBroker) -> None:
    """What version 0.4 left: `guest` is the one user, and there is no password."""
    [node, *_] = broker.running()
    vhost = Vhost(node, "/")
    vhost.api("PUT", "/api/users/guest", {"password": "guest", "tags": "administrator"})
    for row in vhost.api("GET", "/api/vhosts"):
        vhost.api("PUT", f"/api/permissions/{Vhost(node, row['name']).path}/guest", ALL_RIGHTS)
    (broker.home / "password").unlink()
    [node, *_] = broker.running()
    Vhost(node, "/").api("DELETE", "/api/users/rqtool")
    assert (node.user, lets_in(node, GUEST)) == ("guest", (True, True))


def test_start_use_stop(program: Program, tmp_path: Path) -> None:
    """Start prints both addresses without the password, twice is harmless, the verbs find it, and after stop no process
    is left.
    """
    home = tmp_path / "state" / "rqtool" / "broker"
    assert program("broker", "status").code == 69
    first = program("broker", "start", "--json")
    try:
        again = program("broker", "start", "--json")
        status = program("broker", "status")
        full = program("broker", "url")
        assert program("broker", "url", "--quiet").stdout == full.stdout, "a URL is data"
        both = json.loads(program("broker", "url", "--json").stdout)
        sent = program("send", "kept")
        listed = program("queues", "--json")
        assert "task_queue\t1\t0\t0\trunning\tclassic" in program("queues").stdout
        assert program("queues", env={"AMQP_URL": full.stdout.strip()}).stdout == program("queues").stdout
    finally:
        stopped = program("broker", "stop", "--json")

    node = json.loads(first.stdout)
    assert json.loads(stopped.stdout) == {"stopped": [node["pid"]]}
    assert {first.code, again.code, status.code, full.code, sent.code, listed.code, stopped.code} == {0}
    assert node == json.loads(again.stdout)
    assert node["amqp_url"] in status.stdout
    assert node["api_url"] in status.stdout
    assert processes_of(home) == []
    assert program("broker", "stop", "--json").stdout == '{"stopped": []}\n'
    for verb in (["send", "x"], ["queues"]):
        down = program(*verb)
        assert down.code == 69
        assert down.stderr.startswith("rqtool: The private broker is stopped, and no ")
        assert ": connection refused. Start it with: rqtool broker start; or " in down.stderr
    password = (home / "password").read_text().strip()
    assert full.stdout == f"amqp://rqtool:{password}@127.0.0.1:{urlsplit(node['amqp_url']).port}/%2F\n"
    assert both["amqp_url"] == full.stdout.strip()
    assert both["api_url"] == node["api_url"].replace("//", f"//rqtool:{password}@")
    shown = [first, again, status, sent, listed, stopped]
    assert not [ended for ended in shown if password in ended.stdout + ended.stderr]
    assert program("broker", "url").code == 69
    readable = [p for p in home.iterdir() if p.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) and p.name != "lock"]
    assert readable == []


def test_a_home_that_is_not_ascii(tmp_path: Path) -> None:
    """In cron's locale too, which is not UTF-8: the broker starts, and gets its login back."""
    folder = tmp_path / "state of jörg"
    program = Program({"XDG_STATE_HOME": str(folder), "LC_ALL": "C"}, cwd=tmp_path)
    try:
        first = program("broker", "start", "--quiet")
        assert (first.code, first.stderr) == (0, "")
        (folder / "rqtool" / "broker" / "password").unlink()
        again = program("broker", "start", "--quiet")
        assert (again.code, again.stderr) == (0, "")
        assert program("queues").code == 0
    finally:
        program("broker", "stop")


def test_only_its_owner_gets_in(broker: PrivateBroker, node: Node) -> None:
    """Whoever can't read the password: neither as `guest`, nor with an empty password, nor without a name."""
    file = broker.home / "password"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(file.read_text()) > 30
    for login in (GUEST, Login("rqtool", ""), Login("rqtool", "rqtool"), Login("", "")):
        assert lets_in(node, login) == (False, False), login
    assert api_status(node, None) == 401
    assert lets_in(node, Login(node.user, node.password)) == (True, True)

    class Anonymous(pika.PlainCredentials):
        """A mechanism of RabbitMQ 4's."""

        TYPE = "ANONYMOUS"

        def response_for(self, start: pika.spec.Connection.Start) -> tuple[str, bytes]:
            return self.TYPE, b""

    nobody = pika.ConnectionParameters("127.0.0.1", node.amqp_port)
    nobody.credentials = Anonymous("", "")
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(nobody)


def is_locked(path: Path) -> bool:
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_the_data_and_the_free_ports_stay(lasting: tuple[PrivateBroker, Program]) -> None:
    """A node that is killed while `start` waits for it is started again, on the same ports and with the same tasks.
    Where somebody else has the old port meanwhile, another one is used.
    """
    broker, with_state = lasting
    [before] = broker.start()
    program = Program({"RQTOOL_URL": before.amqp_url, "RQTOOL_API_URL": before.api_url}, cwd=with_state.cwd)
    assert program("send", "kept").code == 0
    os.kill(before.pid, signal.SIGSTOP)
    starting = with_state.start("broker", "start")
    eventually(lambda: is_locked(broker.home / "lock"))
    sigkill(before.pid)
    assert starting.wait().code == 0
    [after] = broker.running()
    assert (before.amqp_port, before.api_port) == (after.amqp_port, after.api_port)
    assert before.pid != after.pid
    ended = program("work", "--drain")
    assert ended.stdout == " [x] Received 'kept'\n [x] Done 'kept'\n"
    broker.stop()
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", before.amqp_port))
        squatter.listen()
        [elsewhere] = broker.start()
        assert before.amqp_port != elsewhere.amqp_port
        assert before.api_port == elsewhere.api_port


def test_a_broker_of_version_04_is_taken_over(lasting: tuple[PrivateBroker, Program]) -> None:
    """Running or stopped, its tasks and vhosts stay, and until then it is found; so is one whose password is lost."""
    broker, program = lasting
    tasks = [b"%d" % n for n in range(1000)]
    [node] = broker.start()
    other = Vhost(node, "an/other")
    other.create()
    for stopped in (False, True):
        back_to_version_04(broker)
        assert program("send", "--queue", "old", input=lines(*tasks)).code == 0
        if stopped:
            broker.stop()
        assert program("broker", "start").code == 0
        [node] = broker.running()
        assert node.user == "rqtool"
        assert lets_in(node, GUEST) == (False, False)
        assert Vhost(node, "/").bodies("old") == tasks
        Vhost(node, "an/other").declare("mine")

    (broker.home / "password").unlink()
    assert lets_in(node, Login(node.user, node.password)) == (True, True)
    [found] = broker.start()
    assert lets_in(node, Login(node.user, node.password)) == (False, False)
    assert lets_in(found, Login(found.user, found.password)) == (True, True)
    assert program("queues", "old").code == 0


def failing_once(folder: Path) -> Path:
    """A server that ends at its first start, as RabbitMQ 3.10 may beside a node that is just starting."""
    folder.mkdir()
    real = find_server()
    for name, before in (("rabbitmq-server", 'mkdir "$0.failed" && exit 1'), ("rabbitmqctl", ":")):
        script = folder / name
        script.write_text(f'#!/bin/sh\n{before}\nexec {shlex.quote(str(real.with_name(name)))} "$@"\n')
        script.chmod(0o755)
    return folder / "rabbitmq-server"


@pytest.mark.timeout(300)
def test_a_cluster(lasting: tuple[PrivateBroker, Program]) -> None:
    """A broker grows to three nodes, its tasks stay; a node that was killed is named, and started again. A cluster of
    version 0.4 is taken over.
    """
    broker, program = lasting
    assert program("broker", "start").code == 0
    assert program("send", "--queue", "old", "kept").code == 0
    [node, *_] = broker.start(3)
    # A vhost that is made in the first moment is on every node: the broker answers 500 if one has not joined yet.
    Vhost(node, "made at once", nodes=broker.members()).create()
    grown = json.loads(program("broker", "start", "--nodes", "3", "--json").stdout)
    names = [node["name"] for node in grown["nodes"]]
    assert names == ["rqtool@localhost", "rqtool2@localhost", "rqtool3@localhost"]
    assert grown["amqp_url"].split(",") == [node["amqp_url"] for node in grown["nodes"]]

    back_to_version_04(broker)
    sigkill(grown["nodes"][1]["pid"])
    eventually(lambda: "rqtool2@localhost  is not running" in program("broker", "status").stdout)
    assert program("send", "--queue", "new", "--type", "quorum", "x").code == 0
    fewer = program("broker", "start", "--nodes", "2")
    assert (fewer.code, "has 3 nodes" in fewer.stderr) == (2, True)

    server = failing_once(broker.home / "server")
    again = json.loads(program("broker", "start", "--json", env={SERVER_VARIABLE: str(server)}).stdout)
    assert again["amqp_url"] == grown["amqp_url"]
    members = {node["name"]: node["pid"] for node in again["nodes"]}
    assert members.keys() == set(names)
    assert all(members.values())
    for node in broker.running():
        assert lets_in(node, GUEST) == (False, False)
        assert lets_in(node, Login("rqtool", node.password)) == (True, True)
    expected = [["new", "1", "0"], ["old", "1", "0"]]
    # A quorum queue reports its totals every five seconds.
    eventually(
        lambda: [row.split("\t")[:3] for row in program("queues", "new", "old").stdout.splitlines()[1:]] == expected
    )

    assert program("work", "--queue", "new", "--drain", "--retry-delays", "none", "--", "false").code == 1
    for name in names[1:]:
        sigkill(members[name])
    # What does not answer is not empty.
    eventually(
        lambda: (
            [row.split("\t")[6] for row in program("queues", "new", "new.dead").stdout.splitlines()[1:]]
            == ["down", "down"]
        )
    )
    for words in (["dead"], ["dead", "retry", "new"]):
        ended = program(*words)
        assert (ended.code, "Queue 'new.dead' does not answer" in ended.stderr) == (69, True)
    assert program("release", "new", "--yes").code == 69
    stopped = program("broker", "stop")
    assert stopped.code == 0
    assert processes_of(broker.home) == []


def test_a_node_that_was_never_finished(program: Program, tmp_path: Path) -> None:
    """What a failed start left behind is no node; a folder that may not be entered is no reason to crash."""
    home = tmp_path / "state" / "rqtool" / "broker"
    (home / "node2").mkdir(parents=True)
    state = {"pid": 0, "amqp_port": 1, "api_port": 2, "dist_port": 3, "epmd_port": 4}
    (home / "node.json").write_text(json.dumps(state))
    assert [node.amqp_port for node in PrivateBroker(home).members()] == [1]
    assert program("broker", "status").code == 69


def test_a_state_of_another_life(tmp_path: Path) -> None:
    """A pid that belongs to another program now (the machine was rebooted) is not ours."""
    broker = PrivateBroker(tmp_path / "node")
    (tmp_path / "node").mkdir()
    state = {"pid": os.getpid(), "amqp_port": 1, "api_port": 2, "dist_port": 3, "epmd_port": 4}
    (tmp_path / "node" / "node.json").write_text(json.dumps(state))
    assert broker.running() == ()
    assert broker.stop() == ()
    (tmp_path / "node" / "node.json").write_text("{half")
    assert broker.running() == ()


def test_a_folder_with_an_apostrophe(tmp_path: Path) -> None:
    """RabbitMQ would hang there while it starts."""
    program = Program({"XDG_STATE_HOME": str(tmp_path / "o'brien")}, cwd=tmp_path)
    for verb in ("start", "status", "stop"):
        refused = program("broker", verb)
        assert (refused.code, "has an apostrophe. Set XDG_STATE_HOME" in refused.stderr) == (2, True)
    assert not (tmp_path / "o'brien").exists()


def test_no_server_installed(program: Program, tmp_path: Path) -> None:
    """69, and the one command that installs it here; a variable that leads nowhere is a usage error."""
    wrong = program("broker", "start", env={"RQTOOL_RABBITMQ_SERVER": str(tmp_path / "nothing")})
    assert wrong.code == 2
    assert "RQTOOL_RABBITMQ_SERVER names" in wrong.stderr


def test_a_node_that_cannot_start(tmp_path: Path) -> None:
    """A broken configuration: 69, its own last words, and nothing left running."""
    broker = PrivateBroker(tmp_path / "node", {"no.such.setting": "1"})
    from rqtool.errors import Unreachable

    with pytest.raises(Unreachable, match="ended while starting"):
        broker.start()
    eventually(lambda: processes_of(broker.home) == [])


def test_a_node_in_the_middle_of_exec_runs(tmp_path: Path) -> None:
    """The server starts by one exec after the other, and has no arguments in each; on a busy machine that lasts."""
    again = 'exec sh -c "$0" "$0" "$1"'
    busy = [subprocess.Popen(["sh", "-c", again, again, str(tmp_path)]) for _ in range(8)]
    try:
        nodes = [replace(remembered("rqtool@localhost", tmp_path, tmp_path, *GUEST), pid=each.pid) for each in busy]
        assert all(runs(nodes[look % len(nodes)]) for look in range(1_000))
    finally:
        for each in busy:
            each.kill()
    eventually(lambda: not any(runs(node) for node in nodes))  # zombies
    for each in busy:
        each.wait()
