#!/usr/bin/env python3
"""Write docs/reference.md and the man pages in docs/man from the program's own help: `make docs`.

With an argument they go into that folder instead; the test that compares them does so.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, fill
from typing import Any

import typer
from typer.main import get_command

from rqtool import __version__
from rqtool.cli.command import BROKER
from rqtool.cli.main import app

INTRO = """\
# Reference

`make docs` writes this page, and the man pages, from the program's own help: don't edit them by hand.

An option on the command line takes precedence over its environment variable. An option that takes one value can be
given only once. The filters of `dead`, `--dry-run`, `--holder` and `--yes` have no environment variable: a forgotten
one must not decide what is deleted, moved or disconnected. Durations are written `200ms`, `5s`, `10m`, `2h` or `3d`.

[output.md](output.md) describes what the verbs print: JSON keys, events and columns. [broker.md](broker.md) says how
rqtool finds the broker.
"""

EXIT_CODES = {
    "0": "Success.",
    "1": "Some of the work failed: tasks not confirmed, tasks that ended in the dead queue (with --drain or "
    "--max-tasks), a queue or an id that does not exist, output that can't be written.",
    "2": "Usage: a wrong command line, an unreadable file, a command that can't be run.",
    "69": "The broker or the management API is out of reach, a limit is reached (connections, channels, queues), or "
    "another program consumes the queue exclusively. It may work later.",
    "70": "A bug in rqtool. RQTOOL_DEBUG=1 shows where.",
    "77": "Access refused: password, vhost, permission, or the management tag.",
    "78": "The queue exists, but its settings could lose tasks, or its type is not the one asked for.",
    "129, 130, 143": "Stopped by a second Ctrl-C (130) or SIGTERM (143), or by the end of --grace (129 after SIGHUP).",
}

RECORD = re.compile(r"(?:env var: (?P<env>[A-Z0-9_, ]+))?(?:; )?(?:default: (?P<default>\(.*\)|[^;]*))?(?:; )?.*")
"""What the help has in brackets behind an option's text."""


@dataclass(frozen=True)
class Parameter:
    """An option or an argument, as the help shows it."""

    group: str
    name: str
    text: str
    default: str
    environment: list[str]


@dataclass(frozen=True)
class Verb:
    """A command, and its parameters in the order of its help."""

    name: str
    """`rqtool dead list`."""
    usage: str
    blocks: list[str]
    """Paragraphs, and preformatted blocks: a title, then indented lines."""
    epilog: list[str]
    parameters: list[Parameter]
    verbs: list[Verb]

    @property
    def line(self) -> str:
        return self.blocks[0]

    def groups(self) -> dict[str, list[Parameter]]:
        found: dict[str, list[Parameter]] = {}
        for parameter in self.parameters:
            found.setdefault(parameter.group, []).append(parameter)
        if BROKER in found:
            found[BROKER] = found.pop(BROKER)
        return found


def read_verb(command: Any, context: Any) -> Verb:
    verbs = []
    for name in command.list_commands(context) if hasattr(command, "list_commands") else ():
        child = command.get_command(context, name)
        verbs.append(read_verb(child, typer.Context(child, parent=context, info_name=name)))
    usage = re.sub(r"\{(\w+)\}", r"\1", " ".join(command.collect_usage_pieces(context)))
    parameters = [*read_parameters(command, context)]
    return Verb(context.command_path, usage, blocks(command.help), blocks(command.epilog), parameters, verbs)


def read_parameters(command: Any, context: Any) -> Iterator[Parameter]:
    for param in command.get_params(context):
        record = param.get_help_record(context)
        if record is None:
            continue
        title = getattr(command, "_title", None)
        default_title = "Arguments" if param.param_type_name == "argument" else "Options"
        text = (param.help or "").strip()
        known = RECORD.fullmatch(record[1].removeprefix(text).strip().removeprefix("[").removesuffix("]"))
        assert known is not None, record
        yield Parameter(
            title(param) if title else param.rich_help_panel or default_title,
            record[0],
            f"{text} {bounds(param.type)}".strip(),
            (known["default"] or "").removeprefix("(").removesuffix(")"),
            known["env"].split(", ") if known["env"] else [],
        )


def bounds(kind: Any) -> str:
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is None:
        return ""
    return f"At least {low:,}." if high is None else f"From {low:,} to {high:,}."


def blocks(text: str | None) -> list[str]:
    """Paragraphs in one line each; what follows `\\b` as it is."""
    parts = re.split(r"\n{2,}", dedent(text or "").strip())
    return [part[2:] if part.startswith("\b\n") else " ".join(part.split()) for part in parts if part]


def is_preformatted(block: str) -> bool:
    return "\n" in block


# --- Markdown


def markdown(rqtool: Verb) -> str:
    parts = [INTRO, "## Verbs\n"]
    parts += ["\n".join(f"- [`{verb.name}`](#{anchor(verb.name)}): {verb.line}" for verb in rqtool.verbs) + "\n"]
    parts += [markdown_verb(verb, "##") for verb in rqtool.verbs]
    every = [leaf for verb in rqtool.verbs for leaf in (verb, *verb.verbs)]
    broker = {p.name: p for verb in every for p in verb.groups().get(BROKER, [])}
    parts += ["## Broker options\n", *table([*broker.values()])]
    parts += ["## Options of rqtool itself\n", *table(rqtool.parameters)]
    parts += ["## Exit codes\n", "| code | meaning |\n|---|---|"]
    parts += [*(f"| {code} | {meaning} |" for code, meaning in EXIT_CODES.items()), ""]
    parts += ["`rqtool queues --check` exits with Nagios' codes instead: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."]
    return "\n".join(parts).rstrip() + "\n"


def anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def markdown_verb(verb: Verb, level: str) -> str:
    parts = [f"{level} {verb.name}\n"]
    if not verb.verbs:
        parts += [f"```\n{verb.name} {verb.usage}\n```\n"]
    parts += [markdown_block(block) for block in verb.blocks]
    for group, parameters in verb.groups().items():
        if group == BROKER:
            names = ", ".join(f"`{p.name.split()[0]}`" for p in parameters)
            parts += [f"**{group}:** {names}; see [Broker options](#broker-options).\n"]
        elif not verb.verbs:
            parts += [f"**{group}**\n", *table(parameters)]
    parts += [markdown_block(block) for block in verb.epilog]
    parts += [markdown_verb(child, f"{level}#") for child in verb.verbs]
    return "\n".join(parts)


def markdown_block(block: str) -> str:
    if not is_preformatted(block):
        return fill(block, 120, break_long_words=False, break_on_hyphens=False) + "\n"
    title, _, rest = block.partition("\n")
    return f"**{title.removesuffix(':')}**\n\n```\n{dedent(rest).rstrip()}\n```\n"


def table(parameters: list[Parameter]) -> list[str]:
    rows = [[code(p.name), cell(p.text), cell(p.default), ", ".join(map(code, p.environment))] for p in parameters]
    titles = ["", "meaning", "default", "environment"]
    used = [n for n in range(4) if n < 2 or any(row[n] for row in rows)]
    lines = [titles, ["---"] * 4, *rows]
    return [*("| " + " | ".join(line[n] for n in used) + " |" for line in lines), ""]


def code(text: str) -> str:
    return f"`{text.replace('|', chr(92) + '|')}`"


def cell(text: str) -> str:
    return re.sub(r"([|*<])", r"\\\1", text)


# --- man pages


def man_pages(rqtool: Verb) -> dict[str, str]:
    pages = {f"{page_name(verb)}.1": man_page(verb, rqtool) for verb in rqtool.verbs}
    return {"rqtool.1": man_page(rqtool, rqtool)} | pages


def page_name(verb: Verb) -> str:
    return verb.name.replace(" ", "-")


def man_page(verb: Verb, rqtool: Verb) -> str:
    name = page_name(verb)
    lines = [f'.TH {name.upper()} 1 "" "rqtool {__version__}" "User Commands"', ".SH NAME"]
    lines += [f"{roff(name)} \\- {roff(verb.line.split('. ')[0].rstrip('.'))}", ".SH SYNOPSIS"]
    shown = verb.verbs if verb.verbs and verb is not rqtool else [verb]
    lines += "\n.br\n".join(f".B {roff(each.name)}\n{roff(each.usage)}" for each in shown).split("\n")
    lines += [".SH DESCRIPTION", *man_blocks(verb.blocks, ".SS")]
    if verb is rqtool:
        lines += [".SH COMMANDS", *(line for child in verb.verbs for line in man_command(child))]
    elif verb.verbs:
        for child in verb.verbs:
            lines += [f'.SH "{roff(child.name)}"', *man_blocks(child.blocks, ".SS"), *man_options(child, ".SS")]
    if verb is rqtool or not verb.verbs:
        lines += [".SH OPTIONS", *man_options(verb, ".SS")]
    lines += man_blocks(verb.epilog, ".SH") if verb is not rqtool else []
    lines += [".SH EXIT STATUS"]
    for code, meaning in EXIT_CODES.items():
        lines += [".TP", f".B {roff(code)}", roff(meaning)]
    others = ["rqtool", *(page_name(each) for each in rqtool.verbs)]
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{roff(other)}\\fR(1)" for other in others if other != name)]
    return "\n".join(lines) + "\n"


def man_command(verb: Verb) -> list[str]:
    return [".TP", f"\\fB{roff(page_name(verb))}\\fR(1)", roff(verb.line)]


def man_blocks(parts: list[str], heading: str) -> list[str]:
    lines: list[str] = []
    for block in parts:
        if is_preformatted(block):
            title, _, rest = block.partition("\n")
            text = [roff(line) for line in dedent(rest).rstrip().split("\n")]
            lines += [f'{heading} "{roff(title.removesuffix(":"))}"', ".nf", *text, ".fi"]
        else:
            lines += [".PP", roff(block)] if lines else [roff(block)]
    return lines


def man_options(verb: Verb, heading: str) -> list[str]:
    lines = []
    for group, parameters in verb.groups().items():
        lines += [f"{heading} {roff(group)}"]
        for p in parameters:
            lines += [".TP", f".B {roff(p.name)}", roff(p.text)]
            notes = [f"Default: {p.default}."] if p.default else []
            notes += [f"Environment: {', '.join(p.environment)}."] if p.environment else []
            lines += [".br", roff(" ".join(notes))] if notes else []
    return lines


def roff(text: str) -> str:
    """Text as roff reads it literally, at the beginning of a line too."""
    text = (
        text.replace("\\", "\\e").replace("-", "\\-").replace("'", "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    )
    return f"\\&{text}" if text.startswith(".") else text


def main() -> None:
    docs = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1] / "docs"
    command: Any = get_command(app)
    rqtool = read_verb(command, typer.Context(command, info_name="rqtool", **command.context_settings))
    (docs / "man").mkdir(exist_ok=True, parents=True)
    for old in (docs / "man").glob("*.1"):
        old.unlink()
    (docs / "reference.md").write_text(markdown(rqtool))
    for name, page in man_pages(rqtool).items():
        (docs / "man" / name).write_text(page)


if __name__ == "__main__":
    main()
