"""Queues and holders as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rqtool.durations import about
from rqtool.management.queue import Queue
from rqtool.queues.diagnosis import Clock, Diagnosis, Verdict
from rqtool.queues.listing import Held
from rqtool.text import printable

WIDE, VERY_WIDE = 96, 150
"""Columns of a terminal from which on there is room for state and type, and for the reasons beside the figures."""
STYLES: dict[Verdict, str] = {
    "down": "bold red",
    "starved": "bold red",
    "forgotten ack?": "bold red",
    "may drop tasks": "yellow",
    "not durable": "yellow",
    "dead letters": "yellow",
    "no consumers": "yellow",
    "unknown": "yellow",
    "working": "cyan",
    "ok": "green",
}


def new_table() -> Table:
    return Table(box=None, pad_edge=False, header_style="bold")


def text(value: str | None, style: str = "") -> Text:
    """Names are data, never markup, and their control characters are spelled out."""
    return Text(printable(value or ""), style=style)


def figure(count: int | None, style: str = "") -> Text:
    if count is None:
        return Text("?", style="dim")
    return Text(f"{count:,}", style=style if count else "dim")


def queue_table(diagnoses: Sequence[Diagnosis], *, vhosts: bool, width: int) -> RenderableType:
    """A line per queue, and the reason of every verdict that asks for something, beside or below the figures."""
    table = new_table()
    if vhosts:
        table.add_column("vhost", overflow="fold")
    table.add_column("name", overflow="fold", min_width=12)
    for name in ("ready", "unacknowledged", "consumers"):
        table.add_column(name, justify="right", no_wrap=True)
    wide, beside = width >= WIDE, width >= VERY_WIDE
    if wide:
        table.add_column("state", no_wrap=True)
        table.add_column("type", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    if beside:
        table.add_column("reason", overflow="fold")
    for diagnosis in diagnoses:
        queue = diagnosis.queue
        style = STYLES[diagnosis.verdict]
        table.add_row(
            *([text(queue.vhost)] if vhosts else []),
            text(queue.name),
            figure(queue.messages_ready),
            figure(queue.messages_unacknowledged, style="yellow"),
            figure(queue.consumers),
            *([text(queue.state), text(queue.type)] if wide else []),
            Text(diagnosis.verdict, style=style),
            *([text(reasons(diagnosis))] if beside else []),
        )
    return table if beside else Group(table, *_below(diagnoses, vhosts=vhosts))


def called(queue: Queue, *, vhosts: bool) -> str:
    return f"{queue.name} in {queue.vhost}" if vhosts else queue.name


def reasons(diagnosis: Diagnosis) -> str:
    """Of the verdict, and of what else was found."""
    others = [f"{finding.verdict}: {finding.reason}" for finding in diagnosis.findings[1:]]
    return "; ".join([diagnosis.reason, *others])


def _below(diagnoses: Sequence[Diagnosis], *, vhosts: bool) -> list[RenderableType]:
    lines: list[RenderableType] = []
    for diagnosis in diagnoses:
        if diagnosis.verdict != "ok":
            name = text(f"{called(diagnosis.queue, vhosts=vhosts)}: ", style=STYLES[diagnosis.verdict])
            lines.append(Text.assemble(name, text(reasons(diagnosis)), overflow="fold"))
    return [Text(), *lines] if lines else []


def holder_table(rows: Sequence[Held], clock: Clock, *, vhosts: bool, width: int) -> Table:
    """A line per consumer that holds messages."""
    table = new_table()
    wide = width >= WIDE
    if vhosts:
        table.add_column("vhost", overflow="fold")
    for name in ("queue", "client"):
        table.add_column(name, overflow="fold", min_width=8)
    for name in ("host", "pid") if wide else ():
        table.add_column(name, overflow="fold")
    table.add_column("address", no_wrap=True)
    for name in ("prefetch", "held") if wide else ("held",):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("since", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for row in rows:
        client = row.holder.client
        seconds = row.holder.flow.held_seconds()
        since = clock.hour(row.holder.flow.held_since)
        if wide and seconds is not None:
            since += f" ({about(seconds)})"
        name = client.name or client.product or "?"
        table.add_row(
            *([text(row.vhost)] if vhosts else []),
            text(row.queue),
            text(f"{name}, {client.runs}" if client.runs else name),
            *([text(client.host), text(str(client.pid or ""))] if wide else []),
            text(client.address),
            *([text(row.prefetch if row.prefetch != "0" else "no limit")] if wide else []),
            text(row.held, style="yellow"),
            text(since),
            Text(row.verdict, style="bold red" if row.suspect else "cyan"),
        )
    return table


def print_queues(diagnoses: Sequence[Diagnosis], *, vhosts: bool) -> None:
    console = Console()
    console.print(queue_table(diagnoses, vhosts=vhosts, width=console.width))


def print_holders(rows: Sequence[Held], clock: Clock, *, vhosts: bool) -> None:
    console = Console()
    console.print(holder_table(rows, clock, vhosts=vhosts, width=console.width))
