"""Where the broker is: flag, environment, private node, default."""

from __future__ import annotations

import json
import pwd
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

from rqtool.cli.main import main
from rqtool.endpoint.find import find_endpoint
from rqtool.endpoint.urls import ApiURL, Endpoint
from rqtool.errors import NothingListens, UsageError
from rqtool.management.api import Management
from rqtool.private_broker.home import default_home, private_endpoint

NODE_AMQP, NODE_API = 1001, 1002


@pytest.fixture(autouse=True)
def _no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("RQTOOL_URL", "AMQP_URL", "RQTOOL_API_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def node(_no_state: None) -> Iterator[subprocess.Popen[bytes]]:
    """The private node as far as it is seen from outside: a process that names its home, and the file beside it."""
    home = default_home()
    home.mkdir(parents=True)
    with subprocess.Popen(["sh", "-c", "read line", str(home)], stdin=subprocess.PIPE) as process:
        ports = {"amqp_port": NODE_AMQP, "api_port": NODE_API, "dist_port": 3, "epmd_port": 4}
        (home / "node.json").write_text(json.dumps({"pid": process.pid} | ports))
        yield process


def _shown(endpoint: Endpoint) -> tuple[list[str], list[str]]:
    return [str(url) for url in endpoint.urls], [str(url) for url in endpoint.api_urls]


def stop(node: subprocess.Popen[bytes]) -> None:
    assert node.stdin is not None
    node.stdin.close()
    node.wait()


def found(url: str | None, api_url: str | None) -> Endpoint:
    return find_endpoint(url, api_url, private=private_endpoint())


class TestWithoutAnything:
    """Neither flag nor private node."""

    @pytest.mark.parametrize("nothing", [None, ""])
    def test_the_default_is_this_machine(self, nothing: str | None) -> None:
        """RabbitMQ's own defaults: localhost, guest, vhost /; an empty variable counts as none."""
        endpoint = found(nothing, nothing)
        assert _shown(endpoint) == (["amqp://localhost:5672/"], ["http://localhost:15672/"])
        (url,), (api_url,) = endpoint.urls, endpoint.api_urls
        assert {("guest", "guest")} == {(url.user, url.password), (api_url.user, api_url.password)}
        assert endpoint.vhost == "/"

    def test_a_folder_that_cannot_be_looked_at_holds_no_node(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As HOME of another user's; root may look into those, but at no name of this length."""
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ("x" * 300)))
        assert private_endpoint() is None

    def test_a_node_that_is_gone_does_not_count(self, node: subprocess.Popen[bytes]) -> None:
        """What the file says of a process that has ended is history."""
        stop(node)
        assert _shown(found(None, None)) == (["amqp://localhost:5672/"], ["http://localhost:15672/"])

    def test_a_stopped_node_is_the_cause(self, node: subprocess.Popen[bytes]) -> None:
        """Of a default that does not answer, and of its own URL; of nothing else."""
        assert not found(None, None).stopped
        stop(node)
        error = NothingListens("No broker answers at h", "Name yours")
        assert str(found(None, None).explained(error)) == (
            "The private broker is stopped, and no broker answers at h. "
            "Start it with: rqtool broker start; or name yours."
        )
        with pytest.raises(NothingListens) as no_api:
            Management([ApiURL("http://127.0.0.1:1", "u", "p")]).tags()
        said = str(found(None, None).explained(no_api.value))
        assert "Start it with: rqtool broker start; or turn it on with: " in said
        assert said.endswith("; or name it with --api-url or RQTOOL_API_URL.")
        its_own = found(f"amqp://localhost:{NODE_AMQP}", None)
        assert its_own.stopped
        assert _shown(its_own)[1] == [f"http://127.0.0.1:{NODE_API}/"]
        assert found("amqp://h", None).explained(error) is error


