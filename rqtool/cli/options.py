"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rqtool.broker.topology import check_queue_name

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        metavar="URL",
        envvar=["RQTOOL_URL", "AMQP_URL"],
        help="The broker: amqp://USER:PASSWORD@HOST:PORT/VHOST; several nodes of a cluster separated by commas.",
        show_default="the private node if it runs, else amqp://guest:guest@localhost:5672/",
    ),
]
ApiUrl = Annotated[
    str | None,
    typer.Option(
        "--api-url",
        metavar="URL",
        envvar="RQTOOL_API_URL",
        help="The management API.",
        show_default="the private node's, else port 15672 (amqps: 15671) of the broker's host",
    ),
]
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
