"""Columns as tables on a terminal."""

from __future__ import annotations

from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from operator import attrgetter

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from rqtool.queues.columns import (
    HOLDER_COLUMNS,
    QUEUE_COLUMNS,
    STYLES,
    VERY_WIDE,
    WIDE,
    Column,
    Drawn,
    T,
    holder_rows,
    reasons,
)
from rqtool.queues.diagnosis import HEALTHY, VERDICTS, Diagnosis, Verdict, also
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
    return table_of(shown, rows)


def table_of(columns: Sequence[Column[T]], rows: Sequence[T]) -> Table:
    """These columns, in this order."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        look: Drawn[T] = column.drawn or Drawn(folds_at=1)
        drawn.add_column(
            look.heading or column.name,
            justify="right" if look.right or look.is_figure else "left",
            no_wrap=not look.folds_at,
            overflow="fold",
            min_width=look.folds_at or None,
        )
    for row in rows:
        drawn.add_row(*(_cell(column, row) for column in columns))
    return drawn


def _cell(column: Column[T], row: T) -> Text:
    look = column.drawn
    if look is None:
        return Text(column.field(row))
    value_of = look.value or column.tsv
    value, style = value_of(row) if value_of else None, look.style(row)
    if not look.is_figure:
        return text(value, style)
    return Text(f"{value:,}", style if value else "dim") if isinstance(value, int) else Text("?", "dim")


def queue_table(diagnoses: Sequence[Diagnosis], *, vhosts: bool, width: int) -> RenderableType:
    """One line per queue. Reasons that don't fit on it go below the table, unless all is well."""
    drawn = table(QUEUE_COLUMNS, diagnoses, vhosts=vhosts, width=width)
    if width >= VERY_WIDE:
        return drawn
    told = [each for each in diagnoses if each.verdict != "ok" or each.queue.waiting]
    lines = reason_lines(told, reasons, vhosts=vhosts)
    return Group(drawn, Text(), *lines) if lines else drawn


def reason_lines(diagnoses: Sequence[Diagnosis], reason_of: Callable[[Diagnosis], str], *, vhosts: bool) -> list[Text]:
    """`NAME: REASON`; queues with the same verdict and reason share a line."""
    names: defaultdict[tuple[Verdict, str], list[str]] = defaultdict(list)
    for each in diagnoses:
        name = f"{each.queue.name} in {each.queue.vhost}" if vhosts else each.queue.name
        names[each.verdict, reason_of(each)].append(name)
    return [
        Text.assemble(text(f"{first}: ", STYLES[verdict]), text(f"{reason}{also(others)}"), overflow="fold")
        for (verdict, reason), (first, *others) in names.items()
    ]


def fitted(
    diagnoses: Sequence[Diagnosis], draw: Callable[[Sequence[Diagnosis]], RenderableType], console: Console
) -> RenderableType:
    """All queues if they fit the screen; else those in trouble, as many healthy ones as fit, and the number of the
    others. Where trouble alone does not fit, and its top scrolls away, it is counted at the end, and the worst named.
    """
    room = console.height - 1  # the prompt
    healthy = [each for each in diagnoses if each.verdict in HEALTHY]

    def drawn(most: int) -> RenderableType:
        left = {each.queue.key for each in healthy[most:]}
        shown = draw([each for each in diagnoses if each.queue.key not in left])
        dots = "…" if console.encoding.lower().startswith("utf") else "..."
        count = f"{dots} and {len(left):,} healthy {'queue' if len(left) == 1 else 'queues'}: --all lists them"
        return Group(shown, Text(count, style="dim")) if left else shown

    def fits(most: int) -> bool:
        return len(console.render_lines(drawn(most), pad=False)) <= room

    in_trouble = len(diagnoses) - len(healthy)
    if len(diagnoses) < room and fits(len(healthy)):
        return drawn(len(healthy))
    if in_trouble >= room or (in_trouble and not fits(0)):
        worst = min(diagnoses, key=lambda each: VERDICTS.index(each.verdict))
        vhosts = len({each.queue.vhost for each in diagnoses}) > 1
        [line] = reason_lines([worst], attrgetter("reason"), vhosts=vhosts)
        count = Counter(each.verdict for each in diagnoses if each.verdict not in HEALTHY)
        totals = ", ".join(f"{count[verdict]:,} {verdict}" for verdict in VERDICTS if verdict in count)
        return Group(drawn(0), Text(totals), Text.assemble(("The worst: ", "bold"), line, overflow="fold"))
    # A healthy queue takes a line or more: no more than `room` can fit.
    return drawn(max(0, bisect(range(max(0, room - in_trouble)), 0, key=lambda most: 0 if fits(most) else 1) - 1))


def show(
    diagnoses: Sequence[Diagnosis], columns: Sequence[Column[Diagnosis]] | None, *, everything: bool, vhosts: bool
) -> None:
    """Print the queues, with these columns or (None) those that fit. `everything`: however many there are."""
    console = Console()

    def draw(rows: Sequence[Diagnosis]) -> RenderableType:
        return table_of(columns, rows) if columns else queue_table(rows, vhosts=vhosts, width=console.width)

    console.print(draw(diagnoses) if everything else fitted(diagnoses, draw, console))


def holder_table(diagnoses: Sequence[Diagnosis], console: Console, *, vhosts: bool) -> Table:
    """A line per holder, with fewer columns where names would be broken."""
    rows = holder_rows(diagnoses)
    drawn = table(HOLDER_COLUMNS, rows, vhosts=vhosts, width=console.width)
    if console.measure(drawn, options=console.options.update(max_width=1_000)).maximum > console.width:
        drawn = table(HOLDER_COLUMNS, rows, vhosts=vhosts, width=min(console.width, WIDE - 1))
    return drawn


def show_holders(diagnoses: Sequence[Diagnosis], *, vhosts: bool) -> None:
    console = Console()
    console.print(holder_table(diagnoses, console, vhosts=vhosts))
