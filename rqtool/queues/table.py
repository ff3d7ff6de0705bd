"""Columns as tables on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rqtool.queues.columns import HOLDER_COLUMNS, QUEUE_COLUMNS, STYLES, VERY_WIDE, Column, T, holder_rows, reasons
from rqtool.queues.diagnosis import Diagnosis
from rqtool.text import printable


def text(value: object, style: str = "") -> Text:
    """Names are data, never markup, and their control characters are spelled out."""
    return Text("" if value is None else printable(str(value)), style=style)


def table(columns: Sequence[Column[T]], rows: Sequence[T], *, vhosts: bool, width: int) -> Table:
    """A line per row, with the columns that fit this width; `vhost` comes first."""
    shown = [each for each in columns if vhosts and each.name == "vhost"]
    shown += [
        each
        for each in columns
        if each.name != "vhost" and each.drawn and each.drawn.at_least <= width < each.drawn.below
    ]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in shown:
        if look := column.drawn:
            drawn.add_column(
                look.heading or column.name,
                justify="right" if look.right or look.is_figure else "left",
                no_wrap=not look.folds_at,
                overflow="fold",
                min_width=look.folds_at or None,
            )
    for row in rows:
        drawn.add_row(*(_cell(column, row) for column in shown))
    return drawn


def _cell(column: Column[T], row: T) -> Text:
    look = column.drawn
    value_of = (look and look.value) or column.tsv
    if look is None or value_of is None:
        return Text()
    value, style = value_of(row), look.style(row)
    if not look.is_figure:
        return text(value, style)
    return Text(f"{value:,}", style if value else "dim") if isinstance(value, int) else Text("?", "dim")


def queue_table(diagnoses: Sequence[Diagnosis], *, vhosts: bool, width: int) -> RenderableType:
    """A line per queue; where the reasons don't fit beside it, those of all verdicts but `ok` are below the table."""
    drawn = table(QUEUE_COLUMNS, diagnoses, vhosts=vhosts, width=width)
    if width >= VERY_WIDE:
        return drawn
    lines = [reason_line(each, reasons(each), vhosts=vhosts) for each in diagnoses if each.verdict != "ok"]
    return Group(drawn, Text(), *lines) if lines else drawn


def reason_line(diagnosis: Diagnosis, reason: str, *, vhosts: bool) -> Text:
    """`NAME: REASON`."""
    queue = diagnosis.queue
    name = f"{queue.name} in {queue.vhost}" if vhosts else queue.name
    return Text.assemble(text(f"{name}: ", STYLES[diagnosis.verdict]), text(reason), overflow="fold")


def show(diagnoses: Sequence[Diagnosis], *, holders: bool, vhosts: bool) -> None:
    """Print the queues, or who holds their messages."""
    console = Console()
    if holders:
        console.print(table(HOLDER_COLUMNS, holder_rows(diagnoses), vhosts=vhosts, width=console.width))
    else:
        console.print(queue_table(diagnoses, vhosts=vhosts, width=console.width))
