"""What is known of a stream without writing to it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rqtool.run.child.unwritable import why_unwritable


@pytest.mark.parametrize(
    ("blocks", "free", "why"),
    [(1000, 0, "no space left on device"), (1000, 15, "no space left on device"), (1000, 16, ""), (0, 0, "")],
)
def test_a_file_on_a_disk(blocks: int, free: int, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is full when next to nothing is left; one without figures may have room."""
    with open(tmp_path / "file", "wb") as file:
        figures = list(os.fstatvfs(file.fileno()))
        figures[1:5] = [4096, blocks, free + 50, free]
        monkeypatch.setattr(os, "fstatvfs", lambda _: os.statvfs_result(figures))
        assert why_unwritable(file.fileno()) == why
