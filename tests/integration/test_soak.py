"""A short soak with a fixed seed, as `make soak` runs long ones with others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak.course import ALL_SECONDS

ROOT = Path(__file__).parents[2]
SEED, MINUTES = "52574", "0.3333"
"""Nobody reads what a worker prints, then workers are stopped, killed and told by SIGHUP to end; the broker is killed
when a new classic queue has just got its first tasks; there is one poison task, one that hangs, and some that crash."""


@pytest.mark.timeout(ALL_SECONDS + 120)  # it ends by itself before
def test_a_short_soak_is_settled() -> None:
    """Nothing is lost, nothing buried alive, nothing done twice without a reason, and everything ends by itself."""
    soak = [sys.executable, "-m", "tests.soak", "--seed", SEED, "--minutes", MINUTES]
    ended = subprocess.run(soak, cwd=ROOT, capture_output=True, text=True, check=False)
    report = json.loads(ended.stdout)
    assert (ended.returncode, report["ok"]) == (0, True), f"{ended.stdout}\n{ended.stderr}"
    assert report["offered"] == report["confirmed"] > 300
    inflicted = {fault[2] for fault in report["faults"]}
    assert inflicted >= {"stall output", "stop worker", "kill worker", "hup worker", "kill after a new queue"}
