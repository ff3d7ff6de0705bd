"""Profiles: which settings a table of config.toml gives, and what precedes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqtool.endpoint.profiles import Values, config_file, read_profile, with_profile
from rqtool.errors import UsageError

TOML = """
[staging]
url = "amqps://me:secret@staging.example/"
vhost = "mail"
tls-ca = "ca.pem"

[bare]
vhost = "v"
insecure = true

[wrong]
urls = "amqp://u:secret@h/"

[number]
vhost = 5
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "config.toml").write_text(TOML)
    return tmp_path / "config.toml"


def test_where_the_file_is() -> None:
    """As the XDG base directory specification has it."""
    assert config_file({"XDG_CONFIG_HOME": "/x"}) == Path("/x/rqtool/config.toml")
    assert config_file({}) == Path("~/.config/rqtool/config.toml").expanduser()


def test_a_home_that_is_not_there(file: Path) -> None:
    """The file is missing then, which is what its user can mend."""
    file.write_text('[p]\ntls-ca = "~nobody-of-this-name/ca.pem"')
    assert read_profile(file, "p") == {"tls_ca": file.parent / "~nobody-of-this-name/ca.pem"}


def test_a_profile(file: Path) -> None:
    """Keys by the options' names; files are relative to the configuration's folder."""
    assert read_profile(file, "staging") == {
        "url": "amqps://me:secret@staging.example/",
        "vhost": "mail",
        "tls_ca": file.parent / "ca.pem",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nosuch", "There is no profile 'nosuch' in .*It has: staging, bare, wrong, number"),
        ("wrong", "unknown key 'urls'. Use some of: url, url-file, "),
        ("number", "vhost is no text"),
    ],
)
def test_what_is_wrong(name: str, text: str, file: Path) -> None:
    """One line that names it, and no password."""
    with pytest.raises(UsageError, match=text) as raised:
        read_profile(file, name)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("content", [None, b"[staging", b"\xff"])
def test_a_file_that_can_not_be_read(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UsageError, match=r"config\.toml can't be read: .*\[staging\]"):
        read_profile(file, "staging")


@pytest.mark.parametrize(
    ("given", "profile", "expected", "ignored"),
    [
        ({"url": None, "vhost": None}, {"url": "a", "vhost": "v"}, {"url": "a", "vhost": "v"}, []),
        ({"url": None, "vhost": "w"}, {"url": "a", "vhost": "v"}, {"url": "a", "vhost": "w"}, ["vhost"]),
        # Another broker is given: the profile is not about that one.
        (
            {"url": "b", "api_url": None, "tls_ca": None},
            {"url": "a", "api_url": "x", "vhost": "v", "tls_ca": "f"},
            {"url": "b", "api_url": None, "tls_ca": None},
            ["url", "api_url", "vhost", "tls_ca"],
        ),
        ({"url": "b", "vhost": None}, {"vhost": "v"}, {"url": "b", "vhost": "v"}, []),
        ({"url": None, "url_file": "f"}, {"url": "a"}, {"url": None, "url_file": "f"}, ["url"]),
        ({"insecure": None}, {"insecure": True}, {"insecure": True}, []),
        ({"insecure": False}, {"insecure": True}, {"insecure": False}, ["insecure"]),
        ({"vhost": ""}, {"vhost": "v"}, {"vhost": ""}, ["vhost"]),
    ],
)
def test_what_is_given_takes_precedence(given: Values, profile: Values, expected: Values, ignored: list[str]) -> None:
    assert with_profile(given, profile) == (expected, ignored)
