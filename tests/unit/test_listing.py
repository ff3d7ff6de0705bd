"""Queues for programs."""

from __future__ import annotations

import json

from rqtool.listing import as_json, as_lines
from rqtool.management import Queue

TASKS = Queue(
    vhost="/",
    name="task_queue",
    messages_ready=3,
    messages_unacknowledged=0,
    consumers=1,
    state="running",
    type="classic",
    durable=True,
)
UNKNOWN = Queue(
    vhost="a\tb",
    name="\x1b[31mred\n\ttab\u202e",
    messages_ready=None,
    messages_unacknowledged=None,
    consumers=None,
    state=None,
    type=None,
    durable=None,
)
HEADER = "name\tmessages_ready\tmessages_unacknowledged\tconsumers\tstate\ttype"


def test_a_line_for_each_queue_below_one_header() -> None:
    """Tab-separated, under rabbitmqctl's own names, in the order given; a zero is a figure."""
    assert list(as_lines([TASKS], vhosts=False)) == [HEADER, "task_queue\t3\t0\t1\trunning\tclassic"]


def test_without_queues_there_is_the_header() -> None:
    """An empty list is a header line and an empty array."""
    assert list(as_lines([], vhosts=False)) == [HEADER]
    assert json.loads(as_json([])) == []


def test_the_vhost_is_the_last_column() -> None:
    """With several vhosts each line says whose it is, behind the columns that are always there."""
    lines = list(as_lines([TASKS], vhosts=True))
    assert [f"{HEADER}\tvhost", "task_queue\t3\t0\t1\trunning\tclassic\t/"] == lines


def test_what_is_not_known_is_an_empty_field() -> None:
    """None is no word and no zero, and the fields keep their places."""
    _, line = as_lines([UNKNOWN], vhosts=False)
    assert line.split("\t")[1:] == [""] * 5


def test_names_cannot_break_a_line() -> None:
    """Tabs, line ends and escape sequences in names are spelled out."""
    _, line = as_lines([UNKNOWN], vhosts=True)
    assert line.split("\t") == [r"\x1b[31mred\n\ttab\u202e", "", "", "", "", "", r"a\tb"]


def test_json_has_every_field_as_it_is() -> None:
    """Names are exact there, unknown is null, true is true."""
    tasks, unknown = json.loads(as_json([TASKS, UNKNOWN]))
    assert tasks == {
        "vhost": "/",
        "name": "task_queue",
        "messages_ready": 3,
        "messages_unacknowledged": 0,
        "consumers": 1,
        "state": "running",
        "type": "classic",
        "durable": True,
    }
    assert UNKNOWN.name == unknown["name"]
    assert [value for key, value in unknown.items() if key not in ("name", "vhost")] == [None] * 6
