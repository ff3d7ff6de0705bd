"""What a worker did, as counts and as a line. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.durations import clock


@dataclass(slots=True)
class Tally:
    """`dead` tasks went to the dead queue; `retried` counts attempts that another one followed; `failed` counts those
    of both that failed and did not merely ask for another attempt.
    """

    done: int = 0
    dead: int = 0
    retried: int = 0
    failed: int = 0

    def line(self, seconds: float) -> str:
        """`998 done, 2 failed and dead, 3 retried in 1m 12s (14/s)`; the rate is that of what was done."""
        parts = [f"{self.done:,} done"]
        parts += [f"{self.dead:,} failed and dead"] if self.dead else []
        parts += [f"{self.retried:,} retried"] if self.retried else []
        per_second = rate(self.done, seconds)
        return f"{', '.join(parts)} in {clock(seconds)}" + (f" ({per_second})" if per_second and seconds > 1 else "")


def rate(count: float, seconds: float) -> str:
    """`1,234/s`, `1.4/s`; empty where it is less than one in ten seconds."""
    per_second = count / seconds if seconds > 0 else 0.0
    if per_second < 0.1:
        return ""
    return f"{per_second:.1f}/s" if per_second < 9.95 else f"{per_second:,.0f}/s"
