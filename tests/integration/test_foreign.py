"""Tasks of other programs, whose properties are as odd as the broker lets them be: worked off like any other."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence

import pytest

from rqtool.amqp import tables as fields
from rqtool.amqp.headers import OWN_PREFIX
from tests.foreign import Raw, header, long, nested, properties, short, timestamp
from tests.tools import Program, Vhost

ODD = {
    "a timestamp beyond all calendars": properties(header(b"n", timestamp(2**63))),
    "a negative timestamp": properties(header(b"n", timestamp(2**64 - 1))),
    "the first second after the year 9999": properties(header(b"n", timestamp(253_402_300_800))),
    "deep tables": properties(header(b"n", nested(900, b"F"))),
    "deeper arrays": properties(header(b"n", nested(2_000, b"A"))),
    "a broken number": properties(header(b"n", b"d" + struct.pack(">d", 1.5))),
    "an exact number": properties(header(b"n", b"D\xff" + struct.pack(">i", -(2**31)))),
    "nothing": properties(header(b"n", b"V")),
    "bytes": properties(header(b"n", b"x" + long(b"\xff\0"))),
    "text that is not UTF-8": properties(header(b"n", b"S" + long(b"\xff="))),
    "a name that is not UTF-8": properties(header(b"\xff\xfe", b"S" + long(b"a"))),
    "a name that is no name": properties(header(b"", b"V") + header(b"a=\0", b"V")),
    "an id that is not UTF-8": properties(message_id=b"\xff\xfe\0"),
    "a long id": properties(message_id=b"\xff" * 255),
    "our counters as others write them": properties(
        header(b"x-rqtool-attempts", b"S" + long(b"\xff"))
        + header(b"x-rqtool-starts", timestamp(2**63))
        + header(b"x-rqtool-copy", b"A" + long(b"V"))
        + header(b"x-rqtool-error", nested(40, b"F"))
        + header(b"x-rqtool-failed-at", b"l" + struct.pack(">q", -1))
    ),
    "the broker's, as others write them": properties(
        header(b"x-first-death-queue", b"V") + header(b"x-last-death-reason", timestamp(2**63))
    ),
    "more attempts than can be counted": properties(header(b"x-rqtool-attempts", b"l" + struct.pack(">q", 2**63 - 1))),
}
SENDERS = {name: odd for name, odd in ODD.items() if "others" not in name and "attempts" not in name}


def _publish(vhost: Vhost, messages: dict[str, Raw], queue: str = "task_queue", **arguments: str) -> None:
    vhost.declare(queue, **arguments)
    with vhost.channel() as channel:
        for name, odd in messages.items():
            channel.basic_publish("", queue, name.encode(), odd)


def _encoded(odd: Raw) -> bytes:
    return odd.encode()[0]


@pytest.fixture(autouse=True)
def _read_by_us() -> None:
    """What plain pika can't read has to be looked at as well."""
    fields.install()


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_an_odd_task_is_a_task(rqtool: Program, vhost: Vhost, kind: str) -> None:
    """It is tried, tried again, given up with its headers as they came, listed, put back, and done."""
    _publish(vhost, ODD, **{"x-queue-type": kind})

    attempts = str(2 * len(ODD) - 1)  # one has had its last one long ago
    failed = rqtool("work", "--max-tasks", attempts, "--json", "--quiet", "--retry-delays", "100ms", "--", "false")
    assert (failed.code, failed.stderr) == (1, "")

    listed = rqtool("dead", "list", "--json")
    assert (listed.code, listed.stderr) == (0, "")
    assert {task["body"] for task in json.loads(listed.stdout)} == set(ODD)
    assert rqtool("dead", "retry").stdout == f" [x] Put {len(ODD)} tasks back into 'task_queue'\n"

    done = rqtool("work", "--max-tasks", str(len(ODD)), "--quiet", "--call", "builtins:print")
    assert (done.code, done.stderr) == (0, "")
    assert sorted(done.stdout.splitlines()) == sorted(repr(name.encode()) for name in ODD)
    assert (vhost.ready(), vhost.ready("task_queue.dead")) == (0, 0)


