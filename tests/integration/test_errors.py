"""Every error of the contract: its exit code, one line, and what to do. No password, no traceback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from rqtool.private_broker.node import Node
from rqtool.private_broker.ports import claim_port
from tests.tools import Ended, Program, Run, Vhost

SECRET = "s3cret/p@ss"


def expect(ended: Ended, code: int, *words: str) -> None:
    """One line on stderr, with these words; nothing on stdout."""
    assert (code, "") == (ended.code, ended.stdout), ended
    assert len(ended.stderr.splitlines()) == 1, ended.stderr
    assert ended.stderr.startswith("rqtool: ")
    assert ended.stderr.endswith(".\n")
    for word in (*words,):
        assert word in ended.stderr
    assert SECRET not in ended.stderr
    assert "s3cret" not in ended.stderr


VERBS = [["send", "x"], ["work", "--drain"], ["queues"]]
AMQP_VERBS = VERBS[:2]


@pytest.fixture
def closed_port() -> int:
    return claim_port()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_no_broker(offline: Run, closed_port: int, verb: list[str]) -> None:
    """Nothing listens: 69, at once, with the command that starts one."""
    url = f"amqp://me:s3cret%2Fp%40ss@127.0.0.1:{closed_port}/"
    ended = offline(*verb, url=url, api_url=f"http://127.0.0.1:{closed_port}")

    expect(ended, 69, f"127.0.0.1:{closed_port}", "connection refused")


@pytest.mark.parametrize("verb", AMQP_VERBS, ids=" ".join)
def test_no_such_host(offline: Run, verb: list[str]) -> None:
    """A name that does not resolve is out of reach."""
    expect(offline(*verb, "--url", "amqp://nowhere.invalid"), 69, "nowhere.invalid")


@pytest.mark.parametrize(
    ("answer", "what"),
    [
        (None, "No broker answers at {}: no AMQP handshake in time"),
        (b"", "No broker answers at {}: the other side closed the connection"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "{} answers with HTTP, not AMQP"),
    ],
    ids=["silent", "closes", "http"],
)
def test_something_else_listens(rqtool: Program, answer: bytes | None, what: str) -> None:
    """Another program's port: an error in bounded time that says what happened, and which port is meant."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(30)
        url = f"amqp://127.0.0.1:{listener.getsockname()[1]}/"
        sending = rqtool.start("send", "x", "--url", f"{url}?socket_timeout=1&stack_timeout=1")
        client, _ = listener.accept()
        with client:
            client.recv(8)  # closed with unread data, a connection is reset
            if answer is not None:
                client.sendall(answer)
                client.shutdown(socket.SHUT_RDWR)
            expect(sending.wait(), 69, what.format(url), "AMQP port", "5672")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_wrong_password(rqtool: Program, vhost: Vhost, verb: list[str]) -> None:
    """77, the user's name, never the password. Nobody waits for another one."""
    patient = ["--give-up", "10m"] if verb[0] == "send" else []
    vhost.password = SECRET
    expect(rqtool(*verb, *patient, env={"RQTOOL_URL": vhost.url}), 77, f"{vhost.user!r}", "wrong name")


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_missing_vhost(rqtool: Program, node: Node, verb: list[str]) -> None:
    """77, the vhost's name."""
    expect(rqtool(*verb, env={"RQTOOL_URL": Vhost(node, "no such").url}), 77, "vhost 'no such'")


@pytest.fixture
def user(vhost: Vhost) -> Iterator[Vhost]:
    """The vhost as somebody without any right or tag sees it."""
    stranger = Vhost(vhost.node, vhost.name, user="stranger", password=SECRET)
    vhost.api("PUT", "/api/users/stranger", {"password": SECRET, "tags": ""})
    yield stranger
    vhost.api("DELETE", "/api/users/stranger")


def grant(vhost: Vhost, configure: str, write: str, read: str) -> None:
    rights = {"configure": configure, "write": write, "read": read}
    vhost.api("PUT", f"/api/permissions/{vhost.path}/stranger", rights)


def test_rights(rqtool: Program, user: Vhost, vhost: Vhost) -> None:
    """No entry, no configure, no write, no read: 77 each, with what is missing; no more than needed is asked for."""
    env = {"RQTOOL_URL": user.url}
    expect(rqtool("send", "x", env=env), 77, "'stranger' may not enter the vhost")
    grant(user, "", "", "")
    expect(rqtool("send", "x", env=env), 77, "'task_queue'", "permission")
    expect(rqtool("send", "x", env=env), 77, "refused", "queue 'task_queue'", "permission")
    expect(rqtool("work", "--drain", env=env), 77, "refused", "queue 'task_queue'")
    grant(user, "", ".*", ".*")
    assert rqtool("send", "x", env=env).code == 0
    assert rqtool("work", "--max-tasks", "1", env=env).code == 0


