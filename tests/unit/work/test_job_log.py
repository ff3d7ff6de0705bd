"""The lines of a job log are GNU parallel's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rqtool.errors import RqtoolError, UsageError
from rqtool.run.encoding import Spec
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, OutputGone, Postponed, Rejected, timed_out
from rqtool.work.report.job_log import HEADER, JobLog, exit_status

COMMAND = Spec("command", ["convert", "{}", "{.}.png"], None)


def _job(body: bytes) -> Any:
    return SimpleNamespace(number=7, written=5, started=None, task=SimpleNamespace(body=body))


def _lines(path: Path, body: bytes, spec: Spec = COMMAND) -> list[bytes]:
    JobLog(path, spec).add(_job(body), Done(0), 1.5)
    return path.read_bytes().splitlines(keepends=True)


def test_a_line(tmp_path: Path) -> None:
    """Nine columns below the header, which is there once."""
    path = tmp_path / "log"
    _lines(path, b"a.jpg")
    header, _, line = _lines(path, b"it's.jpg")
    assert header == HEADER
    columns = line.split(b"\t")
    assert columns[:2] + columns[3:8] == [b"7", b":", b"     1.500", b"8", b"5", b"0", b"0"]
    assert columns[8] == b"""convert 'it'"'"'s.jpg' 'it'"'"'s.png'\n"""


@pytest.mark.parametrize(
    ("body", "command"),
    [
        (b"a\nb", b"convert 'a\0b' 'a\0b.png'"),
        (b"a\tb", b"convert 'a\tb' 'a\tb.png'"),
        (b"\xff", b"convert '\xff' '\xff.png'"),
    ],
)
def test_a_task_is_one_line(tmp_path: Path, body: bytes, command: bytes) -> None:
    """Its bytes, quoted for a shell."""
    _, line = _lines(tmp_path / "log", body)
    assert line.split(b"\t", 8)[8] == command + b"\n"


def test_a_function_stands_before_its_task(tmp_path: Path) -> None:
    """Of which the beginning is enough."""
    spec = Spec("function", ["tasks:resize"], None)
    assert _lines(tmp_path / "a", b"a b", spec)[1].endswith(b"\ttasks:resize 'a b'\n")
    assert len(_lines(tmp_path / "b", b"x" * 100_000, spec)[1]) < 1200


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Done(0), (0, 0)),
        (Done(), (0, 0)),
        (Failed("exit code 3", "", 3), (3, 0)),
        (Failed("killed by SIGKILL", "", -9), (0, 9)),
        (timed_out(1.0, "", -15), (-1, 15)),
        (timed_out(1.0, "", 0), (-1, 15)),
        (timed_out(1.0), (-1, 15)),
        (Failed("ValueError"), (1, 0)),
        (Rejected("no"), (65, 0)),
        (Postponed("later"), (75, 0)),
        (CannotRun("gone"), (127, 0)),
        (CannotRun("not executable", 126), (126, 0)),
        (OutputGone("gone"), (0, 13)),
    ],
)
def test_exit_status(outcome: Outcome, status: tuple[int, int]) -> None:
    """Exit code and signal."""
    assert exit_status(outcome) == status


def test_a_line_that_was_cut(tmp_path: Path) -> None:
    """By a disk that was full: the next one does not join it."""
    (tmp_path / "log").write_bytes(HEADER + b"1\t:\t17")
    assert [line.count(b"\t") for line in _lines(tmp_path / "log", b"x")] == [8, 2, 8]


def test_what_can_not_be_opened_is_refused(tmp_path: Path) -> None:
    """A folder, a folder that is not there, and a pipe without a reader, which would hold us up."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "no" / "log", tmp_path / "pipe"):
        with pytest.raises(UsageError, match="it can't be opened"):
            JobLog(path, COMMAND)


def test_a_full_disk_is_an_error() -> None:
    """Which says so."""
    with pytest.raises(RqtoolError, match="no space left"):
        JobLog(Path("/dev/full"), COMMAND)
