"""One frame of `rqtool queues --watch`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType

from rich.console import Console, Group, RenderableType, ScreenContext
from rich.control import Control
from rich.styled import Styled
from rich.table import Table
from rich.text import Text

from rqtool.durations import about
from rqtool.queues.attribution import Key
from rqtool.queues.diagnosis import VERDICTS, Diagnosis
from rqtool.queues.table import STYLES, called, text
from rqtool.queues.trends import BARS, PLAIN_BARS, History, bars, empty_in, short
from rqtool.text import printable

LAG_WORDS = "acks, trends and verdicts lag up to 10 s"
NARROW, WIDE = 100, 150
"""Columns of a terminal for a trend of 6, of 12, and of 24 samples; a sample is 5 s."""
HEAD_LINES = 3


@dataclass(frozen=True, slots=True)
class Frame:
    """What is shown: the last look, when it was, and what went wrong since (or nothing)."""

    diagnoses: Sequence[Diagnosis]
    histories: dict[Key, History]
    looked: datetime
    where: str
    trouble: str = ""
    unseen: str = ""


def trend_width(width: int) -> int:
    return 6 if width < NARROW else 12 if width < WIDE else 24


def most_rows(height: int) -> int:
    """How many queues a terminal of this height can show."""
    return max(1, height - HEAD_LINES)


class Screen:
    """The whole terminal, while it is entered; what was on it before comes back at the end."""

    def __init__(self) -> None:
        self._console = Console()
        self._context: ScreenContext | None = None

    @property
    def is_dumb(self) -> bool:
        return self._console.is_dumb_terminal

    @property
    def most_rows(self) -> int:
        return most_rows(self._console.height)

    def show(self, frame: Frame, now: datetime) -> None:
        """Draw over what is there, line by line: nothing is cleared, and nothing flickers."""
        if self._context is not None:
            with self._console:  # one write for all of it
                self._console.control(Control.home())
                self._context.update(draw(frame, now, self._console))

    def __enter__(self) -> Screen:
        self._context = self._console.screen(hide_cursor=True)
        self._context.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._context is not None:
            self._context.__exit__(kind, error, trace)
            self._context = None


def worst(diagnoses: Sequence[Diagnosis], room: int) -> list[Diagnosis]:
    """The queues that are shown where there is no room for all: the worst verdicts, then those with most to do."""
    order = sorted(
        range(len(diagnoses)),
        key=lambda n: (VERDICTS.index(diagnoses[n].verdict), -diagnoses[n].sight.held - diagnoses[n].sight.ready),
    )
    return [diagnoses[n] for n in sorted(order[:room])]


def draw(frame: Frame, now: datetime, console: Console) -> RenderableType:
    """Everything on the screen; never more lines than it has."""
    width, height = console.size
    symbols = BARS if console.encoding.lower().startswith("utf") else PLAIN_BARS
    room = height - HEAD_LINES
    if room < 1:
        return _head(frame, now, width)
    # The reasons have what the queues leave free, and half of the screen if they need it.
    reasons = _reasons(frame.diagnoses, console, max(room - len(frame.diagnoses), room // 2))
    rows = worst(frame.diagnoses, room - len(reasons))
    if left := len(frame.diagnoses) - len(rows):
        rows = worst(rows, len(rows) - 1)
        reasons = [Text(f"and {left + 1:,} more, none of them worse", style="dim"), *reasons]
    shown: RenderableType = Group(_table(rows, frame, width, symbols), *reasons)
    return Group(_head(frame, now, width), Text(), Styled(shown, "dim") if frame.trouble else shown)


def _head(frame: Frame, now: datetime, width: int) -> RenderableType:
    age = max(0, int((now - frame.looked).total_seconds()))
    if frame.trouble:
        said = f"No answer since {frame.looked:%H:%M:%S} ({about(age)}), the figures are of then. {frame.trouble}"
        return _line(Text(printable(said), style="bold red"), width)
    right = Text(f"  {frame.looked:%H:%M:%S}, {age} s old; {frame.unseen or LAG_WORDS}; q ends", style="dim")
    left = _line(Text.assemble(("rqtool", "bold"), f" {printable(frame.where)}"), max(6, width - right.cell_len))
    return _line(Text.assemble(left, right), width)


def _table(rows: Sequence[Diagnosis], frame: Frame, width: int, symbols: str) -> Table:
    points = trend_width(width)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    fixed = {"ready": 5, "unacked": 7, "acks/s": 6, "empty in": 8, "verdict": 14}
    vhosts = {each.queue.vhost for each in frame.diagnoses}
    room = width - sum(fixed.values()) - 3 * points - 8 - (13 if len(vhosts) > 1 else 0)
    if len(vhosts) > 1:
        table.add_column("vhost", no_wrap=True, overflow="ellipsis", width=12)
    table.add_column("name", no_wrap=True, overflow="ellipsis", width=min(max(8, room), _longest_name(rows)))
    for name in ("ready", "unacked", "acks/s"):
        table.add_column(name, justify="right", no_wrap=True, width=fixed[name])
        table.add_column("", no_wrap=True, width=points)
    for name in ("empty in", "verdict"):
        table.add_column(name, no_wrap=True, width=fixed[name])
    for each in rows:
        queue, history = each.queue, frame.histories.get(each.queue.key, History())
        rate = history.ack_rate()
        table.add_row(
            *([text(queue.vhost)] if len(vhosts) > 1 else []),
            text(queue.name),
            _figure(queue.messages_ready),
            Text(bars(history.ready, points, symbols), style="blue"),
            _figure(queue.messages_unacknowledged, "yellow"),
            Text(bars(history.unacked, points, symbols), style="yellow"),
            Text("" if rate is None else short(rate), style="" if rate else "dim"),
            Text(bars(history.acks(), points, symbols), style="green"),
            Text(empty_in(queue.messages_ready, history.ready)),
            Text(each.verdict, style=STYLES[each.verdict]),
        )
    return table


def _longest_name(rows: Sequence[Diagnosis]) -> int:
    return max((text(each.queue.name).cell_len for each in rows), default=4)


def _figure(count: int | None, style: str = "") -> Text:
    return Text("?" if count is None else short(count), style=style if count else "dim")


def _reasons(diagnoses: Sequence[Diagnosis], console: Console, room: int) -> list[Text]:
    """Why: of the worst first, as many lines as there is room for."""
    vhosts = len({each.queue.vhost for each in diagnoses}) > 1
    lines = [Text()]
    for each in sorted(diagnoses, key=lambda each: VERDICTS.index(each.verdict)):
        if each.verdict == "ok" or len(lines) >= room:
            break
        whole = Text.assemble(text(f"{called(each.queue, vhosts=vhosts)}: ", STYLES[each.verdict]), text(each.reason))
        lines += whole.wrap(console, console.width)
    return lines[: max(0, room)] if len(lines) > 1 else []


def _line(line: Text, width: int) -> Text:
    line.truncate(width, overflow="ellipsis")
    line.no_wrap = True
    return line
