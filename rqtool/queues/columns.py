"""The columns of queues and of holders: one list of each, from which TSV, JSON and the tables follow. Pure.

The first TSV columns of queues are those of rabbitmqctl; docs/output.md names the keys in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC
from json import dumps
from operator import attrgetter
from typing import Generic, TypeVar

from rqtool.durations import about
from rqtool.errors import UsageError
from rqtool.queues.diagnosis import STUCK, VERDICTS, Diagnosis, Verdict
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder
from rqtool.text import printable

WIDE, VERY_WIDE = 96, 150
"""Terminals of at least these widths have room for state and type, and for the reasons beside the figures."""
ON_REQUEST = 1_000_000
"""No terminal is that wide: the column is drawn only for --columns."""
STYLES: dict[Verdict, str] = (
    dict.fromkeys(VERDICTS, "yellow") | dict.fromkeys(("down", *STUCK), "bold red") | {"working": "cyan", "ok": "green"}
)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Drawn(Generic[T]):
    """How a column looks in a table on the terminal, where the terminal has from `at_least` to `below` columns.

    `heading`, `value`: where they differ from the name and the value in TSV. `is_figure`: `1,234`, `?` for unknown.
    """

    heading: str = ""
    value: Callable[[T], object] | None = None
    style: Callable[[T], str] = lambda _: ""
    is_figure: bool = False
    right: bool = False
    folds_at: int = 0
    at_least: int = 0
    below: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Column(Generic[T]):
    """`json`, `tsv`: the value for that output; None: the column is not in it. Likewise `drawn`.

    `metric`: what the figure means, for Prometheus; empty: it is no metric.
    """

    name: str
    json: Callable[[T], object] | None = None
    tsv: Callable[[T], object] | None = None
    drawn: Drawn[T] | None = None
    metric: str = ""

    def field(self, row: T) -> str:
        """The value in TSV; a column that is not in TSV by default has its JSON value."""
        value = self.tsv(row) if self.tsv else self.json(row) if self.json else None
        if value is None or isinstance(value, str):
            return printable(value or "")
        return printable(str(value)) if self.tsv else dumps(value)


@dataclass(frozen=True, slots=True)
class HolderRow:
    """A holder, and the queue whose messages it holds."""

    diagnosis: Diagnosis
    holder: Holder

    @property
    def is_suspect(self) -> bool:
        return self.holder in self.diagnosis.suspects

    @property
    def verdict(self) -> Verdict:
        return "forgotten ack?" if self.is_suspect else "working"


def holder_rows(diagnoses: Sequence[Diagnosis]) -> list[HolderRow]:
    """Every holder that holds messages: the suspects first, then those that hold the longest."""
    rows = [HolderRow(diagnosis, holder) for diagnosis in diagnoses for holder in diagnosis.holding]
    return sorted(rows, key=lambda row: (not row.is_suspect, _since(row) or "~", row.diagnosis.queue.key))


def objects(columns: Sequence[Column[T]], rows: Sequence[T]) -> list[dict[str, object]]:
    """For JSON: an object per row."""
    return [{each.name: each.json(row) for each in columns if each.json} for row in rows]


def printed(columns: Sequence[Column[T]], rows: Sequence[T], *, json: bool, vhosts: bool) -> str:
    """For programs: an array of objects; or TSV, a header line and a line per row, `vhost` as the last column. In TSV
    unknown is empty, and control characters are spelled out.
    """
    if json:
        return dumps(objects(columns, rows))
    shown = [each for each in columns if each.tsv and each.name != "vhost"]
    shown += [each for each in columns if vhosts and each.name == "vhost"]
    return tsv(shown, rows)


def tsv(columns: Sequence[Column[T]], rows: Sequence[T]) -> str:
    """These columns, in this order."""
    lines = [[each.name for each in columns], *([each.field(row) for each in columns] for row in rows)]
    return "\n".join(map("\t".join, lines))


def choose(names: str) -> list[Column[Diagnosis]]:
    """The columns of queues with these names or headings, separated by commas. Raises UsageError."""
    names_of = {each.drawn.heading: each for each in QUEUE_COLUMNS if each.drawn and each.drawn.heading}
    known = names_of | {each.name: each for each in QUEUE_COLUMNS}
    wanted = [name.strip() for name in names.split(",")]
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"There is no column {name!r}", f"Choose from: {', '.join(each.name for each in QUEUE_COLUMNS)}"
            )
    return [known[name] for name in wanted]


def ordered(diagnoses: Sequence[Diagnosis], by: str) -> list[Diagnosis]:
    """Sorted by a key of SORT_KEYS; the sort is stable."""
    return sorted(diagnoses, key=SORT_KEYS[by])


def reasons(diagnosis: Diagnosis) -> str:
    """Includes the verdict and the other findings."""
    others = [f"{finding.verdict}: {finding.reason}" for finding in diagnosis.findings[1:]]
    return "; ".join([diagnosis.reason, *others])


def _same(path: str, drawn: Drawn[T], name: str = "", metric: str = "") -> Column[T]:
    """A column with the same value in JSON and TSV: the attribute of the row at this path."""
    return Column(name or path.rpartition(".")[2], attrgetter(path), attrgetter(path), drawn, metric)


def _age(path: str, heading: str, metric: str) -> Column[Diagnosis]:
    """Seconds in JSON, and elsewhere on request."""
    seconds: Callable[[Diagnosis], float | None] = attrgetter(path)

    def words(d: Diagnosis) -> str:
        return "" if (age := seconds(d)) is None else about(age)

    drawn = Drawn(heading, value=words, right=True, at_least=ON_REQUEST)
    return Column(path, json=seconds, drawn=drawn, metric=metric)


def _json(path: str, name: str = "") -> Column[T]:
    return Column(name or path.rpartition(".")[2], json=attrgetter(path))


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _histories(d: Diagnosis, *, acks: bool = False) -> list[Deliveries]:
    """Of the queue and its holders; `acks`: only those whose acks are all for this queue."""
    holders = [holder for holder in d.holders if holder.acks_are_its_own or not acks]
    return [d.history, *(holder.deliveries for holder in holders)] if d.queue.held else []


def _utc(d: Diagnosis, time: float | None) -> str | None:
    local = d.basis.clock.local(time)
    return None if local is None else local.astimezone(UTC).isoformat(timespec="seconds")


def _since(row: HolderRow) -> str | None:
    return _utc(row.diagnosis, row.holder.deliveries.held_since)


def _hour(row: HolderRow) -> str:
    return row.diagnosis.basis.clock.hour(row.holder.deliveries.held_since)


def _hour_and_duration(row: HolderRow) -> str:
    seconds = row.holder.deliveries.held_seconds()
    return _hour(row) if seconds is None else f"{_hour(row)} ({about(seconds)})"


def _prefetch(row: HolderRow, unlimited: str = "0") -> str:
    """Of a consumer. 0 is AMQP's value for no limit."""
    return "" if row.holder.consumer_tag is None else str(row.holder.prefetch or unlimited)


