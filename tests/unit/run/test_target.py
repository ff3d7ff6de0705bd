"""Which function `--call` names, what it wants, and what is wrong with it: no process is needed to see that."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rqtool.errors import UsageError
from rqtool.run.target import load


@pytest.fixture(autouse=True)
def importing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Modules in the current directory can be imported here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("tasks", None)


@pytest.mark.parametrize("target", ["tasks", "tasks:", ":handle", "", "tasks:a..b", ".tasks:handle", ":"])
def test_what_is_no_target(target: str) -> None:
    """A module and a name are needed."""
    with pytest.raises(UsageError) as refused:
        load(target)
    assert str(refused.value).startswith(f"--call {target}: this is not MODULE:FUNCTION. Write MODULE:FUNCTION")


@pytest.mark.parametrize(
    ("text", "target", "message"),
    [
        ("", "taks:handle", "there is no module 'taks' here or on Python's path. Write"),
        ("", "tasks.py:handle", "there is no module 'tasks.py' here"),
        ("", "json.nothing:handle", "there is no module 'json.nothing' here"),
        ("import nowhere", "tasks:handle", "importing tasks fails: ModuleNotFoundError: No module named 'nowhere'"),
        ("\n\nraise ValueError('boom')", "tasks:handle", "importing tasks fails: ValueError: boom (tasks.py:3)."),
        ("raise SystemExit", "tasks:handle", "importing tasks fails: SystemExit (tasks.py:1)."),
        ("def", "tasks:handle", "importing tasks fails: SyntaxError: invalid syntax (tasks.py, line 1)."),
        ("def handle(b): 1", "tasks:handl", "module tasks has no 'handl'. Did you mean 'handle'?"),
        ("class W: 1", "tasks:W.quux", "module tasks has no 'W.quux'."),
        ("handle = 'x'", "tasks:handle", "handle is of the type str, and can't be called. Name"),
        ("def handle(): 1", "tasks:handle", "handle can't be called with one argument: too many positional"),
        ("def handle(a, b): 1", "tasks:handle", "handle can't be called with one argument: missing a required"),
        ("def handle(a, *, b): 1", "tasks:handle", "handle can't be called with one argument: missing a required"),
        ("def handle(a: str): 1", "tasks:handle", "handle gets no such argument as its annotation says. Annotate"),
        ("def handle(a: 'dict[str, int]'): 1", "tasks:handle", "handle gets no such argument"),
        ("def handle(a: int | None): 1", "tasks:handle", "handle gets no such argument"),
        ("def handle(a): yield", "tasks:handle", "handle is a generator, calling it does nothing. Take"),
        ("class W:\n  def __call__(a): yield\nw = W()", "tasks:w", "w is a generator, calling it does"),
        ("async def handle(a): yield", "tasks:handle", "handle is a generator, calling it does nothing. Take"),
    ],
)
def test_what_can_not_be_used(text: str, target: str, message: str) -> None:
    """One line: what is wrong, and what to do."""
    Path("tasks.py").write_text(text)
    with pytest.raises(UsageError) as refused:
        load(target)
    assert str(refused.value).startswith(f"--call {target}: {message}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("head", "parameter", "wants_task"),
    [
        ("import rqtool", "task: rqtool.Task", True),
        ("from rqtool import Task", "task: 'Task'", True),
        ("from __future__ import annotations\nfrom rqtool import Task", "task: Task, other: Nowhere = None", True),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING: from rqtool import Task", "t: 'Task | None'", True),
        ("import typing, rqtool", "task: typing.Annotated[typing.Optional[rqtool.Task], 1]", True),
        ("", "body", False),
        ("", "body: bytes", False),
        ("", "body: 'bytes | str'", False),
        ("", "body: object", False),
        ("", "body: 'Nowhere'", False),
        ("import typing", "body: typing.Any", False),
        ("from collections import abc", "body: abc.Sequence[int]", False),
    ],
)
@pytest.mark.parametrize("keyword", ["def", "async def"])
def test_annotations(keyword: str, head: str, parameter: str, wants_task: bool) -> None:
    """A task comes where the annotation names it, in whatever way; bytes where it allows them, or is unclear."""
    Path("tasks.py").write_text(f"{head}\n{keyword} handle({parameter}): pass\n")
    target = load("tasks:handle")
    assert (target.wants_task, target.is_async) == (wants_task, keyword == "async def")


@pytest.mark.parametrize("name", ["Worker.static", "Worker.on_class", "worker.method", "part", "worker"])
def test_anything_that_can_be_called(name: str) -> None:
    """Methods, partial functions, and objects, which may be async."""
    Path("tasks.py").write_text("""if 1:
        import functools
        class Worker:
            @staticmethod
            def static(body): return body
            @classmethod
            def on_class(cls, body): return body
            def method(self, body): return body
            async def __call__(self, body): return body
        worker = Worker()
        part = functools.partial(worker.method)
    """)
    target = load(f"tasks:{name}")
    assert target.is_async == (name == "worker")
    assert target.is_async or target.function(b"1") == b"1"