class TestWithoutAHome:
    """A container's user: a number without HOME, and without an entry in the system's list of users."""

    @pytest.fixture(autouse=True)
    def _no_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(uid: int) -> NoReturn:
            raise KeyError(uid)

        monkeypatch.delenv("XDG_STATE_HOME")
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr(pwd, "getpwuid", unknown)

    def test_the_default_serves(self) -> None:
        """There can be no private broker."""
        assert _shown(found(None, None)) == (["amqp://localhost:5672/"], ["http://localhost:15672/"])

    @pytest.mark.parametrize("verb", ["start", "status", "stop", "url"])
    def test_no_private_broker(
        self, verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """One line that says so, and what helps."""
        monkeypatch.setattr(sys, "argv", ["rqtool", "broker", verb])
        assert main() == 2
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err == (
            "rqtool: This user has no home for a private broker. Set XDG_STATE_HOME to a folder of yours.\n"
        )


@pytest.mark.usefixtures("node")
class TestBesideAPrivateNode:
    """`rqtool broker start` was here."""

    @pytest.mark.parametrize("variable", [True, False])
    def test_its_url_in_a_file(
        self, variable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """As `rqtool broker url` wrote it there: the API is the node's, too."""
        file = tmp_path / "url"
        file.write_text(f"amqp://rqtool:s3cret@127.0.0.1:{NODE_AMQP}\n")
        if variable:
            monkeypatch.setenv("RQTOOL_URL_FILE", str(file))
        monkeypatch.setattr(sys, "argv", ["rqtool", "queues", *([] if variable else ["--url-file", str(file)])])
        assert main() == 69
        assert f"No management API answers at http://127.0.0.1:{NODE_API}/" in capsys.readouterr().err

    def test_the_private_node_goes_before_the_default(self) -> None:
        """Both of its addresses serve, with the login that is beside it."""
        (default_home() / "password").write_text("s3cret\n")
        endpoint = found(None, None)
        assert _shown(endpoint) == ([f"amqp://rqtool@127.0.0.1:{NODE_AMQP}/"], [f"http://127.0.0.1:{NODE_API}/"])
        (url,), (api_url,) = endpoint.urls, endpoint.api_urls
        assert {("rqtool", "s3cret")} == {(url.user, url.password), (api_url.user, api_url.password)}
        assert "s3cret" not in f"{endpoint!r} {private_endpoint()!r}"

    @pytest.mark.parametrize("password", [None, b"", b"\xff"])
    def test_a_node_of_version_0_4(self, password: bytes | None) -> None:
        """Without a password that can be read it is RabbitMQ's usual login, until the next start."""
        if password is not None:
            (default_home() / "password").write_bytes(password)
        endpoint = found(None, None)
        assert _shown(endpoint) == ([f"amqp://127.0.0.1:{NODE_AMQP}/"], [f"http://127.0.0.1:{NODE_API}/"])
        assert (endpoint.api_urls[0].user, endpoint.api_urls[0].password) == ("guest", "guest")

    def test_a_url_goes_before_the_private_node(self) -> None:
        """The node's API is left alone then too: it would show the figures of another broker."""
        assert _shown(found("amqp://h", None)) == (["amqp://h:5672/"], ["http://h:15672/"])

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
    def test_the_private_nodes_url_finds_its_api(self, host: str) -> None:
        """As `broker url` prints it, or with another login and vhost: the API gets that login."""
        endpoint = found(f"amqp://me:mine@{host}:{NODE_AMQP}/v", None)
        assert _shown(endpoint) == ([f"amqp://me@{host}:{NODE_AMQP}/v"], [f"http://127.0.0.1:{NODE_API}/"])
        assert (endpoint.api_urls[0].user, endpoint.api_urls[0].password) == ("me", "mine")

    @pytest.mark.parametrize(
        "url", ["amqp://127.0.0.1:5672", f"amqp://h:{NODE_AMQP}", f"amqp://h,amqp://localhost:{NODE_AMQP}"]
    )
    def test_another_brokers_url_leaves_its_api_alone(self, url: str) -> None:
        """Host and port count, of every node that is named."""
        assert f"http://127.0.0.1:{NODE_API}/" not in _shown(found(url, None))[1]

    def test_an_api_url_goes_before_the_private_nodes_own(self) -> None:
        """The one that is named is asked, the broker stays the private one."""
        endpoint = found(None, "http://h:1")
        assert _shown(endpoint) == ([f"amqp://127.0.0.1:{NODE_AMQP}/"], ["http://h:1/"])


class TestNamed:
    """What the flags say."""

    def test_the_api_is_derived_for_every_node(self) -> None:
        """Each broker has its own management address, and one that would come twice comes once."""
        endpoint = find_endpoint("amqp://u:p@a:1/v,amqps://u:p@b/v,amqp://u:p@a:2/v", None)
        assert _shown(endpoint)[1] == ["http://a:15672/", "https://b:15671/"]
        assert {("u", "p")} == {(url.user, url.password) for url in endpoint.api_urls}
        assert endpoint.vhost == "v"

    def test_one_vhost(self) -> None:
        """Nodes of one cluster hold the same vhosts: a list that names two would send here and there."""
        with pytest.raises(UsageError, match="different vhosts"):
            find_endpoint("amqp://a/v,amqp://b/w", None)

    @pytest.mark.parametrize("between", [",", "\n", ",\n", ", ", " ,\n\n"])
    def test_a_file_of_urls(self, tmp_path: Path, between: str) -> None:
        """One per line, separated by commas, or both."""
        file = tmp_path / "urls"
        file.write_text(f"amqp://a/v{between}amqp://b/v,\n")
        assert _shown(find_endpoint(None, None, url_file=file))[0] == ["amqp://a:5672/v", "amqp://b:5672/v"]

    def test_the_api_of_another_user_is_another(self) -> None:
        """Two logins to one host are two addresses."""
        endpoint = find_endpoint("amqp://u:p@a,amqp://w:q@a", None)
        assert [(url.user, url.password) for url in endpoint.api_urls] == [("u", "p"), ("w", "q")]

    def test_a_named_api_takes_the_brokers_login(self) -> None:
        """Without a user in it the first broker's login serves; with one, that one does."""
        endpoint = find_endpoint("amqp://u:p@a,amqp://w:q@b", "http://c,http://x:y@d")
        assert [(url.user, url.password) for url in endpoint.api_urls] == [("u", "p"), ("x", "y")]

    def test_passwords_are_never_shown(self) -> None:
        """Neither the endpoint nor any address in it gives its password away."""
        endpoint = find_endpoint("amqp://u:secret@a,amqps://w:secret@b", "http://x:secret@c")
        assert "secret" not in f"{endpoint} {endpoint!r} {_shown(endpoint)} {endpoint.urls} {endpoint.api_urls!r}"

    @pytest.mark.parametrize(
        ("url", "api_url"),
        [
            ("amqp://u:secret@a:port", None),
            ("amqp://a,amqp://u:secret@b:0", None),
            ("amqp://u:secret@a", "http://u:secret@c:port"),
            ("amqp://u:secret@a", "amqp://u:secret@c"),
            (None, "http://u:secret@"),
        ],
    )
    def test_a_bad_url_is_a_usage_error_without_its_password(self, url: str | None, api_url: str | None) -> None:
        """The error shows which URL is meant, and no password of any of them."""
        with pytest.raises(UsageError, match="is not a usable URL") as refused:
            find_endpoint(url, api_url)
        assert "secret" not in f"{refused.value} {refused.value!r}"


@pytest.mark.parametrize(
    ("flag", "environment", "port"),
    [
        (1, {"RQTOOL_URL": 2, "AMQP_URL": 3}, 1),
        (None, {"RQTOOL_URL": 2, "AMQP_URL": 3}, 2),
        (None, {"AMQP_URL": 3}, 3),
        (None, {}, NODE_AMQP),
    ],
)
@pytest.mark.usefixtures("node")
def test_flag_then_environment_then_private_node(
    flag: int | None,
    environment: dict[str, int],
    port: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """--url before RQTOOL_URL before AMQP_URL before the private node; nobody listens at any of these ports."""
    for name, number in environment.items():
        monkeypatch.setenv(name, f"amqp://guest:secret@127.0.0.1:{number}/")
    named = [] if flag is None else ["--url", f"amqp://guest:secret@127.0.0.1:{flag}/"]
    monkeypatch.setattr(sys, "argv", ["rqtool", "send", "task", *named])
    assert main() == 69
    error = capsys.readouterr().err
    assert error.startswith(f"rqtool: No broker answers at amqp://127.0.0.1:{port}/: connection refused.")
    assert "secret" not in error
