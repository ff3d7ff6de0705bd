"""`python -m bench.picture SVG JSON...`: bars from the results, a file per RabbitMQ version. Runs where matplotlib is.

Readable on white and on dark: a transparent ground, and text of a middle grey. The same results make the same file.
"""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

from bench import results
from bench.figures import Group

GREY, OURS, OTHERS = "#808890", "#2f81f7", "#9aa4ae"
PANELS = (("stream", 0), ("stream", 1), ("calls", 0), ("commands", 0), ("growth", 0), ("growth", 1))
"""Which groups are drawn: section, and its number there."""
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "rqtool",
        "font.size": 9,
        "font.family": "sans-serif",
        **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], GREY),
    }
)


def draw(axes: Any, group: Group, title: str) -> None:
    """Draw a bar for each row's median, with the figure at its end, and a line from the least to the most."""
    rows = group.rows[::-1]
    medians = [median(row.values) for row in rows]
    colours = [OURS if row.name.startswith(("rqtool", "prefetch")) or "worker" in row.name else OTHERS for row in rows]
    axes.barh([row.name for row in rows], medians, color=colours, height=0.65)
    for place, (row, middle) in enumerate(zip(rows, medians, strict=True)):
        axes.plot([min(row.values), max(row.values)], [place, place], color=GREY, linewidth=1)
        axes.text(max(row.values), place, f"  {middle:,.0f}", va="center")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlim(0, max(max(row.values) for row in rows) * 1.2)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def main(target: str, *files: str) -> None:
    found = {Path(file).stem: results.read(Path(file)) for file in files}
    panels = [
        (version, sections[name].groups[number])
        for name, number in PANELS
        for version, sections in found.items()
        if name in sections
    ]
    columns = len(found)
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(lines, columns, figsize=(5.2 * columns, 1.75 * lines), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (version, group) in zip(grid.flat, panels, strict=False):
        axes.set_axis_on()
        draw(axes, group, f"{group.title}, {group.unit} · RabbitMQ {version}")
    figure.tight_layout()
    figure.savefig(target, transparent=True, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
