"""What is done with a task, where no command does it: dots."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from rqtool.handlers.dots import Dots
from rqtool.outcomes import Done, Failed
from rqtool.task import Task

TASK = Task(body=b"task...", queue="q", message_id="id 1", attempt=1, redelivered=False)
SECONDS = 10.0


class TestDots:
    """The tutorial's pretended work."""

    def test_without_dots_it_is_done_at_once(self) -> None:
        """A body without dots is no work."""
        assert Dots().run(replace(TASK, body=b"task")) == Done()

    def test_a_dot_is_a_second(self) -> None:
        """Each dot takes a second."""
        started = time.monotonic()
        assert Dots().run(replace(TASK, body=b"a.b")) == Done()
        assert 1.0 <= time.monotonic() - started < 1.9

    def test_kill_ends_what_runs_and_what_would(self) -> None:
        """A killed handler fails all its tasks at once, the running ones and any later one."""
        dots = Dots()
        with ThreadPoolExecutor(2) as pool:
            running = [pool.submit(dots.run, replace(TASK, body=b"." * 1000)) for _ in range(2)]
            dots.kill()
            assert [future.result(SECONDS) for future in running] == [Failed("killed")] * 2
        assert dots.run(TASK) == Failed("killed")