@pytest.mark.usefixtures("old_places")
def test_copies_bear_what_the_sender_wrote(rqtool: Program, vhost: Vhost) -> None:
    """Bit by bit, whatever its type."""
    _publish(vhost, SENDERS)
    rqtool("work", "--drain", "--quiet", "--retry-delays", "100ms", "--", "false")

    found: dict[str, Sequence[bytes]] = {}
    for copy, body in vhost.take_all("task_queue.dead"):
        assert copy.headers is not None
        copy.headers = {name: value for name, value in copy.headers.items() if not name.startswith(OWN_PREFIX)}
        copy.delivery_mode = None  # type: ignore[assignment]
        found[body.decode()] = copy.encode()  # type: ignore[no-untyped-call]
    # An empty table is a table.
    assert {name: b"".join(pieces) for name, pieces in found.items()} == {
        name: _encoded(odd) for name, odd in SENDERS.items()
    }


def test_a_command_sees_bytes_as_they_came(rqtool: Program, vhost: Vhost) -> None:
    """Ids and headers that are not UTF-8 are in its environment, but for the NUL that no environment can hold."""
    _publish(vhost, {"task": properties(header(b"n", b"S" + long(b"\xff=\0")), message_id=b"\xfe\0")})
    rqtool("work", "--drain", "--quiet", "--", "sh", "-c", 'printf %s "$RQTOOL_TASK_ID $RQTOOL_TASK_HEADER_N" > seen')
    assert (rqtool.cwd / "seen").read_bytes() == b"\xfe \xff="


@pytest.mark.usefixtures("old_places")
@pytest.mark.parametrize("size", [129_000, 130_900, 131_030])
def test_headers_that_fill_a_frame(rqtool: Program, vhost: Vhost, size: int) -> None:
    """A copy says more than the original; where that finds no room the largest header is left out, never the task."""
    table = header(b"large", b"S" + long(b"x" * size)) + header(b"s", b"t\1")
    _publish(vhost, {"task": properties(table)})
    ended = rqtool("work", "--drain", "--retry-delays", "100ms", "--", "sh", "-c", "seq 1000 >&2; exit 3", seconds=30)

    assert (ended.code, "can't be stored" in ended.stderr) == (1, False)
    [(dead, body)] = vhost.take_all("task_queue.dead")
    assert dead.headers is not None
    assert (body, dead.headers["s"], dead.headers["x-rqtool-attempts"]) == (b"task", True, 2)
    assert dead.headers["x-rqtool-error"].startswith("exit code 3\n")
    assert ("large" in dead.headers) is (size < 130_000)


@pytest.mark.usefixtures("old_places")
def test_names_that_are_not_utf8_do_not_hide_the_brokers(rqtool: Program, vhost: Vhost) -> None:
    """`CC` is left out of a copy whatever stands beside it."""
    vhost.declare("other")
    table = header(b"\xff", b"V") + header(b"CC", b"A" + long(b"S" + long(b"other")))
    _publish(vhost, {"task": properties(table, message_id=short(b"id"))})
    rqtool("work", "--drain", "--quiet", "--retry-delays", "100ms", "--", "false")
    assert (vhost.ready("other"), vhost.ready("task_queue.dead")) == (1, 1)


def test_what_takes_the_broker_long_to_hand_out_is_there(rqtool: Program, vhost: Vhost) -> None:
    """RabbitMQ 4 takes more than a second to deliver this one; nothing is ready then, and yet it comes."""
    _publish(vhost, {"task": properties(header(b"n", nested(20_000, b"A")))}, "task_queue.dead")
    ended = rqtool("dead", "list", "--json")
    assert ([task["body"] for task in json.loads(ended.stdout)], ended.stderr) == (["task"], "")
