"""Every console block of the README does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer.main

from rqtool.cli.main import app
from rqtool.private_broker.cluster import PrivateBroker
from tests.tools import clean_environment

README = (Path(__file__).parents[2] / "README.md").read_text()
BLOCK = re.compile(r"```console\n(.*?)```", re.DOTALL)
MARK = "=== end of command"


def commands() -> list[tuple[str, list[str]]]:
    """Each command of each console block, with the lines it is said to print."""
    found: list[tuple[str, list[str]]] = []
    for block in BLOCK.findall(README):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], []))
            else:
                found[-1][1].append(line)
    return found


def matches(expected: list[str], printed: list[str]) -> bool:
    """`…` stands for anything within a line; the order of two words from two processes is not promised."""
    patterns = [".*".join(re.escape(part) for part in line.split("…")) for line in expected]
    return len(patterns) == len(printed) and all(
        re.fullmatch(p, line) for p, line in zip(patterns, printed, strict=True)
    )


@pytest.mark.timeout(300)  # it waits for the broker's statistics, as a reader does
def test_console_blocks(tmp_path: Path) -> None:
    """One shell, one private broker, all blocks in turn: the output is the README's."""
    for name, program in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", README, re.DOTALL):
        (tmp_path / name).write_text(program)
    said = commands()
    script = "".join(f"{command}\necho '{MARK}'\n" for command, _ in said)
    environment = clean_environment() | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "HOME": str(tmp_path),
    }
    try:
        with (tmp_path / "errors").open("w") as errors:
            shell = subprocess.run(
                ["bash"], input=script, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=errors,
                text=True, timeout=280, check=False,
            )  # fmt: skip
    finally:
        PrivateBroker(tmp_path / "state" / "rqtool" / "broker").stop()
    parts = shell.stdout.split(f"{MARK}\n")[:-1]
    assert len(said) == len(parts), shell.stdout
    for (command, expected), printed in zip(said, parts, strict=True):
        assert matches(expected, printed.splitlines()), (command, printed, (tmp_path / "errors").read_text())


def parameters() -> list[tuple[str, str]]:
    """Every option of every verb: (verb, option)."""
    group = typer.main.get_command(app)
    found = []
    for verb, command in group.commands.items():  # type: ignore[attr-defined]
        commands = [*command.commands.values()] if hasattr(command, "commands") else [command]
        options = {o for command in commands for parameter in command.params for o in parameter.opts if o[0] == "-"}
        found += [(verb, option) for option in sorted(options)]
    return found


@pytest.mark.parametrize(("verb", "option"), parameters())
def test_every_option_is_in_the_readme(verb: str, option: str) -> None:
    """The verb's own chapter has it."""
    chapter = README.split(f"### `rqtool {verb}", 1)[1].split("\n##", 1)[0]
    assert f"`{option}" in chapter


def test_every_exit_code_is_in_the_readme() -> None:
    """The table of exit codes has them all."""
    chapter = README.split("## Exit codes", 1)[1]
    assert {"0", "1", "2", "69", "70", "77", "78", "129, 130, 143"} == set(
        re.findall(r"^\| ([\d, ]+) \|", chapter, re.MULTILINE)
    )
