"""The verbs: the line of help for each, and the file behind it, imported when the verb is called.

Importing all of them and reading their options would add half of typer's own import time to every start.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

from rqtool.cli.command import VERSION, Command
from rqtool.output import emit

VERBS = {
    "send": "Send tasks. A task counts as sent when the broker has confirmed it.",
    "work": "Take tasks; acknowledge each one when its work is done.",
    "queues": "Show what is ready, what is held and by whom, and a verdict.",
    "release": "Give back held messages: close connections that forgot to ack.",
    "dead": "List, show, retry or delete the tasks that failed for good.",
    "broker": "Run a private RabbitMQ on this machine.",
}


class Verbs(TyperGroup):
    """A group that lists its verbs without importing them. `help VERB` is `VERB --help`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(VERBS)  # type: ignore[assignment]

    def get_params(self, ctx: Any) -> list[Any]:
        """Options without a verb have no environment twins: an image that sets RQTOOL_VERSION means something else."""
        params: list[Any] = [VERSION, *super().get_params(ctx)]
        for param in params:
            param.allow_from_autoenv = False
        return params

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002
        """Return a verb's command, made from the `app` of `rqtool.cli.VERB`."""
        if (line := VERBS.get(cmd_name)) is None:
            return None
        app = import_module(f"rqtool.cli.{cmd_name}").app
        for info in app.registered_commands:
            if info.cls is TyperCommand:
                info.cls = Command
        command = get_command(app)
        if isinstance(command, TyperGroup):
            command.params.insert(0, VERSION)
        command.help = f"{line}\n\n{command.help}" if command.help else line
        return command

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args[:1] == ["help"] and ctx.resilient_parsing:  # a shell completes what follows
            args = args[1:]
        elif args[:1] == ["help"]:
            emit(self._help(ctx, args[1:]))
            raise typer.Exit
        return super().parse_args(ctx, args)

    def _help(self, ctx: Any, path: list[str]) -> str:
        command: Any = self
        for name in path:
            if not isinstance(command, TyperGroup):
                ctx.fail(f"{ctx.command_path} has no commands of its own")
            _, command, _ = command.resolve_command(ctx, [name])
            ctx = typer.Context(command, parent=ctx, info_name=name)
        return str(command.get_help(ctx))

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        lines = {verb: TyperCommand(verb, help=text) for verb, text in VERBS.items()}
        TyperGroup(commands=lines).format_commands(ctx, formatter)  # type: ignore[arg-type]
