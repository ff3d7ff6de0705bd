"""Reports of a check, for Nagios and other monitors. Pure.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterator
from json import dumps

from rqtool.queues.check import Check
from rqtool.queues.columns import QUEUE_COLUMNS, objects
from rqtool.queues.diagnosis import Diagnosis

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def formatted(result: Check, form: str) -> str:
    """The whole report, without the last line end. `form`: nagios, prometheus or json."""
    if form == "prometheus":
        return "\n".join(_prometheus(result))
    return _json(result) if form == "json" else result.line


def _json(result: Check) -> str:
    return dumps(
        {
            "status": result.status.name,
            "code": result.status,
            "text": result.text,
            "figures": result.figures,
            "queues": objects(QUEUE_COLUMNS, result.queues),
        }
    )


def _prometheus(result: Check) -> Iterator[str]:
    """A gauge for each column that is a metric, with a sample for each queue whose value is known."""
    yield from _header("rqtool_check_status", "0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN")
    yield f"rqtool_check_status {result.status:d}"
    for column in QUEUE_COLUMNS:
        if column.metric and column.json:
            name = f"rqtool_queue_{column.name}"
            yield from _header(name, column.metric)
            for each in result.queues:
                if (value := column.json(each)) is not None:
                    yield f"{name}{{{_labels(each)}}} {value}"
    yield from _header("rqtool_queue_verdict", "1 for the verdict of the queue, with the verdict as a label")
    for each in result.queues:
        yield f'rqtool_queue_verdict{{{_labels(each)},verdict="{each.verdict}"}} 1'


def _header(name: str, meaning: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}."
    yield f"# TYPE {name} gauge"


def _labels(diagnosis: Diagnosis) -> str:
    vhost, name = (value.translate(_ESCAPES) for value in diagnosis.queue.key)
    return f'vhost="{vhost}",queue="{name}"'
