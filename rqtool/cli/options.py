"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rqtool.broker.topology import check_queue_name

QueueName = Annotated[
    str,
    typer.Option("--queue", "-q", metavar="NAME", envvar="RQTOOL_QUEUE", help="The queue.", callback=check_queue_name),
]
Kind = Annotated[
    Literal["classic", "quorum"] | None,
    typer.Option("--type", help="The queue's type.", show_default="as it is; a new one: as the broker makes it"),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Errors only.")]

DEFAULT_QUEUE = "task_queue"
