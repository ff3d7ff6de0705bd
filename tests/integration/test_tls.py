"""TLS, and where the URL comes from: verified unless told otherwise, and the password seen by nobody."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from tests.integration.conftest import Secured
from tests.tools import Program, Run, Vhost

pytestmark = pytest.mark.xdist_group("mortal broker")

SECRET = "s3cret"


@pytest.fixture
def tls(own_broker: Secured, tmp_path: Path) -> Iterator[Program]:
    program = Program(own_broker.environment(), cwd=tmp_path)
    yield program
    program.end_all()


def test_every_verb_over_tls(tls: Program) -> None:
    """AMQP and the management API, both with certificates that are checked, and ours shown."""
    assert tls("send", "one", "bad").code == 0
    assert tls("queues", "task_queue").stdout.splitlines()[1].startswith("task_queue\t2\t0")
    script = '[ "$(cat)" = one ]'
    worked = tls("work", "--drain", "--retry-delays", "100ms", "--", "sh", "-c", script)
    assert "ended in 'task_queue.dead'" in worked.stderr
    assert "can't be seen" not in worked.stderr
    assert [task["body"] for task in json.loads(tls("dead", "list", "--json").stdout)] == ["bad"]
    assert tls("dead", "purge", "--yes").code == 0


def test_flags_say_what_the_environment_says(own_broker: Secured, tmp_path: Path) -> None:
    """--tls-ca, --tls-cert and --tls-key, with the key in the certificate's file or in one of its own."""
    program = Program({}, cwd=tmp_path)
    flags = ["--url", own_broker.environment()["RQTOOL_URL"], "--tls-ca", str(own_broker.ca)]
    assert program("send", "x", *flags, "--tls-cert", str(own_broker.client)).code == 0
    key = ["--tls-cert", str(own_broker.client), "--tls-key", str(own_broker.client)]
    assert program("work", *flags, *key, "--max-tasks", "1").code == 0


VERBS = [["send", "x"], ["work", "--drain"], ["queues"]]


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_an_unknown_authority(tls: Program, verb: list[str]) -> None:
    """The system's authorities don't know this one: 69, and the option that names it."""
    ended = tls(*verb, env={"RQTOOL_TLS_CA": ""})
    assert (ended.code, ended.stdout) == (69, "")
    assert len(ended.stderr.splitlines()) == 1
    assert "its certificate is not accepted" in ended.stderr
    assert "--tls-ca" in ended.stderr


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_another_host_name(tls: Program, own_broker: Secured, verb: list[str]) -> None:
    """A good certificate, of somebody else."""
    ended = tls(*verb, env=own_broker.environment("localhost"))
    assert ended.code == 69
    assert "its certificate is not accepted: hostname mismatch" in ended.stderr.lower()


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_insecure_warns_each_time(tls: Program, own_broker: Secured, verb: list[str]) -> None:
    """It takes any certificate, and says so at every run, quiet ones too."""
    env = own_broker.environment("localhost") | {"RQTOOL_TLS_CA": ""}
    for _ in range(2):
        ended = tls(*verb, "--insecure", "--quiet", env=env)
        assert ended.code == 0, ended.stderr
        assert "rqtool: --insecure: certificates are not checked" in ended.stderr


def test_a_certificate_that_the_broker_wants(tls: Program) -> None:
    """Without one it ends the handshake: 69, and the options that show one."""
    ended = tls("send", "x", env={"RQTOOL_TLS_CERT": ""})
    assert ended.code == 69
    assert "--tls-cert" in ended.stderr


def test_the_other_port(tls: Program, own_broker: Secured) -> None:
    """TLS to a plain port, and plain to a TLS port: an error in bounded time, never a hang."""
    plain, encrypted = own_broker.node.amqp_port, own_broker.amqps_port
    ended = tls("send", "x", "--url", f"amqps://127.0.0.1:{plain}/?stack_timeout=5")
    assert (ended.code, "No TLS connection to" in ended.stderr) == (69, True), ended.stderr
    url = f"amqp://127.0.0.1:{encrypted}/"
    ended = tls("send", "x", "--url", f"{url}?stack_timeout=5")
    assert ended.code == 69
    assert f"rqtool: {url} expects TLS. Write amqps:// instead of amqp://." in ended.stderr


