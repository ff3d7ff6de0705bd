"""Wrong command lines: exit code 2, and one line that names the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from rqtool.cli.command import INSTEAD
from tests.unit.cli.test_help import Captured, run

BEHIND = "The options of a command come behind its name"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("snd", "No such command 'snd'. Did you mean 'send'? See: rqtool --help."),
        ("help snd", "No such command 'snd'. Did you mean 'send'? See: rqtool --help."),
        ("help work x", "rqtool work has no commands of its own. See: rqtool work --help."),
        ("--verson", "No such option: --verson. Did you mean --version? See: rqtool --help."),
        ("--url x queues", f"No such option: --url. {BEHIND}. See: rqtool --help."),
        ("broker --json start", f"No such option: --json. {BEHIND}. See: rqtool broker --help."),
        ("dead --url x list", f"No such option: --url. {BEHIND}. See: rqtool dead --help."),
        ("dead -q photos retry", f"No such option: -q. {BEHIND}. See: rqtool dead --help."),
        ("send --quite", "No such option: --quite. Did you mean --quiet? See: rqtool send --help."),
        ("send --que x", "No such option: --que. Did you mean --queue? See: rqtool send --help."),
        ("dead sh photos", "No such command 'sh'. Did you mean 'show'? See: rqtool dead --help."),
        ("work --concurrency 4", "No such option: --concurrency. See: rqtool work --help."),
        (
            "work --eta",
            "No such option: --eta. Use work --bar; send shows its progress on a terminal. See: rqtool work --help.",
        ),
        ("work -P 4 -- cat", "No such option: -P. Use work -j N. See: rqtool work --help."),
        ("send --jobs 4 x", "No such option: --jobs. Use work -j N. See: rqtool send --help."),
        ("queues -r", "No such option: -r. See: rqtool queues --help."),
        ("work -x", "No such option: -x. See: rqtool work --help."),
        ("work -j four", "-j/--jobs: 'four' is not a number from 1 to 1,000, N% or auto. See: rqtool work --help."),
        ("work -j 0", "-j/--jobs: '0' is not a number from 1 to 1,000, N% or auto. See: rqtool work --help."),
        ("work -j x%", "-j/--jobs: 'x%' is not a number from 1 to 1,000, N% or auto. See: rqtool work --help."),
        ("work --max-tasks 0", "--max-tasks: 0 is not a number of at least 1. See: rqtool work --help."),
        ("work --type x", "--type: 'x' is not one of 'classic', 'quorum'. See: rqtool work --help."),
        ("send --queue", "Option '--queue' requires an argument. See: rqtool send --help."),
        ("queues --holders=5", "Option '--holders' does not take a value. See: rqtool queues --help."),
        ("dead list --limit", "Option '--limit' requires an argument. See: rqtool dead list --help."),
        (
            "dead retry photos 3699d0fa",
            "Got unexpected extra argument(s) (3699d0fa). A task is named with --id. See: rqtool dead retry --help.",
        ),
    ],
)
def test_what_is_wrong(arguments: str, message: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The option or verb, its value, what would be right; a suggestion only where it is close."""
    assert run(monkeypatch, *arguments.split()) == 2
    assert capsys.readouterr() == ("", f"rqtool: {message}\n")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("work --timeout 10", "--timeout"),
        ("work --grace 10", "--grace"),
        ("work --retry-delays 1s,10", "--retry-delays"),
        ("queues --stuck-after 10", "--stuck-after"),
        ("send x --ttl 10", "--ttl"),
        ("send x --give-up 10", "--give-up"),
    ],
)
def test_a_wrong_duration(arguments: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It names the option, and shows how durations are written."""
    assert run(monkeypatch, *arguments.split()) == 2
    expected = f"rqtool: {option}: '10' is not a duration. Write a number and a unit: 200ms, 5s, 10m, 2h, 3d.\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(("options", "code"), [((), 2), (("--check",), 3)])
def test_a_pattern_that_no_queue_can_match(
    options: tuple[str, ...], code: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Bytes that are no UTF-8, as an argument can have them."""
    assert run(monkeypatch, "queues", "\udcff", *options) == code
    captured = capsys.readouterr()
    assert "'\\udcff' is no queue name. Give one in UTF-8." in captured.out + captured.err


def test_dashes_without_a_command(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A variable that should hold the command was empty: without one, every task would be acknowledged unprocessed."""
    assert run(monkeypatch, "work", "--drain", "--") == 2
    expected = "rqtool: There is no command after --. Name one, or leave the -- out to pretend.\n"
    assert capsys.readouterr() == ("", expected)


@pytest.mark.parametrize(
    ("line", "option", "ours", "its"),
    [
        ("work cat {} --drain", "--drain", "work --drain -- cat '{}'", "work -- cat '{}' --drain"),
        (
            "work -j 2 cat --retry-delays=none {}",
            "--retry-delays",
            "work -j 2 --retry-delays=none -- cat '{}'",
            "work -j 2 -- cat --retry-delays=none '{}'",
        ),
        ("work ./c.sh -q mis x", "-q", "work -q mis -- ./c.sh x", "work -- ./c.sh -q mis x"),
        ("work --quiet cat --bar -- -q", "--bar", "work --quiet --bar -- cat -- -q", "work --quiet -- cat --bar -- -q"),
        (
            "work cat --url amqp://u:p@h",
            "--url",
            "work --url 'amqp://***@h' -- cat",
            "work -- cat --url 'amqp://***@h'",
        ),
    ],
)
def test_an_option_behind_the_command(
    line: str, option: str, ours: str, its: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """It would belong to the command, and a worker without its -q acknowledges another queue's tasks."""
    command = next(word for word in line.split() if word in ("cat", "./c.sh"))
    assert run(monkeypatch, *line.split()) == 2
    assert capsys.readouterr() == (
        "",
        f"rqtool: {option} comes behind the command. Write: rqtool {ours}; or, if it is for {command}: rqtool {its}.\n",
    )


@pytest.mark.parametrize(
    "line",
    [
        "work -- cat {} --drain",
        "work cat -- --drain",
        "work cat -i --output-dir x --all",
        "work nice rqtool work --drain",
        "work --drain -- cat {} --quiet --json",
    ],
)
def test_options_of_the_command(line: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Where -- shows that they are meant, or rqtool has none of that name: the error is that no broker is there."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
    assert run(monkeypatch, *line.split()) == 69
    assert capsys.readouterr().err.count("\n") == 1


def test_empty_variables(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """They count as none, and the next one does."""
    monkeypatch.setenv("RQTOOL_URL", "")
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/next")
    for name in ("RQTOOL_API_URL", "RQTOOL_PROFILE", "RQTOOL_WORK_CALL"):
        monkeypatch.setenv(name, "")
    assert run(monkeypatch, "work", "--", "true") == 69
    assert "amqp://127.0.0.1:1/next" in capsys.readouterr().err


def test_an_empty_command(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """As above, with quotes around the variable."""
    assert run(monkeypatch, "work", "--drain", "--", "") == 2
    assert capsys.readouterr() == ("", "rqtool: The command is empty. Name one, or leave it out to pretend.\n")


@pytest.mark.parametrize(
    ("line", "is_queue"),
    [
        ("work jobs -- cat", True),
        ("work jobs --drain -- cat", True),
        ("work jobs --drain", True),
        ("work jobs", True),
        ("work -- jobs", False),
        ("work -- jobs -- cat", False),
        ("work ./jobs -- cat", False),
        ("work jobs {}", False),
    ],
)
def test_a_queue_in_the_place_of_the_command(
    line: str, is_queue: bool, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Other verbs take a queue there; here it would be run."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
    assert run(monkeypatch, *line.split()) == 2
    said = capsys.readouterr().err
    assert ("'jobs' is not on the PATH. A queue is named with -q: rqtool work -q jobs.\n" in said) is is_queue
    assert ("-q" in said, said.count("\n")) == (is_queue, 1)


def test_an_empty_placeholder(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It would be everywhere."""
    assert run(monkeypatch, "work", "-I", "", "--", "true") == 2
    assert capsys.readouterr().err.startswith("rqtool: -I: the placeholder is empty. ")


def test_a_task_is_no_code(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The command line is refused before a broker is asked for anything."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1")
    assert run(monkeypatch, "work", "--", "env", "sh", "-ec", "echo {.}") == 2
    error = capsys.readouterr().err
    assert error.startswith("rqtool: The code of sh holds a placeholder: a task is data and never code. Give it ")
    assert """sh -c 'work "$1"' sh {}""" in error


def test_a_wrong_value_in_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It says where to look: the option is not on the command line."""
    monkeypatch.setenv("RQTOOL_WORK_JOBS", "four")
    assert run(monkeypatch, "work") == 2
    assert "-j/--jobs (from the environment): 'four' is not a number" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("--warn-ready 5x", "--warn-ready: '5x' is not a number of at least 0. See: rqtool queues --help."),
        ("--warn-raedy 5", "No such option: --warn-raedy. Did you mean --warn-ready? See: rqtool queues --help."),
        ("--warn-ready", "Option '--warn-ready' requires an argument. See: rqtool queues --help."),
    ],
)
def test_a_wrong_check(arguments: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The words are those of any other command line; the exit code is UNKNOWN."""
    assert run(monkeypatch, "queues", "--check", *arguments.split()) == 3
    assert capsys.readouterr().out.startswith(f"RQTOOL UNKNOWN: {said}")


@pytest.mark.parametrize(
    ("arguments", "option"),
    [
        ("send x -q a --queue b", "-q/--queue"),
        ("work --jobs 1 -j 2", "-j/--jobs"),
        ("work --timeout=1s --timeout 2s -- true", "--timeout"),
        ("queues --url amqp://a --url amqp://b", "--url"),
        ("release q --vhost a --vhost b", "--vhost"),
        ("dead list --limit 1 --limit 1", "--limit"),
        ("broker start --nodes 1 --nodes 3", "--nodes"),
    ],
)
def test_one_value_given_twice(arguments: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """No value silently replaces another."""
    assert run(monkeypatch, *arguments.split()) == 2
    assert f"rqtool: {option} takes one value and is given more than once. See: rqtool " in capsys.readouterr().err


@pytest.mark.parametrize(
    "verb", ["dead", "dead list", "dead show an-id", "dead retry", "dead purge --yes", "release --yes", "queues"]
)
def test_a_queue_named_twice(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """As the first argument and with -q: a usage error, even if it is the same name."""
    assert run(monkeypatch, *verb.split(), "photos", "-q", "photos") == 2
    assert "named twice: as " in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["queues", "release --yes", "dead", "dead list", "dead retry", "send x", "work"])
def test_one_way_of_naming(verb: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """-q and --vhost on every verb: the error is that no broker is there."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
    monkeypatch.setenv("RQTOOL_API_URL", "http://127.0.0.1:1/")
    assert run(monkeypatch, *verb.split(), "-q", "photos", "--vhost", "mail") == 69
    assert run(monkeypatch, *verb.split(), "-q", "photos", "--vhost", "") == 2
    assert "rqtool: '' is no vhost. " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("release --yes", "No queue is named"),
        ("queues --format json", "--format is for --check"),
        ("queues --crit-ready 5", "--crit-ready is for --check. Add --check, or leave --crit-ready out."),
        ("queues --json --warn-stuck 0", "--warn-stuck is for --check"),
        ("queues --watch --crit-age 1h", "--crit-age is for --check"),
        ("queues --watch 5", "'5' is not a duration"),
        ("queues --all-vhosts --vhost x", "--vhost and --all-vhosts contradict"),
        ("work --tag --output direct -- true", "--tag and --output direct contradict"),
        ("work --tag", "--tag is for a command or for --call"),
        ("work --output line", "--output is for a command or for --call"),
        ("work --joblog no/where -- true", "--joblog no/where: it can't be opened: no such file or directory"),
        ("work --drain --call=", "--call : this is not MODULE:FUNCTION"),
        ("send x --url=", "--url is empty"),
        ("work --url= --profile far -- true", "--url is empty"),
        ("queues --api-url=", "--api-url is empty"),
        ("queues --queue=", "'' is no queue name"),
    ],
)
def test_contradictions(line: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    assert run(monkeypatch, *line.split()) == 2
    assert said in capsys.readouterr().err


def test_a_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Its broker is used; a variable that beats it is named."""
    (tmp_path / "rqtool").mkdir()
    (tmp_path / "rqtool" / "config.toml").write_text('[far]\nurl = "amqp://127.0.0.1:1/far"\n')
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("RQTOOL_URL", "AMQP_URL"):
        monkeypatch.delenv(name, raising=False)
    assert run(monkeypatch, "send", "x", "--profile", "far") == 69
    assert "amqp://127.0.0.1:1/far" in capsys.readouterr().err
    monkeypatch.setenv("AMQP_URL", "amqp://127.0.0.1:1/near")
    assert run(monkeypatch, "send", "x", "--profile", "far") == 69
    said = capsys.readouterr().err
    assert "rqtool: --url is set in the environment, and takes precedence over profile 'far'." in said
    assert "amqp://127.0.0.1:1/near" in said


def test_what_turns_a_profile_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A variable that is no, and an empty name, are given too."""
    (tmp_path / "rqtool").mkdir()
    (tmp_path / "rqtool" / "config.toml").write_text(
        '[far]\nurl = "amqps://127.0.0.1:1/"\nvhost = "v"\ninsecure = true\n'
    )
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    for name in ("RQTOOL_URL", "AMQP_URL"):
        monkeypatch.delenv(name, raising=False)
    assert run(monkeypatch, "send", "x", "--profile", "far", "--vhost", "") == 2
    assert "'' is no vhost" in capsys.readouterr().err
    monkeypatch.setenv("RQTOOL_INSECURE", "0")
    assert run(monkeypatch, "send", "x", "--profile", "far") == 69
    said = capsys.readouterr().err
    assert "--insecure is set in the environment, and takes precedence over profile 'far'." in said
    assert "certificates are not checked" not in said


@pytest.mark.parametrize("options", ["-q photos --grep retry", "--json --reason list -q photos", "-q list"])
def test_a_value_that_is_called_like_a_command(options: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """It is a value: the error is the broker's."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
    assert run(monkeypatch, "dead", *options.split()) == 69
    assert "No such option" not in capsys.readouterr().err


def test_what_may_be_repeated(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Flags, options that take several values, and whatever belongs to the command: the error is the broker's."""
    for line in (
        "send x --quiet --quiet --header a=1 --header b=2",
        "work --drain --drain -- echo -q a -q b --url x --url y",
        "dead list --id a --id b",
    ):
        monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
        assert run(monkeypatch, *line.split()) == 69
        assert "takes one value" not in capsys.readouterr().err


@pytest.mark.parametrize("option", INSTEAD)
def test_a_habit_from_gnu_parallel(option: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """An option that send or work does not have is answered with what rqtool has instead."""
    monkeypatch.setenv("RQTOOL_URL", "amqp://127.0.0.1:1/")
    for verb in ("send", "work"):
        run(monkeypatch, verb, f"{option}=1" if option.startswith("--") else f"{option}1")
    assert f"rqtool: No such option: {option}. {INSTEAD[option]}. See: rqtool " in capsys.readouterr().err
