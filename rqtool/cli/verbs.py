"""The verbs: what the help says of each, and the file behind it, imported when its verb is asked for.

To import all of them and read their options costs every start half as much again as typer itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

VERBS = {
    "send": "Send tasks. A task counts as sent when the broker has confirmed it.",
    "work": "Take tasks; acknowledge each one when its work is done.",
    "queues": "Show what is ready, what is held without an ack and by whom, and whether that is work or a forgotten "
    "ack.",
    "release": "Give back what is held without an ack: close the connections of those who forgot it.",
    "dead": "The tasks that were given up.",
    "broker": "A private RabbitMQ on this machine.",
}


class _Commands(Mapping[str, Any]):
    """The verbs' commands, each the `app` of `rqtool.cli.VERB`, made when it is taken."""

    def __getitem__(self, verb: str) -> Any:
        text = VERBS[verb]
        command = get_command(import_module(f"rqtool.cli.{verb}").app)
        command.help = text
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(VERBS)

    def __len__(self) -> int:
        return len(VERBS)


class Verbs(TyperGroup):
    """A group that lists its verbs without importing them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = _Commands()  # type: ignore[assignment]

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]  # noqa: ARG002
        return list(VERBS)

    def format_commands(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        lines = {verb: TyperCommand(verb, help=text) for verb, text in VERBS.items()}
        TyperGroup(commands=lines).format_commands(ctx, formatter)  # type: ignore[arg-type]