def test_files_that_are_no_use(tls: Program, own_broker: Secured, tmp_path: Path) -> None:
    """Missing, not PEM, a key without its certificate: 2, and which option it is."""
    (tmp_path / "rubbish").write_text("rubbish")
    for option, value in (
        ("--tls-ca", "missing"),
        ("--tls-ca", "rubbish"),
        ("--tls-cert", "missing"),
        ("--tls-cert", "rubbish"),
        ("--tls-cert", str(own_broker.ca)),  # no key in it
    ):
        ended = tls("send", "x", option, value)
        assert (ended.code, len(ended.stderr.splitlines())) == (2, 1), ended.stderr
        assert f"{option} {value} can't be used" in ended.stderr
    ended = tls("send", "x", "--tls-key", str(own_broker.client), env={"RQTOOL_TLS_CERT": ""})
    assert (ended.code, "--tls-key without --tls-cert" in ended.stderr) == (2, True)


def test_a_key_with_a_pass_phrase(tls: Program, own_broker: Secured, tmp_path: Path) -> None:
    """Nobody is asked for it: a worker may have no terminal."""
    key = load_pem_private_key(own_broker.client.read_bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(SECRET.encode()))
    (tmp_path / "locked").write_bytes(locked)
    ended = tls("send", "x", "--tls-key", "locked")
    assert (ended.code, "its private key has a pass phrase" in ended.stderr) == (2, True), ended.stderr


def test_options_without_tls(rqtool: Program, own_broker: Secured) -> None:
    """Whoever names an authority expects encryption: an address without it is told."""
    ended = rqtool("send", "x", "--tls-ca", str(own_broker.ca))
    assert ended.code == 0
    assert "nothing is encrypted" in ended.stderr


@pytest.fixture
def stranger(vhost: Vhost) -> Iterator[Vhost]:
    """The vhost for a user with a password of his own."""
    vhost.api("PUT", "/api/users/locked", {"password": SECRET, "tags": "management"})
    vhost.api("PUT", f"/api/permissions/{vhost.path}/locked", {"configure": ".*", "write": ".*", "read": ".*"})
    yield Vhost(vhost.node, vhost.name, user="locked", password=SECRET)
    vhost.api("DELETE", "/api/users/locked")


def test_the_url_in_a_file(rqtool: Program, stranger: Vhost) -> None:
    """One URL per line, or separated by commas. The flag counts before the environment, the URL before the file."""
    (rqtool.cwd / "url").write_text(f"{stranger.url}\n\n{stranger.url}\n")
    nowhere = {"RQTOOL_URL": "amqp://127.0.0.1:1/"}
    assert rqtool("send", "x", "--url-file", "url", env=nowhere).code == 0
    assert rqtool("send", "x", env={"RQTOOL_URL": "", "RQTOOL_URL_FILE": "url"}).code == 0
    assert rqtool("send", "x", env=nowhere | {"RQTOOL_URL_FILE": "url"}).code == 69
    assert rqtool("send", "x", "--url", stranger.url, env={"RQTOOL_URL_FILE": "missing"}).code == 0
    assert rqtool("queues", "--url-file", "url").stdout.splitlines()[1].startswith("task_queue\t3\t")
    both = rqtool("send", "x", "--url-file", "url", "--url", stranger.url)
    assert (both.code, "contradict" in both.stderr) == (2, True)


@pytest.mark.parametrize("content", [b"", SECRET.encode(), f"amqp://u:{SECRET}".encode(), b"\xff\xfe", b"http://h"])
def test_a_file_without_a_url(offline: Run, tmp_path: Path, content: bytes) -> None:
    """2, the file's name, and nothing of what is in it."""
    (tmp_path / "url").write_bytes(content)
    ended = offline("send", "x", "--url-file", "url")
    assert (ended.code, len(ended.stderr.splitlines())) == (2, 1)
    assert ended.stderr.startswith("rqtool: url ")
    assert SECRET not in ended.stderr
    missing = offline("send", "x", "--url-file", "missing")
    assert (missing.code, "missing can't be read: " in missing.stderr) == (2, True)


def test_no_password_in_sight(rqtool: Program, stranger: Vhost) -> None:
    """Neither in lines nor in JSON nor in a traceback, right or wrong, through connections that are lost."""
    wrong = Vhost(stranger.node, stranger.name, user="locked", password=f"{SECRET}!")
    said = ""
    for url in (stranger.url, wrong.url):
        env = {"RQTOOL_URL": url, "RQTOOL_DEBUG": "1"}
        for verb in [*VERBS, ["dead", "list"], ["queues", "--json"], ["send", "--json", "y"]]:
            ended = rqtool(*verb, env=env)
            said += ended.stdout + ended.stderr
    assert "locked" in said
    assert SECRET not in said
