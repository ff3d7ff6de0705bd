"""What the program says of its verbs, which it lists without importing them."""

from __future__ import annotations

import sys

import pytest

from rqtool.cli.main import main
from rqtool.cli.verbs import VERBS


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["rqtool", *arguments])
    return main()


def test_the_help_lists_every_verb_in_order(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each with the beginning of what its own help says."""
    assert run(monkeypatch, "--help") == 0
    lines = capsys.readouterr().out.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in lines] == list(VERBS)
    for line in lines:
        verb, text = line.split(maxsplit=1)
        assert VERBS[verb].startswith(text.removesuffix("..."))


@pytest.mark.parametrize("verb", VERBS)
def test_a_verbs_own_help_begins_with_its_line(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The text is the list's, in full."""
    assert run(monkeypatch, verb, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith(f"Usage: rqtool {verb} ")
    assert VERBS[verb] in said


def test_a_misspelt_verb_is_guessed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The names are known without the files behind them."""
    assert run(monkeypatch, "snd") == 2
    assert capsys.readouterr().err == "rqtool: No such command 'snd'. Did you mean 'send'? See: rqtool --help.\n"