def _held(row: HolderRow) -> str:
    return f"{row.holder.held} shared" if row.holder.shared else str(row.holder.held)


HOLDER_COLUMNS: tuple[Column[HolderRow], ...] = (
    _same("diagnosis.queue.name", Drawn(folds_at=8), "queue"),
    _same("diagnosis.queue.vhost", Drawn(folds_at=1)),
    _same("holder.client.name", Drawn(value=attrgetter("holder.client.label"), folds_at=8), "client"),
    _same("holder.client.host", Drawn(folds_at=1, at_least=WIDE)),
    _same("holder.client.pid", Drawn(folds_at=1, at_least=WIDE)),
    _same("holder.client.address", Drawn()),
    *(_json(f"holder.client.{name}") for name in ("user", "product", "rqtool", "runs", "connection")),
    _json("holder.channel"),
    _json("holder.consumer_tag"),
    Column(
        "prefetch",
        json=attrgetter("holder.prefetch"),
        tsv=_prefetch,
        drawn=Drawn(value=lambda row: _prefetch(row, "no limit"), right=True, at_least=WIDE),
    ),
    Column("held", attrgetter("holder.held"), _held, Drawn(style=lambda _: "yellow", right=True)),
    _json("holder.shared"),
    _json("is_suspect", "suspect"),
    Column("since", tsv=_since, drawn=Drawn(value=_hour, below=WIDE)),
    Column("since", drawn=Drawn(value=_hour_and_duration, at_least=WIDE)),
    Column("verdict", tsv=attrgetter("verdict"), drawn=Drawn(style=lambda row: STYLES[row.verdict])),
    Column("held_since", json=_since),
    Column("held_seconds", json=lambda row: row.holder.deliveries.held_seconds()),
    Column("last_ack", json=lambda row: _utc(row.diagnosis, row.holder.deliveries.last_ack)),
    Column("quiet_seconds", json=lambda row: row.holder.deliveries.quiet_seconds()),
    _json("holder.client.silent_seconds"),
)

