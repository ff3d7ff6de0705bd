"""A task is data and never code: where a placeholder is refused, and where not."""

from __future__ import annotations

import shlex

import pytest

from rqtool.errors import UsageError
from rqtool.run.code_injection import check_placeholders


@pytest.mark.parametrize(
    "command",
    [
        "sh -c 'echo {}'",
        "sh -c {}",
        "/bin/sh -c 'echo {.}'",
        "sh -ec 'echo {/}'",
        "bash -c -e 'echo {//}'",
        "bash -euo pipefail -c 'echo {/.}'",
        "bash -o pipefail -ceu 'echo {}'",
        "bash --norc --rcfile x -c 'echo {}'",
        "sh -c -- 'echo {}'",
        "dash -c 'echo {}'",
        "zsh -c 'echo {}'",
        "ksh -c 'echo {}'",
        "python -c 'print(\"{}\")'",
        "python3 -c 'print(\"{}\")'",
        "python3.11 -IW ignore -c 'print(\"{}\")'",
        "python3 '-cprint(\"{}\")'",
        "python3 -{}",
        "perl -e 'print \"{}\"'",
        "perl -lane 'print \"{}\"'",
        "perl -i.bak -pe 's/a/{}/'",
        "perl -M{} -e 1",
        "ruby -e 'puts \"{}\"'",
        "node -e '\"{}\"'",
        "node -pe '\"{}\"'",
        "node --eval '\"{}\"'",
        "node '--eval=\"{}\"'",
        "node --{}",
        "php -r 'echo \"{}\";'",
        "env A=1 sh -c 'echo {}'",
        "env -u A -i sh -c 'echo {}'",
        "env -S 'sh -c {}'",
        "env '-Ssh -c {}'",
        "/usr/bin/env python3 -c '{}'",
        "nice sh -c 'echo {}'",
        "nice -n 5 sh -c 'echo {}'",
        "timeout 5 sh -c 'echo {}'",
        "timeout -k 1s 5 sh -c 'echo {}'",
        "sudo -u nobody sh -c 'echo {}'",
        "sudo timeout 5 nice /bin/bash -ec 'echo {}'",
        "docker exec box sh -c 'echo {}'",
    ],
)
def test_code(command: str) -> None:
    """It is refused, with the form that is safe."""
    with pytest.raises(UsageError, match="is data and never code") as caught:
        check_placeholders(shlex.split(command), "{}")
    assert caught.value.what_to_do.startswith("Give it the task as an argument: ")


def test_the_safe_form() -> None:
    """What the message says can be used."""
    with pytest.raises(UsageError) as caught:
        check_placeholders(["/bin/sh", "-c", "echo {}"], "{}")
    assert str(caught.value).startswith(
        "The code of sh holds a placeholder: a task is data and never code. "
        "Give it the task as an argument: sh -c 'work \"$1\"' sh {} (if "
    )


@pytest.mark.parametrize(
    "command",
    [
        *("{}", "{}/run x", "env {}", "env A=1 {.}", "timeout 5 {}", "nice -n 5 -- {} x", "env -i {}", "sudo -E {} x"),
        *(
            "stdbuf -oL {}",
            "sudo -nu nobody {}",
            "time -p {}",
            "env -iu A nice {}",
            "sudo --preserve-env {}",
            "sudo --user nobody {}",
        ),
    ],
)
def test_the_program(command: str) -> None:
    """A task does not choose the program."""
    with pytest.raises(UsageError, match="would be the program"):
        check_placeholders(shlex.split(command), "{}")


@pytest.mark.parametrize(
    "command",
    ["python3 {}", "python3 -u {} x", "timeout -k 1s 5 perl {}", "perl -e 'print @ARGV' {}", "ruby -e 1 {}", "node {}"],
)
def test_what_could_be_an_option(command: str) -> None:
    """A task `-eCODE` would be run."""
    with pytest.raises(UsageError, match="for an option") as caught:
        check_placeholders(shlex.split(command), "{}")
    assert caught.value.what_to_do == "Put -- before {}"


@pytest.mark.parametrize(
    "command",
    [
        "./convert.sh {}",
        "cp {} {}.bak",
        "sh -c 'echo \"$1\"' sh {}",
        "sh -ec 'echo \"$1\"' {}",
        "bash -o pipefail -c 'echo \"$1\"' bash --in={} {.}",
        "sh ./script {}",
        "sh -e {}",
        "python3 -c 'import sys' {}",
        "python3 -m tool {}",
        "python3 -W {} tool.py {}",
        "python3 tool.py -c {}",
        "python3 -- {}",
        "perl -e 'print @ARGV' -- {}",
        "perl -i{} tool.pl",
        "node -e 1 -- {}",
        "node tool.js --in={}",
        "env A={} ./convert.sh {}",
        "timeout {} ./convert.sh",
        "nice -n {} ./convert.sh",
        "sudo -nu {} ./convert.sh",
        "stdbuf -oL ./convert.sh {}",
        "env -- ./convert.sh {} --in",
        "env -i nice -n {} ./convert.sh",
        "timeout 5 ./convert.sh {}",
        "grep python {}",
        "sh -c",
    ],
)
def test_data(command: str) -> None:
    """It may stand wherever it is an argument."""
    check_placeholders(shlex.split(command), "{}")


def test_another_placeholder() -> None:
    """-I frees `{}` for the code, and refuses its own letters there."""
    check_placeholders(["node", "-e", "const x = {}", "--", "@"], "@")
    with pytest.raises(UsageError, match="never code"):
        check_placeholders(["sh", "-c", "echo @"], "@")
