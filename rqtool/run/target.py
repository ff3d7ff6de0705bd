"""Finds the function that `--call MODULE:FUNCTION` names, and refuses one that would fail for every task."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from rqtool.errors import UsageError
from rqtool.run.child.exception import Report
from rqtool.run.task import Task
from rqtool.text import closest

_HOW = "Write MODULE:FUNCTION, as in tasks:handle for the function handle in tasks.py"


@dataclass(frozen=True, slots=True)
class Target:
    """A function that can be called with a task, or with its body alone."""

    function: Callable[[Any], Any]
    is_async: bool
    wants_task: bool


def split(target: str) -> tuple[str, str]:
    """Return module and name. Raises UsageError where one is missing."""
    module, _, name = target.partition(":")
    if not all(f"{module}.{name}".split(".")) or not name:
        raise UsageError(f"--call {target}: this is not MODULE:FUNCTION", _HOW)
    return module, name


def load(target: str) -> Target:
    """Import the module. Raises UsageError if the function can not be used."""
    module, name = split(target)

    def refuse(what: str, what_to_do: str = "") -> UsageError:
        return UsageError(f"--call {target}: {what}", what_to_do)

    try:
        function: Any = importlib.import_module(module)
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
            raise refuse(f"there is no module {error.name!r} here or on Python's path", _HOW) from error
        raise refuse(f"importing {module} fails: {Report(error).line()}") from error
    for part in name.split("."):
        try:
            function = getattr(function, part)
        except AttributeError as error:
            raise refuse(f"module {module} has no {name!r}", _alike(part, function)) from error
    if not callable(function):
        raise refuse(f"{name} is of the type {type(function).__name__}, and can't be called", "Name a function")
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise refuse(f"{name} is a generator, calling it does nothing", "Take the yield out of it")
    try:
        kind = _kind(function)
    except TypeError as error:
        raise refuse(
            f"{name} can't be called with one argument: {error}", "Let it take the body, or a rqtool.Task"
        ) from error
    if kind is None:
        raise refuse(f"{name} gets no such argument as its annotation says", "Annotate it as bytes or rqtool.Task")
    return Target(function, is_async=_is(inspect.iscoroutinefunction, function), wants_task=kind is Task)


def _alike(name: str, where: object) -> str:
    close = closest(name, [other for other in dir(where) if callable(getattr(where, other, None))])
    return f"Did you mean {close!r}?" if close else ""


def _is(kind: Callable[[object], bool], function: Any) -> bool:
    """Whether a function, or what makes an object callable, is of a kind."""
    return kind(function) or kind(type(function).__call__)


def _kind(function: Callable[..., Any]) -> type | None:
    """Return the type of its argument: bytes or Task, None for any other. Raises TypeError if it can't be called with
    one argument.
    """
    try:
        signature = _signature(function)
    except ValueError:
        return bytes  # some functions in C don't have a signature
    signature.bind(b"")
    first = next(iter(signature.parameters.values()))
    return _fitting(_evaluated(first.annotation, function))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    if sys.version_info >= (3, 14):
        # Otherwise a signature fails if one of its names is imported only for type checkers.
        from annotationlib import Format

        return inspect.signature(function, annotation_format=Format.FORWARDREF)
    return inspect.signature(function)


def _evaluated(annotation: Any, function: Any) -> Any:
    text = getattr(annotation, "__forward_arg__", annotation)
    if not isinstance(text, str):
        return annotation
    while isinstance(function, partial):
        function = function.func
    try:
        return eval(text, vars(sys.modules[inspect.unwrap(function).__module__]))  # noqa: S307 - the user's own code
    except Exception:  # a name that only type checkers import, or anything else
        return Task if "Task" in re.findall(r"\w+", text) else Any


def _fitting(annotation: Any) -> type | None:
    """Return the type that an annotation allows, bytes or Task; bytes if that is not clear."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        parts = [_fitting(part) for part in get_args(annotation) if part is not NoneType]
        return next((part for part in parts if part is not None), None)
    if origin is Annotated:
        return _fitting(get_args(annotation)[0])
    wanted = origin or annotation
    if wanted in (Any, inspect.Parameter.empty) or not isinstance(wanted, type):
        return bytes
    try:
        return next((kind for kind in (bytes, Task) if issubclass(kind, wanted)), None)
    except TypeError:  # a protocol that can't be asked
        return bytes
