"""Queue arguments, and what the broker's refusals mean."""

from __future__ import annotations

import pytest

from rqtool.broker.topology import (
    DELIVERY_LIMIT,
    Arguments,
    Mismatch,
    QueueType,
    dead_queue,
    mirror,
    parse_mismatch,
    parse_size_limit,
    queue_arguments,
)

# As RabbitMQ 3.10.8, 4.0.5 and 4.3.6 word it.
REFUSALS = [
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'plain' in vhost '/': "
        "received the value 'quorum' of type 'longstr' but current is none",
        Mismatch("x-queue-type", None, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'quo' in vhost '/': "
        "received none but current is the value 'quorum' of type 'longstr'",
        Mismatch("x-queue-type", "quorum", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'quo' in vhost '/': "
        "received 'classic' but current is 'quorum'",
        Mismatch("x-queue-type", "quorum", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'pri' in vhost '/': "
        "received none but current is the value '5' of type 'signedint'",
        Mismatch("x-max-priority", 5, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'nd' in vhost '/': "
        "received 'true' but current is 'false'",
        Mismatch("durable", "false", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': "
        "received none but current is the value '' of type 'longstr'",
        Mismatch("x-dead-letter-exchange", "", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': "
        "received none but current is the value 'true' of type 'bool'",
        Mismatch("x-single-active-consumer", True, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': "
        "received none but current is the value 'false' of type 'bool'",
        Mismatch("x-single-active-consumer", False, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-thing' for queue 'q' in vhost '/': "
        "received none but current is the value '[{<<\"a\">>,longstr,<<\"b\">>}]' of type 'table'",
        Mismatch("x-thing", None, understood=False),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'it's: odd\n' in vhost 'a b': "
        "received the value '1' of type 'signedint' but current is the value '2' of type 'long'",
        Mismatch("x-message-ttl", 2, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': "
        "received none but current is the value 'it's of type 'x'' of type 'longstr'",
        Mismatch("x-dead-letter-routing-key", "it's of type 'x'", understood=True),
    ),
]


@pytest.mark.parametrize(("text", "mismatch"), REFUSALS, ids=[str(mismatch) for _, mismatch in REFUSALS])
def test_a_mismatch_is_read_in_every_wording(text: str, mismatch: Mismatch) -> None:
    """Field and current value, of its own type, from the words of every broker version."""
    found = parse_mismatch(text)
    assert mismatch == found
    assert found is not None
    assert type(mismatch.current) is type(found.current)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PRECONDITION_FAILED - unknown delivery tag 1",
        "PRECONDITION_FAILED - invalid arg 'x-queue-type' for queue 'q' in vhost '/'",
        "PRECONDITION_FAILED - message size 17000000 larger than max size 134217728",
    ],
)
def test_other_refusals_are_no_mismatch(text: str) -> None:
    """A 406 about anything else is not about arguments."""
    assert parse_mismatch(text) is None


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("PRECONDITION_FAILED - message size 17000000 is larger than configured max size 16777216", 16777216),
        ("PRECONDITION_FAILED - message size 17000000 larger than max size 134217728", 134217728),
        (REFUSALS[0][0], None),
        ("", None),
    ],
)
def test_the_size_limit_is_read_in_every_wording(text: str, limit: int | None) -> None:
    """The broker's limit in bytes, from the words of 3.x and of 4.x; nothing from other texts."""
    assert limit == parse_size_limit(text)


def test_a_plain_queue_is_declared_as_the_tutorial_does() -> None:
    """Without --type there are no arguments: whoever declares a durable queue shares it."""
    assert queue_arguments("q", None) == {}


def test_a_classic_queue_has_its_type_and_nothing_else() -> None:
    """--type classic asks for the type alone."""
    assert queue_arguments("q", "classic") == {"x-queue-type": "classic"}


def test_a_quorum_queue_drops_nothing_silently() -> None:
    """What the broker gives up goes to the dead queue, at least once, and not before an explicit limit."""
    assert queue_arguments("q", "quorum") == {
        "x-queue-type": "quorum",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "q.dead",
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-delivery-limit": DELIVERY_LIMIT,
    }


def test_the_dead_queue_is_named_after_its_queue() -> None:
    """NAME.dead is a contract."""
    assert dead_queue("task_queue") == "task_queue.dead"


@pytest.mark.parametrize("kind", [None, "classic", "quorum"])
@pytest.mark.parametrize(
    ("current", "rest"), [(None, {}), ("classic", {"x-queue-type": "classic"}), (5, {"x-queue-type": 5})]
)
def test_mirror_takes_a_field_over_as_it_is_there(
    kind: QueueType | None, current: str | int | None, rest: Arguments
) -> None:
    """The field has the queue's own value or is left out; the others, and what was passed in, stay as they were."""
    before = queue_arguments("q", kind)
    others = {key: value for key, value in before.items() if key != "x-queue-type"}
    assert others | rest == mirror(before, Mismatch("x-queue-type", current, understood=True))
    assert queue_arguments("q", kind) == before
