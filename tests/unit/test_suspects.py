"""Which tasks may have killed their worker, and which did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from rqtool import suspects
from rqtool.broker.consumer import Delivery
from rqtool.headers import ATTEMPTS, STARTS
from rqtool.suspects import MOST_RETURNS, MOST_STARTS


@dataclass
class Seen:
    """As much of a delivery as is looked at."""

    redelivered: bool = False
    headers: dict[str, Any] = field(default_factory=dict)


def is_suspect(seen: Seen) -> bool:
    return suspects.is_suspect(cast("Delivery", seen))


def is_poison(seen: Seen) -> bool:
    return suspects.is_poison(cast("Delivery", seen))


def is_worn(seen: Seen) -> bool:
    return suspects.is_worn(cast("Delivery", seen))


def test_a_new_task_is_beyond_suspicion() -> None:
    """It is begun without a trace, and so is the retry of one that failed: its worker lived."""
    for seen in (Seen(), Seen(headers={ATTEMPTS: 3, "x-delivery-count": 0}), Seen(headers={STARTS: 0})):
        assert (is_suspect(seen), is_poison(seen), is_worn(seen)) == (False, False, False)


def test_what_comes_again_is_suspicious() -> None:
    """Flagged by the broker; not yet poison, since it may never have been begun."""
    assert is_suspect(Seen(redelivered=True))
    assert not is_poison(Seen(redelivered=True))


@pytest.mark.parametrize("redelivered", [True, False])
@pytest.mark.parametrize(("starts", "poison"), [(1, False), (2, False), (3, True), (4, True), (1000, True)])
def test_starts_without_a_verdict_add_up_to_poison(starts: int, poison: bool, redelivered: bool) -> None:
    """Suspicious from the first counted start on, flagged or not: a copy that came home is not flagged."""
    assert MOST_STARTS == 3
    seen = Seen(redelivered, {STARTS: starts})
    assert is_suspect(seen)
    assert is_poison(seen) is poison


@pytest.mark.parametrize("value", ["9", True, -9, None, 9.0])
def test_what_is_no_count_is_no_suspicion(value: object) -> None:
    """Anybody can write headers: none of them sends a task to the dead queue unseen."""
    seen = Seen(headers={STARTS: value, "x-delivery-count": value})
    assert (is_suspect(seen), is_poison(seen)) == (False, False)


@pytest.mark.parametrize(("returns", "worn"), [(1, False), (9, False), (10, True), (19, True), (100_000, True)])
def test_returns_wear_a_task_down(returns: int, worn: bool) -> None:
    """Well before the 20 deliveries after which RabbitMQ 4 drops it; being prefetched makes no poison of it."""
    assert MOST_RETURNS == 10
    seen = Seen(redelivered=True, headers={"x-delivery-count": returns})
    assert is_worn(seen) is worn
    assert not is_poison(seen)
