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
PANELS = {
    ("stream", 0): "short lines sent",
    ("stream", 1): "10 kB sent",
    ("calls", 0): "functions",
    ("commands", 0): "commands",
    ("growth", 0): "functions, more workers",
    ("growth", 1): "functions, larger prefetch",
}
"""What is drawn: section, and the group's number there."""
mpl.rcParams.update(
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "rqtool",
        "font.size": 9,
        "font.family": "sans-serif",
        **dict.fromkeys(["text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"], GREY),
    }
)


def draw(axes: Any, group: Group, title: str, *, ours: bool) -> None:
    """Draw a bar for each row's median, and a line from the least to the most; `ours`: all rows are rqtool's."""
    rows = group.rows[::-1]
    medians = [median(row.values) for row in rows]
    colours = [OURS if ours or row.name.startswith("rqtool") else OTHERS for row in rows]
    axes.barh([row.name for row in rows], medians, color=colours, height=0.65, clip_on=False)
    for place, (row, middle) in enumerate(zip(rows, medians, strict=True)):
        most = max(row.values)
        axes.plot([min(row.values), most], [place, place], color=GREY, linewidth=1, clip_on=False)
        axes.annotate(f"{middle:,.0f}", (most, place), (4, 0), textcoords="offset points", va="center")
    axes.set_title(title, loc="left", fontsize=9)
    axes.set_xlim(0, max(max(row.values) for row in rows) * 1.25)
    axes.set_xticks([])
    axes.tick_params(left=False)
    axes.patch.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def main(target: str, *files: str) -> None:
    """A row of panels for each group, a column for each version."""
    found = {Path(file).stem: results.read(Path(file)) for file in files}
    shown = [(name, number) for name, number in PANELS if any(name in sections for sections in found.values())]
    size = (4.6 * len(found), 1.6 * max(1, len(shown)))
    figure, grid = plt.subplots(max(1, len(shown)), len(found), figsize=size, squeeze=False)
    figure.patch.set_visible(False)
    for line, (name, number) in zip(grid, shown, strict=False):
        for axes, (version, sections) in zip(line, found.items(), strict=True):
            if name not in sections:
                axes.set_axis_off()
                continue
            group = sections[name].groups[number]
            title = f"{PANELS[name, number]}, {group.unit}, RabbitMQ {version}"
            draw(axes, group, title, ours=name == "growth")
    figure.tight_layout()
    figure.savefig(target, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main(*sys.argv[1:])
