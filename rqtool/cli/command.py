"""The command class of every verb: grouped help, options that may be given only once, errors that name the option."""

from __future__ import annotations

from collections import Counter
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from rqtool import __version__
from rqtool.errors import UsageError
from rqtool.output import emit
from rqtool.text import closest

BROKER, OUTPUT = "Broker", "Output"
SIMILARITY = 0.75
"""Above which an option is suggested: `quite` and `quiet` have 0.8, `concurrency` and `insecure` 0.6."""

_HINTS = {
    "-P -j --jobs --max-procs": "Use work -j N",
    "--retries": "Use work --retry-delays 1s,10s: two pauses make three attempts",
    "--eta --progress": "Use work --bar; send shows its progress on a terminal",
    "--results": "Use work --joblog FILE for exit codes and times; the command can write its output to a file",
    "--group -u --ungroup --lb --line-buffer": "Use work --output group, direct or line",
    "--timeout": "Use work --timeout 60s; send --give-up 60s limits how long it waits for the broker",
    "-k --keep-order": "One job keeps the order of the queue; with several, tasks end in any order",
    "-n -N -L --max-args": "Each command gets one task; join lines before you send them",
    "-0 --null": "Use send -0",
    "-a --arg-file": "Use send --from FILE",
    "-d --delimiter": "Tasks are lines, or end at NUL with send -0",
    "--pipe": "The task is on stdin anyway; send --whole makes one task of the whole input",
    "--delay": "Tasks begin as soon as a job is free; send --delay 2s delivers them later",
    "--dry-run": "There is none; work -- echo {} prints the tasks, and takes them off the queue",
    "--resume --resume-failed": "What is not done stays in the queue; rqtool dead retry puts back what failed",
    "-S --sshlogin": "Start rqtool work on each host",
    "-r --no-run-if-empty": "Leave it out: without a task no command runs",
}
"""rqtool's equivalents for options that people type by habit, from GNU parallel and xargs."""
INSTEAD = {option: hint for options, hint in _HINTS.items() for option in options.split()}
"""For the options of these names that `rqtool send` or `rqtool work` does not have itself."""


def _print_version(context: Any, _param: Any, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        emit(f"rqtool {__version__}")
        raise typer.Exit


VERSION = TyperOption(
    param_decls=["--version", "-V"],
    is_flag=True,
    is_eager=True,
    expose_value=False,
    allow_from_autoenv=False,
    callback=_print_version,
    help="Print the version.",
    rich_help_panel=OUTPUT,
)


class Command(TyperCommand):
    """A verb. Its docstring, after the line in the list of verbs, is the text above the options: the examples."""

    options_title = "Options"
    """Above the options that name no `rich_help_panel`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """The arguments, then the options."""
        *params, help_option = super().get_params(ctx)
        return sorted([*params, VERSION, help_option], key=lambda param: param.param_type_name != "argument")

    def make_parser(self, ctx: Any) -> Any:
        """Let the parser refuse a second value for an option that takes one: it would silently replace the first.

        Its errors get the context, which names the verb whose help explains them.
        """
        parser = super().make_parser(ctx)
        parse = parser.parse_args

        def parse_once(args: list[str]) -> Any:
            try:
                values, rest, order = parse(args)
            except typer.TyperException as error:
                error.ctx = ctx  # type: ignore[attr-defined]
                raise
            for param, times in Counter(order).items():
                if times > 1 and not (param.multiple or param.is_flag):  # type: ignore[attr-defined]
                    ctx.fail(f"{_spelled(param)} takes one value and is given more than once")
            return values, rest, order

        parser.parse_args = parse_once  # type: ignore[method-assign]
        return parser

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options in their groups, the broker's last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if record := param.get_help_record(ctx):
                groups.setdefault(self._title(param), []).append(record)
        for title in sorted(groups, key=lambda title: title == BROKER):
            with formatter.section(title):
                formatter.write_dl(groups[title])

    def _title(self, param: Any) -> str:
        if param.name == "help":
            return OUTPUT
        default = "Arguments" if param.param_type_name == "argument" else self.options_title
        return param.rich_help_panel or default


def usage_error(error: typer.TyperException) -> UsageError:
    """Say what is wrong with a command line, and which help to read."""
    context = getattr(error, "ctx", None)
    return UsageError(_describe(error), f"See: {context.command_path if context is not None else 'rqtool'} --help")


def _describe(error: typer.TyperException) -> str:
    """An error in the value of an option begins with the option."""
    param: Any = getattr(error, "param", None)
    if isinstance(error, typer.BadParameter) and error.message and param is not None:
        context: Any = error.ctx
        source = context and context.get_parameter_source(param.name)
        where = " (from the environment)" if source and source.name == "ENVIRONMENT" else ""
        return f"{_spelled(param)}{where}: {_problem(error.message, param.type)}"
    if hasattr(error, "possibilities"):
        wrong: Any = error
        return f"No such option: {wrong.option_name}{_instead(wrong.option_name, wrong.ctx)}"
    message, context = error.format_message(), getattr(error, "ctx", None)
    if "extra argument" in message and any("--id" in param.opts for param in context.command.params):
        message += ". A task is named with --id"
    return message


def _instead(option: str, context: Any) -> str:
    """Return a sentence about what might have been meant, or nothing."""
    if context.info_name in ("send", "work") and option in INSTEAD:
        return f". {INSTEAD[option]}"
    known = [name for param in context.command.get_params(context) for name in param.opts]
    long = [name.removeprefix("--") for name in known if name.startswith("--")]
    close = closest(option.removeprefix("--"), long, SIMILARITY) if option.startswith("--") else None
    if close:
        return f". Did you mean --{close}?"
    return ". The options of a command come behind its name" if isinstance(context.command, TyperGroup) else ""


def _spelled(param: Any) -> str:
    """`-j/--jobs`."""
    return "/".join(sorted(param.opts, key=len))


def _problem(message: str, kind: Any) -> str:
    """Click's message, but for numbers, of which it says `not a valid int range` or `not in the range x>=1`."""
    value, is_not, _ = message.partition(" is not ")
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if not is_not or low is None:
        return message
    return f"{value} is not a number {f'of at least {low:,}' if high is None else f'from {low:,} to {high:,}'}"
