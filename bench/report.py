"""RESULTS.md, from the results of all versions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from bench.figures import Group, Row
from bench.results import Results, Section
from bench.targets import TARGETS
from bench.texts import INTRODUCTION, NOTES, TITLES


def render(versions: Mapping[str, Results]) -> str:
    """Return the report; `versions` are the results by RabbitMQ version (`3.10`), those of one run each or merged."""
    parts = [
        INTRODUCTION,
        *_targets(versions),
    ]
    for name, title in TITLES.items():
        parts += ["", f"## {title}", "", NOTES[name].strip()]
        for version, results in versions.items():
            if section := results.get(name):
                parts += ["", f"### RabbitMQ {version}{', quick: a tenth of everything' if section.quick else ''}"]
                for group in section.groups:
                    parts += ["", *table(group)]
    parts += ["", "## What ran where", "", *_provenance(versions)]
    return "\n".join(parts) + "\n"


def _targets(versions: Mapping[str, Results]) -> Iterable[str]:
    yield "| target | RabbitMQ | measured | |"
    yield "|---|---|---:|---|"
    for name in TITLES:
        for version, results in versions.items():
            for group in results[name].groups if name in results else []:
                for row in group.rows:
                    figure = group.compared(row)
                    target = TARGETS.get(row.compare or ("", ""))
                    if row.compare and target and figure is not None:
                        what = f"{row.compare[0]} to {row.compare[1]} ({group.title}) {target}"
                        yield f"| {what} | {version} | {number(figure)} | {_verdict(row, figure)} |"


def table(group: Group) -> Iterable[str]:
    """Return a group as a table, in Markdown."""
    with_cpu = any(row.cpu for row in group.rows)
    cpu_heading, cpu_line = (" CPU each |", "---:|") if with_cpu else ("", "")
    yield f"| {group.title} | {group.unit} |{cpu_heading} {group.comparison} | target | |"
    yield f"|---|---:|{cpu_line}---:|---|---|"
    for row in group.rows:
        figure = group.compared(row)
        target = TARGETS.get(row.compare or ("", ""))
        cells = [
            f"{row.name} ({row.note})" if row.note else row.name,
            number(median(row.values)),
            *([_cpu(median(row.cpu)) if row.cpu else ""] if with_cpu else []),
            "" if figure is None else number(figure),
            str(target or ""),
            "" if figure is None else _verdict(row, figure),
        ]
        yield f"| {' | '.join(cells)} |"


def _verdict(row: Row, figure: float) -> str:
    target = TARGETS.get(row.compare or ("", ""))
    return "" if target is None else "met" if target.met(figure) else "**not met**"


def number(value: float) -> str:
    """Return three digits, or as many as a whole number has."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _cpu(seconds: float) -> str:
    return f"{number(seconds * 1e3)} ms" if seconds >= 1e-3 else f"{number(seconds * 1e6)} µs"


def _provenance(versions: Mapping[str, Results]) -> Iterable[str]:
    yield "| RabbitMQ | sections | date | machine | versions |"
    yield "|---|---|---|---|---|"
    for version, results in versions.items():
        runs: dict[tuple[str, str, str], list[str]] = {}
        for name in TITLES:
            if section := results.get(name):
                runs.setdefault(_run(section), []).append(name)
        for (date, machine, used), names in runs.items():
            yield f"| {version} | {', '.join(names)} | {date} | {machine} | {used} |"


def _run(section: Section) -> tuple[str, str, str]:
    used = ", ".join(f"{name} {version}" for name, version in section.versions.items())
    return section.date, section.machine, used
