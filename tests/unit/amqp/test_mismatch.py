"""What the broker's refusals of declarations and of tasks say."""

from __future__ import annotations

import pytest

from rqtool.amqp.errors import ArgumentMismatch, mirror, parse_mismatch, parse_size_limit
from rqtool.topology import Arguments, QueueType, queue_arguments

# As RabbitMQ 3.10.8, 4.0.5 and 4.3.6 word it.
REFUSALS = [
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'plain' in vhost '/': "
        "received the value 'quorum' of type 'longstr' but current is none",
        ArgumentMismatch("x-queue-type", None, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'quo' in vhost '/': "
        "received none but current is the value 'quorum' of type 'longstr'",
        ArgumentMismatch("x-queue-type", "quorum", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'quo' in vhost '/': "
        "received 'classic' but current is 'quorum'",
        ArgumentMismatch("x-queue-type", "quorum", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'pri' in vhost '/': "
        "received none but current is the value '5' of type 'signedint'",
        ArgumentMismatch("x-max-priority", 5, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'nd' in vhost '/': "
        "received 'true' but current is 'false'",
        ArgumentMismatch("durable", "false", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-exchange' for queue 'q' in vhost '/': "
        "received none but current is the value '' of type 'longstr'",
        ArgumentMismatch("x-dead-letter-exchange", "", understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': "
        "received none but current is the value 'true' of type 'bool'",
        ArgumentMismatch("x-single-active-consumer", True, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue 'q' in vhost '/': "
        "received none but current is the value 'false' of type 'bool'",
        ArgumentMismatch("x-single-active-consumer", False, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-thing' for queue 'q' in vhost '/': "
        "received none but current is the value '[{<<\"a\">>,longstr,<<\"b\">>}]' of type 'table'",
        ArgumentMismatch("x-thing", None, understood=False),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'it's: odd\n' in vhost 'a b': "
        "received the value '1' of type 'signedint' but current is the value '2' of type 'long'",
        ArgumentMismatch("x-message-ttl", 2, understood=True),
    ),
    (
        "PRECONDITION_FAILED - inequivalent arg 'x-dead-letter-routing-key' for queue 'q' in vhost '/': "
        "received none but current is the value 'it's of type 'x'' of type 'longstr'",
        ArgumentMismatch("x-dead-letter-routing-key", "it's of type 'x'", understood=True),
    ),
]


@pytest.mark.parametrize(("text", "mismatch"), REFUSALS, ids=[str(mismatch) for _, mismatch in REFUSALS])
def test_a_mismatch_is_read_in_every_wording(text: str, mismatch: ArgumentMismatch) -> None:
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
    assert others | rest == mirror(before, ArgumentMismatch("x-queue-type", current, understood=True))
    assert queue_arguments("q", kind) == before
