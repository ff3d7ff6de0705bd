"""How many tasks may wait at a runner, so that it does not wait for the next one. Pure."""

from __future__ import annotations

AHEAD = 0.01
"""Seconds of work that may wait there: unnoticed by people, and cheap to take back."""
MOST = 64
_WEIGHT = 0.1


class Pace:
    """Learns from the seconds that tasks took. One slow task ends the handing over ahead for a while."""

    def __init__(self) -> None:
        self._seconds: float | None = None

    def add(self, seconds: float) -> None:
        known = self._seconds
        self._seconds = seconds if known is None else known + _WEIGHT * (seconds - known)

    @property
    def depth(self) -> int:
        """Tasks at a runner, the one at work included."""
        if self._seconds is None:
            return 1
        return MOST if self._seconds * MOST <= AHEAD else max(int(AHEAD / self._seconds), 1)
