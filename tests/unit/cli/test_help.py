"""What the program says about its verbs, which it lists without importing them."""

from __future__ import annotations

import re
import sys

import pytest

from rqtool import __version__
from rqtool.cli.main import main
from rqtool.cli.verbs import VERBS

Captured = pytest.CaptureFixture[str]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rqtool", *arguments])
    return main()


def help_of(monkeypatch: pytest.MonkeyPatch, capsys: Captured, *arguments: str) -> str:
    assert run(monkeypatch, *arguments) == 0
    return capsys.readouterr().out


def test_the_help_lists_every_verb_in_order(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Each with the beginning of its own help."""
    listed = help_of(monkeypatch, capsys, "--help").partition("Commands:\n")[2].partition("\n\n")[0]
    lines = listed.splitlines()
    assert [line.split()[0] for line in lines] == list(VERBS)
    for line in lines:
        verb, text = line.split(maxsplit=1)
        assert VERBS[verb].startswith(text.removesuffix("..."))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_own_help_begins_with_its_line(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The text is the list's, in full."""
    said = " ".join(help_of(monkeypatch, capsys, verb, "--help").split())
    assert said.startswith(f"Usage: rqtool {verb} ")
    assert VERBS[verb] in said


@pytest.mark.parametrize("path", [[], *([verb] for verb in VERBS), ["dead", "list"], ["broker", "start"]], ids=" ".join)
def test_help_verb_is_the_verbs_help(path: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """`rqtool help VERB`, `rqtool VERB --help` and `rqtool VERB -h` print the same."""
    expected = help_of(monkeypatch, capsys, *path, "--help")
    assert expected == help_of(monkeypatch, capsys, "help", *path)
    assert expected == help_of(monkeypatch, capsys, *path, "-h")


@pytest.mark.parametrize("path", [[], *([verb] for verb in VERBS), ["dead", "list"], ["broker", "start"]], ids=" ".join)
@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version(path: list[str], option: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert help_of(monkeypatch, capsys, *path, option) == f"rqtool {__version__}\n"


def test_the_help_of_work(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Examples, then the options in groups, then verdicts, variables and signals; it fits 80 columns."""
    said = help_of(monkeypatch, capsys, "work", "--help")
    titles = re.findall(r"^ {0,2}([A-Z][\w ]+:)$", said, re.MULTILINE)
    assert titles == [
        "Examples:", "Arguments:", "Tasks and commands:", "Retries:", "Limits and stopping:", "Output:", "Broker:",
        "Exit codes of CMD:", "Environment of CMD:", "Signals:",
    ]  # fmt: skip
    for word in ("65", "75", "126, 127", "RQTOOL_TASK_ID", "RQTOOL_TASK_HEADER_NAME", "Ctrl-C, SIGTERM or SIGHUP"):
        assert word in said
    assert max(map(len, said.splitlines())) <= 80


@pytest.mark.parametrize("verb", ["send", "work", "queues", "release", "dead list"])
def test_the_brokers_options_come_last(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """In a group of their own."""
    broker = help_of(monkeypatch, capsys, *verb.split(), "--help").partition("\nBroker:\n")[2].partition("\n\n")[0]
    options = [line.split()[0] for line in broker.splitlines() if line.startswith("  --")]
    assert [option for option in options if option != "--api-url"] == [
        "--url", "--url-file", "--profile", "--vhost", "--tls-ca", "--tls-cert", "--tls-key", "--insecure",
    ]  # fmt: skip
