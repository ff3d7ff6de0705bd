"""One frame of `rqtool queues --watch`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter

from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from rqtool.durations import about
from rqtool.management.queue import Key
from rqtool.queues.columns import STYLES
from rqtool.queues.diagnosis import VERDICTS, Diagnosis
from rqtool.queues.snapshot import Snapshot
from rqtool.queues.table import reason_lines, text
from rqtool.queues.trends import BARS, PLAIN_BARS, Trend, bars, empty_in, short
from rqtool.text import printable

NARROW, WIDE = 100, 150
"""Widths of a terminal for a trend of 6, of 12, and of 24 samples; a sample is 5 s."""
HEAD_LINES = 3
NUMBERS = ("ready", "unacked", "acks/s")


@dataclass(frozen=True, slots=True)
class Frame:
    """The last snapshot, its time, any error since, and the patterns that match none of its queues."""

    snapshot: Snapshot
    trends: Mapping[Key, Trend]
    taken: datetime
    where: str
    trouble: str = ""
    missing: Sequence[str] = ()


class Screen:
    """Takes over the whole terminal while it is open, and restores it at the end."""

    def __init__(self) -> None:
        self._console = Console()
        self.is_dumb = self._console.is_dumb_terminal

    @property
    def most_rows(self) -> int:
        return max(1, self._console.height - HEAD_LINES)

    @contextmanager
    def open(self) -> Iterator[None]:
        with self._console.screen(hide_cursor=True) as self._context:
            yield

    def show(self, frame: Frame, now: datetime) -> None:
        """Draw over the last frame, line by line: not clearing it first avoids flicker."""
        with self._console:  # one write for all of it
            self._console.control(Control.home())
            self._context.update(draw(frame, now, self._console))


def worst(diagnoses: Sequence[Diagnosis], room: int) -> list[Diagnosis]:
    """As many queues as there is room for, in their order: the worst verdicts, then those with the most messages."""
    order = sorted(diagnoses, key=lambda d: (VERDICTS.index(d.verdict), -d.queue.held - d.queue.ready))
    kept = {each.queue.key for each in order[:room]}
    return [each for each in diagnoses if each.queue.key in kept]


def draw(frame: Frame, now: datetime, console: Console) -> RenderableType:
    """Everything on the screen, in at most as many lines as it has."""
    width, height = console.size
    diagnoses = frame.snapshot.diagnoses
    vhosts = len({each.queue.vhost for each in diagnoses}) > 1
    room = height - HEAD_LINES
    if room < 1:
        return _head(frame, now, width)
    # The reasons get the lines that the queues leave free, or half of the screen if they need it.
    reasons = _reasons(diagnoses, console, max(room - len(diagnoses), room // 2), vhosts=vhosts)
    rows = worst(diagnoses, room - len(reasons))
    if left := len(diagnoses) - len(rows):
        rows = worst(rows, len(rows) - 1)
        reasons = [Text(f"and {left + 1:,} more, none of them worse", style="dim"), *reasons]
    symbols = BARS if console.encoding.lower().startswith("utf") else PLAIN_BARS
    missing = f"No queue here matches {' or '.join(map(repr, frame.missing))} at the moment" if frame.missing else ""
    note = _line(Text(missing, style="yellow"), width)
    shown = Group(note, _table(rows, frame.trends, width, symbols, vhosts=vhosts), *reasons)
    return Group(_head(frame, now, width), Styled(shown, "dim") if frame.trouble else shown)


def _head(frame: Frame, now: datetime, width: int) -> RenderableType:
    age = max(0, int((now - frame.taken).total_seconds()))
    if frame.trouble:
        words = f"No answer since {frame.taken:%H:%M:%S} ({about(age)}), the figures are of then. {frame.trouble}"
        return _line(Text(printable(words), style="bold red"), width)
    lag = frame.snapshot.unseen or "acks, trends and verdicts lag up to 10 s"
    right = Text(f"  {frame.taken:%H:%M:%S}, {age} s old; {lag}; q ends", style="dim")
    left = _line(Text.assemble(("rqtool", "bold"), f" {printable(frame.where)}"), max(6, width - right.cell_len))
    return _line(Text.assemble(left, right), width)


def _line(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line


def _table(rows: Sequence[Diagnosis], trends: Mapping[Key, Trend], width: int, symbols: str, *, vhosts: bool) -> Table:
    points = 6 if width < NARROW else 12 if width < WIDE else 24
    sizes = [("ready", 5), ("", points), ("unacked", 7), ("", points), ("acks/s", 6), ("", points)]
    sizes += [("empty in", 8), ("verdict", 14)]
    first = [("vhost", 12)] if vhosts else []
    room = width - sum(size + 1 for _, size in [*first, *sizes])
    longest = max([len("name"), *(text(each.queue.name).cell_len for each in rows)])
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name, size in [*first, ("name", min(max(8, room), longest)), *sizes]:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True, width=size)
    for each in rows:
        queue, trend = each.queue, trends.get(each.queue.key, Trend())
        table.add_row(
            *([text(queue.vhost)] if vhosts else []),
            text(queue.name),
            _number(queue.messages_ready),
            Text(bars(trend.ready, points, symbols), style="blue"),
            _number(queue.messages_unacknowledged, "yellow"),
            Text(bars(trend.unacked, points, symbols), style="yellow"),
            _number(trend.ack_rate(), unknown=""),
            Text(bars(trend.acks(), points, symbols), style="green"),
            Text(empty_in(queue.messages_ready, trend.ready)),
            Text(each.verdict, style=STYLES[each.verdict]),
        )
    return table


def _number(value: float | None, style: str = "", unknown: str = "?") -> Text:
    return Text(unknown if value is None else short(value), style=style if value else "dim")


def _reasons(diagnoses: Sequence[Diagnosis], console: Console, room: int, *, vhosts: bool) -> list[Text]:
    """The reasons below an empty line, the worst first, as many lines as there is room for."""
    lines = [Text()]
    told = [each for each in diagnoses if each.verdict != "ok"]
    told.sort(key=lambda each: VERDICTS.index(each.verdict))
    for line in reason_lines(told, attrgetter("reason"), vhosts=vhosts):
        if len(lines) >= room:
            break
        lines += line.wrap(console, console.width)
    return lines[: max(0, room)] if len(lines) > 1 else []