QUEUE_COLUMNS: tuple[Column[Diagnosis], ...] = (
    _same("queue.vhost", Drawn(folds_at=1)),
    _same("queue.name", Drawn(folds_at=12)),
    _same("queue.messages_ready", Drawn("ready", is_figure=True), metric="Messages ready to be delivered"),
    _same(
        "queue.messages_unacknowledged",
        Drawn("unacknowledged", style=lambda _: "yellow", is_figure=True),
        metric="Messages delivered and not yet acknowledged",
    ),
    Column(
        "messages_waiting",
        json=attrgetter("queue.waiting"),
        drawn=Drawn("waiting", value=attrgetter("queue.waiting"), is_figure=True, at_least=ON_REQUEST),
    ),
    _same("queue.consumers", Drawn(is_figure=True), metric="Consumers of the queue"),
    _same("queue.state", Drawn(at_least=WIDE)),
    _same("queue.type", Drawn(at_least=WIDE)),
    _json("queue.durable"),
    _json("queue.exclusive"),
    _same("verdict", Drawn(style=lambda d: STYLES[d.verdict])),
    _same("reason", Drawn(value=reasons, folds_at=1, at_least=VERY_WIDE)),
    Column("findings", json=lambda d: [asdict(finding) for finding in d.findings]),
    Column("stuck", json=attrgetter("stuck"), metric="Messages held by those who seem to have forgotten them"),
    _json("basis.stuck_after", "stuck_after_seconds"),
    Column("held_since", json=lambda d: _utc(d, min(_known(h.held_since for h in _histories(d)), default=None))),
    Column("held_seconds", json=lambda d: max(_known(h.held_seconds() for h in _histories(d)), default=None)),
    Column("last_ack", json=lambda d: _utc(d, max(_known(h.last_ack for h in _histories(d, acks=True)), default=None))),
    Column("holders", json=lambda d: objects(HOLDER_COLUMNS, [HolderRow(d, holder) for holder in d.holding])),
    _age("oldest_ready_seconds", "oldest ready", "Age of the oldest ready message by its timestamp"),
    _age("longest_held_seconds", "longest held", "How long a message has been held without an ack, at least"),
)

SORT_KEYS: dict[str, Callable[[Diagnosis], tuple[int | str, ...]]] = {
    "name": lambda d: (d.queue.name, d.queue.vhost),
    "ready": lambda d: (-d.queue.ready,),
    "unacknowledged": lambda d: (-d.queue.held,),
    "verdict": lambda d: (VERDICTS.index(d.verdict),),
}
"""The names first to last, the largest figure first, the worst verdict first."""
