"""RESULTS.md, and the files that it is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import report, results
from bench.figures import Group, Row
from bench.report import number, render, table
from bench.results import Section
from bench.targets import TARGETS
from bench.texts import NOTES, TITLES

OURS, WHOLE = "rqtool send", "rqtool send, whole process"
GROUP = Group(
    "10 tasks",
    "/s",
    [
        Row(OURS, [9_000.0, 8_000.0, 10_000.0], [1e-5, 2e-5, 3e-5]),
        Row("raw frames", [10_000.0] * 3, compare=(OURS, "raw frames"), note="encoded beforehand"),
        Row(WHOLE, [8_000.0] * 3),
        Row("amqp-publish", [20_000.0] * 3, compare=(WHOLE, "amqp-publish")),
        Row("pika", [1.5] * 3, compare=(OURS, "pika")),
    ],
    "rqtool send to it",
)


def _section(*, quick: bool = False, date: str = "today") -> Section:
    return Section(date, quick, "2 x a processor", {"RabbitMQ": "3.10.8", "pika": "1.4"}, [GROUP])


def test_a_table_says_what_was_reached_and_what_not() -> None:
    """Medians, CPU time, comparisons, targets; where there is no target there is no verdict."""
    assert list(table(GROUP)) == [
        "| 10 tasks | /s | CPU each | rqtool send to it | target | |",
        "|---|---:|---:|---:|---|---|",
        "| rqtool send | 9,000 | 20.0 µs |  |  |  |",
        "| raw frames (encoded beforehand) | 10,000 |  | 0.90 | ≥ 0.8 | met |",
        "| rqtool send, whole process | 8,000 |  |  |  |  |",
        "| amqp-publish | 20,000 |  | 0.40 | ≥ 0.65 | **not met** |",
        "| pika | 1.50 |  | 6,000 |  |  |",
    ]


def test_versions_stand_side_by_side() -> None:
    """Each section has the tables of all versions, and the targets come first of all."""
    text = render({"3.10": {"stream": _section()}, "4.3": {"stream": _section(quick=True)}})
    places = [
        text.index(part)
        for part in (
            "| rqtool send to raw frames (10 tasks) ≥ 0.8 | 3.10 | 0.90 | met |",
            "| rqtool send, whole process to amqp-publish (10 tasks) ≥ 0.65 | 4.3 | 0.40 | **not met** |",
            "## A stream of tasks",
            "### RabbitMQ 3.10\n",
            "### RabbitMQ 4.3, quick",
            "## What ran where",
            "| 3.10 | stream | today | 2 x a processor | RabbitMQ 3.10.8, pika 1.4 |",
        )
    ]
    assert places == sorted(places)


def test_sections_of_one_run_share_a_line() -> None:
    """And those of another have their own."""
    found = {"stream": _section(), "calls": _section(), "memory": _section(date="yesterday")}
    text = render({"3.10": found})
    assert "| 3.10 | stream, calls | today |" in text
    assert "| 3.10 | memory | yesterday |" in text


def test_what_was_measured_before_stays(tmp_path: Path) -> None:
    """A run of one section leaves the others; figures have five digits."""
    path = tmp_path / "results" / "3.10.json"
    assert results.read(path) == {}
    results.write(path, {"stream": _section()})
    results.write(path, results.read(path) | {"calls": _section(date="later")})
    assert results.read(path) == {"stream": _section(), "calls": _section(date="later")}
    results.write(path, {"stream": Section("", False, "", {}, [Group("", "s", [Row("", [1.23456789])], "")])})
    assert results.read(path)["stream"].groups[0].rows[0].values == [1.2346]


@pytest.mark.parametrize(("version", "series"), [("3.10.8", "3.10"), ("4.3.0-rc.1", "4.3")])
def test_releases_of_one_series_share_a_file(version: str, series: str) -> None:
    """The last number is for repairs."""
    assert results.series(version) == series


@pytest.mark.parametrize(
    ("value", "text"), [(12_345.6, "12,346"), (99.94, "99.9"), (9.876, "9.88"), (0.0, "0.00"), (-12.34, "-12.3")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    """More are noise."""
    assert number(value) == text


def test_every_section_is_explained() -> None:
    """A figure whose making is not told says nothing."""
    assert TITLES.keys() == NOTES.keys()
    folder = Path(report.__file__).parent / "sections"
    assert TITLES.keys() == {path.stem for path in folder.glob("*.py")} - {"__init__"}


def test_no_target_is_for_nothing() -> None:
    """The rows that targets speak of are those that are measured."""
    folder = Path(report.__file__).parent / "sections"
    sources = "".join(path.read_text() for path in folder.glob("*.py"))
    made = {"send, 10,000 lines", "send, 5,000,000 lines", "1 worker", "2 workers", "4 workers", "8 workers"}
    named = {name for pair in TARGETS for name in pair} - made
    assert {name for name in named if f'"{name}"' not in sources} == set()
