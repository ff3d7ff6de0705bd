"""What functions that `rqtool work --call` runs import from `rqtool`."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys

import pytest

import rqtool
from rqtool import Reject, Retry, Task
from rqtool.errors import UsageError


def test_a_task_is_what_was_delivered() -> None:
    """Its fields are a contract, and headers may be left out."""
    task = Task(b"body", "q", "id", attempt=2, redelivered=True)
    names = ["body", "queue", "message_id", "attempt", "redelivered", "headers"]
    assert [field.name for field in dataclasses.fields(task)] == names
    assert (task.body, task.queue, task.message_id, task.attempt, task.redelivered) == (b"body", "q", "id", 2, True)
    assert task.headers == {}
    assert task.headers is not Task(b"", "q", "", 1, redelivered=False).headers


def test_a_task_is_not_changed() -> None:
    """What one function sees the next one sees too."""
    task = Task(b"body", "q", "id", 1, redelivered=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        task.attempt = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("delay", "seconds"),
    [("10s", 10.0), ("1.5m", 90.0), ("200ms", 0.2), (5, 5), (0, 0), (0.25, 0.25), (None, None)],
)
def test_a_delay_is_seconds_or_a_duration(delay: float | str | None, seconds: float | None) -> None:
    """Texts are read, numbers are seconds, and None leaves it to the worker."""
    assert Retry(delay).delay == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("text", ["bad", "", "5", "-5s"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    """Where it is written, not later."""
    with pytest.raises(UsageError, match="is not a duration"):
        Retry(text)


def test_both_verdicts_have_a_reason() -> None:
    """None is needed."""
    assert (Retry().delay, Retry().reason, Reject().reason) == (None, "", "")
    assert Retry("10s", "busy").reason == Retry(reason="busy").reason == "busy"
    assert Reject("unknown customer").reason == "unknown customer"


def test_verdicts_are_exceptions() -> None:
    """They show what they were given, and go from process to process as it."""
    verdicts: list[Retry | Reject] = [Retry("10s", "busy"), Reject("unknown customer")]
    assert not issubclass(Retry, Reject)
    assert not issubclass(Reject, Retry)
    for verdict in verdicts:
        assert isinstance(verdict, Exception)
        assert verdict.reason in str(verdict)
        copy = pickle.loads(pickle.dumps(verdict))
        assert (type(copy), vars(copy)) == (type(verdict), vars(verdict))


def test_the_package_names_what_it_offers() -> None:
    """`from rqtool import *` is these names and the version."""
    assert set(rqtool.__all__) == {"Task", "Retry", "Reject", "__version__"}
    assert {Task, Retry, Reject} == {rqtool.Task, rqtool.Retry, rqtool.Reject}


def test_importing_the_package_costs_nothing() -> None:
    """A user's module that imports its verdicts loads no client library, no command line and no event loop."""
    show = "import sys, rqtool; rqtool.Retry('1s'); print(*sys.modules)"
    ended = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    imported = {name.split(".")[0] for name in ended.stdout.split()}
    assert "rqtool" in imported
    assert imported & {"pika", "typer", "click", "rich", "urllib3", "asyncio"} == set()
