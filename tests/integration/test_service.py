"""A worker as a service: what systemd and a liveness probe see of it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd import Systemd
from tests.tools import Program, Vhost, eventually, throughout


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    manager = Systemd(tmp_path / "notify")
    yield manager
    manager.close()


def test_systemd(systemd: Systemd, rqtool: Program, vhost: Vhost, tmp_path: Path) -> None:
    """Ready once it consumes; alive at half the watchdog's time; its commands inherit none of it; then stopping."""
    vhost.publish("one")
    manager = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "400000"}
    command = ["sh", "-c", "echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none}"]
    worker = rqtool.start("work", "--quiet", "--", *command, env=manager)
    said = systemd.next()
    while "READY" not in said:
        assert said["WATCHDOG"] == "1"
        said = systemd.next()
    while said["STATUS"] != "0 tasks in work, 1 task settled":
        said = systemd.next()
        assert said["WATCHDOG"] == "1"
        assert "READY" not in said
    worker.signal(signal.SIGTERM)
    while "STOPPING" not in said:
        said = systemd.next()
    assert worker.wait().stdout == "none none\n"


def test_a_health_file(rqtool: Program, vhost: Vhost, tmp_path: Path) -> None:
    """It is fresh while the worker's loop turns, old while it does not, and gone when the worker is."""
    file = tmp_path / "health"

    def is_fresh() -> bool:
        return file.stat().st_mtime > 0

    worker = rqtool.start("work", "--health-file", str(file))
    eventually(file.exists)
    os.utime(file, (0, 0))
    eventually(is_fresh)
    worker.signal(signal.SIGSTOP)
    os.utime(file, (0, 0))
    throughout(lambda: not is_fresh(), 7)
    worker.signal(signal.SIGCONT)
    eventually(is_fresh)
    worker.signal(signal.SIGTERM)
    worker.wait()
    assert not file.exists()


def test_a_health_file_that_can_not_be_written(rqtool: Program, vhost: Vhost) -> None:
    ended = rqtool("work", "--health-file", "/nosuch/folder/health")
    assert ended.code == 2
    assert ended.stderr.startswith("rqtool: --health-file /nosuch/folder/health: no such file or directory. ")
