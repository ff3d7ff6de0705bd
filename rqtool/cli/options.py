"""Options that several verbs share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from rqtool.amqp.topology import check_queue_name
from rqtool.durations import parse_duration
from rqtool.errors import UsageError

QueueName = Annotated[
    str,
    typer.Option("--queue", "-q", metavar="NAME", envvar="RQTOOL_QUEUE", help="The queue.", callback=check_queue_name),
]
Kind = Annotated[
    Literal["classic", "quorum"] | None,
    typer.Option("--type", help="The queue's type.", show_default="as it is; a new one: as the broker makes it"),
]
AcceptLoss = Annotated[
    bool, typer.Option("--accept-loss", help="Use the queue even if its settings let it drop confirmed tasks.")
]
StuckAfter = Annotated[
    str,
    typer.Option(
        "--stuck-after",
        metavar="DURATION",
        help="How long messages may be held without an ack before that is suspicious; from 1s to 50m.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Errors only.")]

DEFAULT_QUEUE = "task_queue"

SHORTEST_STUCK, LONGEST_STUCK = 1.0, 3000.0
"""With nothing at all everybody would be to blame; and the broker remembers an hour."""


def parse_stuck_after(text: str) -> float:
    """Seconds. Raises UsageError for what accuses everybody, or what the broker's memory is too short for."""
    seconds = parse_duration(text)
    if seconds < SHORTEST_STUCK:
        raise UsageError(f"--stuck-after {text} would accuse everybody who works", "Give it at least 1s")
    if seconds > LONGEST_STUCK:
        raise UsageError(f"--stuck-after {text} is longer than the broker's memory", "Give it at most 50m")
    return seconds
