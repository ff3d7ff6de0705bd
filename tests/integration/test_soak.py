"""A short soak with a fixed seed, as `make soak` runs long ones with others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.course import ALL_SECONDS

ROOT = Path(__file__).parents[2]
SEED, MINUTES = "1236", "0.3333"
"""Workers are killed and stopped; the broker is killed when a new classic queue has just got its first tasks, with a
backlog of slow tasks in another one; there is one poison task."""


@pytest.mark.timeout(ALL_SECONDS + 120)  # it ends by itself before
def test_a_short_soak_is_settled() -> None:
    """Nothing is lost, nothing buried alive, nothing done twice without a reason, and everything ends by itself."""
    soak = [sys.executable, "-m", "tests.soak", "--seed", SEED, "--minutes", MINUTES]
    ended = subprocess.run(soak, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["ok"]) == (0, True), f"{ended.stdout}\n{ended.stderr}"
    assert report["offered"] == report["confirmed"] > 300
    assert {fault[2] for fault in report["faults"]} >= {"kill worker", "stop worker", "kill after a new queue"}
