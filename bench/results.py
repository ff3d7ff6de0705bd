"""What the runs found, a file per RabbitMQ version: a run writes its sections anew, and leaves the others."""

from __future__ import annotations

import json
import platform
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.figures import Group, group_from


@dataclass(frozen=True, slots=True)
class Section:
    """One section of one run: when, on what, and what was measured."""

    date: str
    quick: bool
    machine: str
    versions: dict[str, str]
    groups: list[Group]


Results = dict[str, Section]
"""By the section's name."""


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def series(version: str) -> str:
    """Return 4.3 for 4.3.1: releases that differ in the last number share a file."""
    return ".".join(version.split(".")[:2])


def read(path: Path) -> Results:
    """Return what a file holds; nothing where there is none."""
    if not path.exists():
        return {}
    data: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return {
        name: Section(**section | {"groups": [group_from(group) for group in section["groups"]]})
        for name, section in data.items()
    }


def write(path: Path, results: Results) -> None:
    path.parent.mkdir(exist_ok=True)
    plain = {name: asdict(section) for name, section in results.items()}
    path.write_text(json.dumps(_rounded(plain), indent=1, ensure_ascii=False) + "\n")


def _rounded(value: Any) -> Any:
    """Five digits are more than a measurement is worth."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return value


def machine() -> str:
    """Return the processor, how many of them, the memory and the system, as far as the system says."""
    model = platform.processor() or platform.machine()
    for line in _lines("/proc/cpuinfo"):
        if match := re.match(r"model name\s*: (.+)", line):
            model = match[1]
    cores = sum(line.startswith("processor") for line in _lines("/proc/cpuinfo"))
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return f"{cores or '?'} x {model}, {memory / 2**20:.0f} GB, {platform.system()} {platform.release().split('-')[0]}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
