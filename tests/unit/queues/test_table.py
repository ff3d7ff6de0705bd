"""What is drawn, into a string of a fixed width."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from rqtool.management.client import Client
from rqtool.management.queue import Queue
from rqtool.management.samples import Sample
from rqtool.queues.columns import HOLDER_COLUMNS, choose, holder_rows
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder
from rqtool.queues.screen import HEAD_LINES, Frame, draw
from rqtool.queues.snapshot import Snapshot
from rqtool.queues.table import fitted, holder_table, queue_table, table, table_of
from rqtool.queues.trends import Trend

NOW = datetime(2026, 1, 1, 14, 0, tzinfo=UTC)
CLOCK = Clock(10_000.0, NOW)
WIDTHS = [80, 100, 200]


def judged(name: str = "task_queue", client: str = "billing-import", stuck: bool = True) -> Diagnosis:
    counter = tuple(Sample(10_000.0 - 5 * n, 2 if stuck or n < 2 else 0) for n in range(120))
    holder = Holder("/", name, name, Client("c", client, "web-3", 4242, "10.0.0.7:5"), Deliveries(2, counter), "tag")
    queue = Queue("/", name, 12_345, 2, 1, "running", "classic", True)
    return Diagnosis(queue, Deliveries(0), [holder], Basis(60.0, CLOCK))


def drawn(thing: object, width: int, height: int = 24, encoding: str = "utf-8") -> list[str]:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console = Console(file=file, width=width, height=height, force_terminal=True, color_system=None)
    console.print(thing(console) if callable(thing) else thing)
    file.flush()
    return file.buffer.getvalue().decode(encoding).splitlines()


def test_what_waits_is_told_of_a_healthy_queue() -> None:
    """Its tasks are in queues beside it, which are hidden."""
    calm = judged(stuck=False)
    waiting = replace(calm, queue=replace(calm.queue, messages_ready=0, messages_unacknowledged=0, waiting=2))
    assert drawn(queue_table([waiting], vhosts=False, width=100), 100)[-1] == "task_queue: empty, 2 wait for their time"


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_fits_and_names_the_holder(width: int) -> None:
    """The reason stands beside or below the figures, whole."""
    lines = drawn(queue_table([judged(), judged("fine", stuck=False)], vhosts=False, width=width), width)
    assert max(map(cell_len, lines)) <= width
    whole = " ".join(" ".join(lines).split())
    for word in ("unacknowledged", "12,345", "forgotten ack?", "working", "billing-import"):
        assert word in whole


@pytest.mark.parametrize("width", WIDTHS)
def test_holders_fit(width: int) -> None:
    """A line for each, with its name and time."""
    rows = holder_rows([judged(), judged("fine", "another", stuck=False)])
    lines = drawn(table(HOLDER_COLUMNS, rows, vhosts=False, width=width), width)
    assert max(map(cell_len, lines)) <= width
    assert ("13:50 (9 min)" if width > 80 else "13:50") in lines[1]
    assert "forgotten ack?" in lines[1]


def test_names_of_holders_are_whole() -> None:
    """Where all columns would break them, those that tell least are left out."""
    rows = [judged("conversions-of-march-2026", "billing-import-of-the-night")]
    lines = drawn(lambda console: holder_table(rows, console, vhosts=False), 110)
    assert len(lines) == 2
    assert "prefetch" not in lines[0]
    for word in ("conversions-of-march-2026", "billing-import-of-the-night", "10.0.0.7:5", "forgotten ack?"):
        assert word in lines[1]
    assert "prefetch" in drawn(lambda console: holder_table(rows, console, vhosts=False), 150)[0]


@pytest.mark.parametrize("width", WIDTHS)
def test_names_are_no_markup(width: int) -> None:
    """Nor escape sequences."""
    bad = judged("[bold]x[/bold]", "\x1b[2J[red]y")
    for thing in (
        queue_table([bad], vhosts=True, width=width),
        table(HOLDER_COLUMNS, holder_rows([bad]), vhosts=True, width=width),
    ):
        text = "".join(drawn(thing, width))
        assert "[bold]" in text
        assert "\x1b[2J" not in text


def frame(*diagnoses: Diagnosis, trouble: str = "", missing: Sequence[str] = ()) -> Frame:
    ready = tuple(Sample(10_000.0 - 5 * n, 12_345 + 100 * n) for n in range(30))
    trends = {each.queue.key: Trend(ready, ready, ready) for each in diagnoses}
    return Frame(Snapshot(diagnoses), trends, NOW, "/", trouble, missing)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5, 8, 24, 50])
@pytest.mark.parametrize("count", [0, 1, 5, 40])
def test_a_frame_fits_the_screen(width: int, height: int, count: int) -> None:
    """However many queues there are, and whatever their names."""
    queues = [judged(f"queue-{n:03}-{'ü☃' * 40}", "x" * 90, stuck=n % 7 == 3) for n in range(count)]
    for missing in ([], ["shop.42"], ["ü☃" * 40, "\x1b[2J"]):
        lines = drawn(lambda console: draw(frame(*queues, missing=missing), NOW, console), width, height)  # noqa: B023
        assert len(lines) <= height
        assert max(map(cell_len, lines)) <= width
        assert any("No queue here matches" in line for line in lines) == (bool(missing) and height > HEAD_LINES)


def test_a_frame_says_how_old_it_is() -> None:
    """And that not all of it is as new."""
    head = drawn(lambda console: draw(frame(judged()), NOW + timedelta(seconds=3), console), 80)[0]
    assert "14:00:00, 3 s old; acks, trends and verdicts lag up to 10 s; q ends" in head


def test_a_frame_without_an_answer_says_so() -> None:
    """The figures are not shown as live."""
    lost = frame(judged(), trouble="No management API answers at http://h/: connection refused")
    head = drawn(lambda console: draw(lost, NOW + timedelta(seconds=75), console), 120)[0]
    assert head.startswith("No answer since 14:00:00 (1 min), the figures are of then. No management API answers at")


def test_where_there_is_no_room_the_worst_are_shown() -> None:
    """With the reason, and the number of the others."""
    queues = [judged(f"q{n}", stuck=n == 33) for n in range(40)]
    lines = drawn(lambda console: draw(frame(*queues), NOW, console), 100, 12)
    assert any(line.startswith("q33 ") for line in lines)
    assert any(line.startswith("q33: 2 held") for line in lines)
    shown = sum(line.startswith("q") and ":" not in line for line in lines)
    assert any(f"and {40 - shown} more" in line for line in lines)
    assert len(lines) > HEAD_LINES + 2


def test_the_heading_of_short_names() -> None:
    """It is whole, too."""
    assert drawn(lambda console: draw(frame(judged("q")), NOW, console), 80)[2].split()[0] == "name"


def test_a_frame_for_a_terminal_without_unicode() -> None:
    """Plain signs, the same size."""
    lines = drawn(lambda console: draw(frame(judged()), NOW, console), 80, encoding="ascii")
    assert all(line.isascii() for line in lines)


def test_a_queue_of_which_nothing_is_known() -> None:
    """Question marks, and no trouble."""
    unknown = replace(judged(), queue=Queue("/", "q", None, None, None, None, None, None))
    lines = drawn(lambda console: draw(frame(unknown), NOW, console), 80)
    assert lines[HEAD_LINES].split()[:2] == ["q", "?"]


def listed(*diagnoses: Diagnosis, height: int = 24, encoding: str = "utf-8") -> list[str]:
    """What `fitted` draws on a terminal of 80 columns."""

    def on(console: Console) -> object:
        return fitted(diagnoses, lambda rows: queue_table(rows, vhosts=False, width=80), console)

    return drawn(on, 80, height, encoding)


def empty(name: str) -> Diagnosis:
    return Diagnosis(Queue("/", name, 0, 0, 1, "running", "classic", True), Deliveries(0), [], Basis(60.0, CLOCK))


def test_healthy_queues_that_do_not_fit_are_counted() -> None:
    """As many as fit are listed, and all in trouble."""
    lines = listed(judged(), *(empty(f"q{n}") for n in range(70)))
    assert len(lines) == 23
    assert sum(line.startswith("q") for line in lines) == 17
    assert lines[-1] == "… and 53 healthy queues: --all lists them"
    assert listed(*(empty(f"q{n}") for n in range(70)), encoding="ascii")[-1].startswith("... and 49 healthy")


def test_the_same_reason_is_said_once() -> None:
    """With some of the other queues that have it; another verdict or reason has a line of its own."""
    idle = [
        replace(empty(f"q{n:02}"), queue=Queue("/", f"q{n:02}", 7, 0, 0, "running", "classic", True)) for n in range(40)
    ]
    other = replace(idle[0], queue=replace(idle[0].queue, name="other", messages_ready=8))
    *notes, last = [line for line in listed(*idle[:20], other, *idle[20:]) if ": " in line]
    assert last == "The worst: q00: 7 ready, and nobody consumes"
    assert notes == [
        "q00: 7 ready, and nobody consumes (also q01, q02, q03 and 36 more)",
        "other: 8 ready, and nobody consumes",
    ]
    on_screen = drawn(lambda console: draw(frame(*idle, other), NOW, console), 80, 24)
    assert [line for line in on_screen if "nobody" in line] == notes
    assert [line for line in listed(*idle[:3]) if ": " in line] == ["q00: 7 ready, and nobody consumes (also q01, q02)"]


@pytest.mark.parametrize("count", [0, 1, 21])
def test_what_fits_is_listed(count: int) -> None:
    """Without a line about others."""
    lines = listed(*(empty(f"q{n:02}") for n in range(count)))
    assert [f"q{n:02}" for n in range(count)] == [line.split()[0] for line in lines[1:]]


@pytest.mark.parametrize("height", [1, 2, 5, 24])
def test_trouble_is_listed_even_where_it_does_not_fit(height: int) -> None:
    """The healthy ones make room for it, and the worst, whose lines scroll away, is named at the end."""
    lines = listed(*(judged(f"bad{n}") for n in range(30)), empty("fine"), height=height)
    assert sum(line.startswith("bad") and ":" not in line.split()[0] for line in lines) == 30
    assert "… and 1 healthy queue: --all lists them" in lines
    assert "30 forgotten ack?" in lines
    assert "The worst: bad0: 2 held" in "\n".join(lines[-2:])


def test_columns_that_were_chosen() -> None:
    """In their order, at any width; what no table draws by default too."""
    columns = choose("longest_held_seconds,oldest_ready_seconds,durable,name,messages_ready")
    lines = drawn(table_of(columns, [judged(), empty("q")]), 100)
    assert [line.split() for line in lines] == [
        ["longest", "held", "oldest", "ready", "durable", "name", "ready"],
        ["9", "min", "true", "task_queue", "12,345"],
        ["true", "q", "0"],
    ]
