"""The value of --jobs: a number, a percentage of the cores or `auto`."""

from __future__ import annotations

import re

import typer

from rqtool.run.processors import processors

MOST_JOBS = 1000


def parse_jobs(text: str | int) -> int:
    """Return how many tasks are to run at once. Raises typer.BadParameter."""
    text = str(text)
    if text == "auto":
        return min(processors(), MOST_JOBS)
    if percentage := re.fullmatch(r"([0-9]{1,9})%", text):
        jobs = max(processors() * int(percentage[1]) // 100, 1)
    else:
        jobs = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else 0
    if not 1 <= jobs <= MOST_JOBS:
        raise typer.BadParameter(f"{text!r} is not a number from 1 to {MOST_JOBS:,}, N% or auto")
    return jobs