def test_user_without_the_management_tag(rqtool: Program, user: Vhost) -> None:
    """77, and the command that gives the tag."""
    grant(user, ".*", ".*", ".*")
    expect(
        rqtool("queues", env={"RQTOOL_URL": user.url}),
        77,
        "may not use the management API",
        "rabbitmqctl set_user_tags stranger",
    )


def test_management_plugin_off(rqtool: Program, node: Node, closed_port: int) -> None:
    """69, and the command that turns it on; where another program answers, the port that is meant."""
    off = rqtool("queues", env={"RQTOOL_API_URL": f"http://127.0.0.1:{closed_port}"})
    expect(off, 69, "rabbitmq-plugins enable rabbitmq_management")
    wrong_port = rqtool("queues", env={"RQTOOL_API_URL": f"http://127.0.0.1:{node.amqp_port}"})
    expect(wrong_port, 69, "--api-url", "default port is 15672")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["send", "x", "--url", "localhost"],
            ["localhost is not a usable URL", "amqp://USER:PASSWORD@HOST:PORT/VHOST"],
        ),
        (["send", "x", "--url", "amqp://u:s3cret#@host"], ["amqp://***@host is not a usable URL"]),
        (["work", "--url", "amqp://h?heartbeat=often"], ["heartbeat"]),
        (["send", "x", "--url", ",".join(["amqp://127.0.0.1"] * 5 + ["amqp://h?heartbeat=often"])], ["heartbeat"]),
        (["queues", "--api-url", "ftp://h"], ["ftp://h is not a usable URL"]),
        (["send", "--from", "missing.txt"], ["missing.txt can't be read", "o such file"]),
        (["send", "--from", "."], [". is a folder"]),
        (["send", "x", "--from", "-"], ["both on the command line and with --from"]),
        (["send", "x", "--header", "novalue"], ["'novalue' is no header"]),
        (["send", "x", "--header", "x-rqtool-copy=a"], ["x-rqtool-copy has a meaning of its own"]),
        (["send", "x", "--header", "CC=a"], ["CC has a meaning of its own"]),
        (["send", "x", "--header", "a=" + "x" * 100_000], ["headers are too large", "100,000 bytes"]),
        (["send", "x", "--unsent", "x" * 300], ["can't be written"]),
        (["dead", "list", "-q", "x" * 251], ["queue name of more than 255 bytes"]),
        (["queues", "--vhost", "\udcff"], ["is no vhost"]),
        (["send", "x", "--url", "amqp://h?heartbeat=65536"], ["heartbeat must be <= 65535"]),
        (["send", "x", "--url", "amqp://h?channel_max=1"], ["channel_max must be >= 4"]),
        (["send", "x", "--url", "amqp://h?stack_timeout=nan"], ["stack_timeout must be a number"]),
        (["send", "x", "--url", "amqp://h?locale=" + "x" * 256], ["locale is too long"]),
        (["send", "x", "--url", "amqp://h?tcp_options={'TCP_KEEPIDLE':'x'}"], ["The options of the broker URL"]),
        (["send", "x", "--url", "amqp://h?ssl%5Foptions={'password':'s3cret'}&ssl_options=1"], ["--tls-ca"]),
        (["send", "x", "--unsent", "no/such/folder"], ["can't be written"]),
        (["send", "x", "--queue", ""], ["no queue name"]),
        (["send", "x", "--queue", "a\nb"], ["no queue name"]),
        (["send", "x", "--queue", "q" * 256], ["more than 255 bytes"]),
        (["send", "x", "--priority", "256"], ["256"]),
        (["work", "--prefetch", "0"], ["--prefetch"]),
        (["work", "--jobs", "none"], ["--jobs"]),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_usage(offline: Run, arguments: list[str], words: list[str]) -> None:
    """Wrong words: 2, what is wrong and what would be right; nothing was sent or taken."""
    expect(offline(*arguments), 2, *words)


def test_environment_twins(rqtool: Program, vhost: Vhost) -> None:
    """What an option says its environment twin can say; the option wins. AMQP_URL serves where RQTOOL_URL is empty."""
    twins = {"RQTOOL_QUEUE": "from_env", "RQTOOL_SEND_GUARANTEE": "tx", "RQTOOL_SEND_TYPE": "classic"}
    assert rqtool("send", "x", env=twins).code == 0
    assert "from_env\t" in rqtool("queues").stdout
    assert rqtool("send", "x", env={"RQTOOL_SEND_TTL": "soon"}).code == 2
    assert rqtool("send", "x", "--ttl", "5s", env={"RQTOOL_SEND_TTL": "soon"}).code == 0
    assert rqtool("send", "x", env={"RQTOOL_URL": "", "AMQP_URL": vhost.url}).code == 0
