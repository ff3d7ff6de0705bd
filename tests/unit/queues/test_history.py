"""What follows from the broker's samples: since when something is held, and since when nothing is settled."""

from __future__ import annotations

import math
import operator
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rqtool.management.samples import LAG, Sample, Samples, added, last_change, read_samples
from rqtool.queues.history import Deliveries, stalled_seconds

START = 1_000_000.0


def samples(*values: int, step: float = 5.0) -> Samples:
    """The newest first; the last of them is of START."""
    return tuple(Sample(START + step * (len(values) - 1 - n), value) for n, value in enumerate(values))


def flow(held: int, delivered: Samples, acked: Samples = (), released: float | None = None) -> Deliveries:
    return Deliveries(held, delivered, acked, released)


def lengths(messages: Samples, ready: Samples, held: Samples) -> dict[str, Any]:
    """A queue that dead-letters, as the API describes it."""
    by_kind = {"messages": messages, "messages_ready": ready, "messages_unacknowledged": held}
    return {"messages_dlx": 1} | {
        f"{kind}_details": {"samples": [{"timestamp": each.time * 1000, "sample": each.value} for each in given]}
        for kind, given in by_kind.items()
    }


class TestReading:
    """Rows of the API → samples."""

    def test_the_newest_comes_first(self) -> None:
        """Milliseconds become seconds, and the order is ours."""
        row = {"ack_details": {"samples": [{"sample": 1, "timestamp": 5000}, {"sample": 2, "timestamp": 10000}]}}
        assert read_samples(row, "ack_details") == (Sample(10.0, 2), Sample(5.0, 1))

    @pytest.mark.parametrize(
        "row",
        [
            {}, None, [], {"d": None}, {"d": "undefined"}, {"d": []}, {"d": {}}, {"d": {"samples": {}}},
            {"d": {"samples": [None, {}, {"sample": True, "timestamp": 1}, {"sample": 1, "timestamp": "1"}]}},
            {"d": {"samples": [{"sample": x, "timestamp": 1} for x in (math.nan, math.inf, -math.inf, 10**400)]}},
            {"d": {"samples": [{"sample": 1, "timestamp": x} for x in (math.nan, math.inf, -math.inf, 10**400)]}},
        ],
    )  # fmt: skip
    def test_what_makes_no_sense_is_no_sample(self, row: Any) -> None:
        """Fields can be absent, "undefined" or []."""
        assert read_samples(row, "d") == ()

    def test_one_sample_for_each_time(self) -> None:
        """Two of one moment would have no rate."""
        entries = [{"sample": 1, "timestamp": 5000}, {"sample": 2, "timestamp": 5000}]
        assert len(read_samples({"d": {"samples": entries}}, "d")) == 1

    def test_two_counters_add_up(self) -> None:
        """Where both have a sample; where one has none at all it counts nothing."""
        assert added(samples(3, 1), samples(4, 2)) == samples(7, 3)
        assert added(samples(3, 1), ()) == added((), samples(3, 1)) == samples(3, 1)


class TestDeliveries:
    """Deliveries and acks → what is held, and since when."""

    def test_held_since_the_delivery(self) -> None:
        """Three were delivered ten seconds ago, and none was settled."""
        seen = flow(3, samples(3, 3, 3, 0, 0), samples(0, 0, 0, 0, 0))
        assert (seen.held_since, seen.held_seconds(), seen.exceeds_history) == (START + 10, 10.0, False)
        assert seen.last_ack is None
        assert seen.quiet_since == START + 10
        assert seen.quiet_seconds() == 10.0 - LAG

    def test_held_since_before_the_history(self) -> None:
        """As long as the history goes back, and perhaps longer."""
        seen = flow(1, samples(7, 7, 7))
        assert (seen.held_since, seen.exceeds_history) == (START, True)

    def test_an_ack_ends_the_quiet(self) -> None:
        """One of three was acked five seconds ago."""
        seen = flow(2, samples(3, 3, 3, 3), samples(1, 1, 0, 0))
        assert (seen.last_ack, seen.held_since) == (START + 10, START)
        assert seen.quiet_seconds() == 0.0

    def test_a_reject_ends_the_quiet_too(self) -> None:
        """It is no ack, but the queue has fewer out since then."""
        assert flow(2, samples(3, 3, 3, 3), samples(0, 0, 0, 0), START + 15).quiet_seconds() == 0.0
        assert flow(3, samples(3, 3, 3, 3), samples(0, 0, 0, 0), START + 10).quiet_since == START + 10

    def test_a_new_delivery_ends_no_quiet(self) -> None:
        """Where nothing was rejected the old one is still held."""
        assert flow(2, samples(2, 2, 1, 1)).quiet_since == START

    def test_new_deliveries_at_a_full_prefetch_end_the_quiet(self) -> None:
        """One at a time, rejected one by one: what is held now is the newest."""
        seen = flow(1, samples(9, 9, 8, 8, 7), samples(0, 0, 0, 0, 0))
        assert seen.held_since == START + 15

    @pytest.mark.parametrize(("seconds", "held"), [(5.0, 3), (5.1, 2), (15.0, 2), (15.1, 0)])
    def test_how_many_are_held_for_so_long(self, seconds: float, held: int) -> None:
        """Of five that were delivered by then, two have been settled since, perhaps the oldest."""
        assert flow(3, samples(5, 5, 4, 4, 0), samples(2, 2, 2, 2, 0)).held_longer_than(seconds) == held

    @pytest.mark.parametrize(
        ("seen", "never"),
        [
            (flow(3, samples(3, 3)), True),
            (flow(3, ()), True),
            (flow(3, samples(3, 0)), False),
            (flow(2, samples(3, 3), samples(1, 0)), False),
            (flow(0, samples(3, 3)), False),
            (flow(0, ()), False),
        ],
    )
    def test_who_has_never_settled_anything(self, seen: Deliveries, never: bool) -> None:
        """Holding something, as long as the history goes back; without one that is not known to be otherwise."""
        assert seen.never_settled is never

    @pytest.mark.parametrize("seen", [flow(0, samples(3, 3)), flow(3, ()), flow(0, ())])
    def test_nothing_held_or_nothing_known(self, seen: Deliveries) -> None:
        """No quiet either way."""
        assert (seen.held_since, seen.quiet_since, seen.quiet_seconds()) == (None, None, 0.0)
        assert not seen.exceeds_history

    @pytest.mark.parametrize(
        ("messages", "ready", "held", "seconds"),
        [
            (samples(5, 5, 5, 5, 5), samples(0, 0, 0, 0, 5), samples(0, 0, 0, 0, 0), 20.0 - LAG),
            (samples(7, 6, 5, 5, 5), samples(0, 0, 0, 0, 5), samples(0, 0, 0, 0, 0), 20.0 - LAG),  # more became due
            (samples(4, 5, 5, 5, 5), samples(0, 0, 0, 0, 5), samples(0, 0, 0, 0, 0), 0.0),  # one was passed on
            (samples(5, 5, 5, 6, 6), samples(0, 0, 0, 0, 0), samples(0, 0, 0, 0, 0), 10.0 - LAG),
            (samples(5, 5, 5), samples(5, 5, 5), samples(0, 0, 0), 0.0),  # they wait
            (samples(5, 5, 5), samples(0, 0, 0), samples(5, 5, 5), 0.0),  # a client holds them
            (samples(5, 5, 5), samples(0, 0, 0), (), 10.0 - LAG),
            (samples(5, 5, 5), (), (), 0.0),
            ((), (), (), 0.0),
            # Passes on 4,000 a second, while more become due.
            (samples(72_000, 65_000, 56_000, 46_000, 36_000), samples(0, 0, 0, 0, 0), samples(0, 0, 0, 0, 0), 0.0),
            (samples(9_000, 9_000, 9_000, 9_000, 0), samples(0, 0, 0, 0, 0), samples(0, 0, 0, 0, 0), 15.0 - LAG),
        ],
    )
    def test_how_long_a_queue_has_passed_nothing_on(
        self, messages: Samples, ready: Samples, held: Samples, seconds: float
    ) -> None:
        """Not counting the time in which fewer became due elsewhere."""
        assert stalled_seconds(lengths(messages, ready, held)) == seconds

    @pytest.mark.parametrize(
        ("figures", "seconds"),
        [({"messages_delayed": 0}, 10.0 - LAG), ({"messages_delayed": 3}, 0.0), ({"messages_dlx": 0}, 0.0)],
    )
    def test_what_is_not_due_elsewhere(self, figures: dict[str, int], seconds: float) -> None:
        """RabbitMQ 4.3 can deliver returned messages again after a delay."""
        assert stalled_seconds(lengths(samples(5, 5, 5), samples(2, 2, 2), samples(0, 0, 0)) | figures) == seconds

    def test_before_it_was_there(self) -> None:
        """A channel's history before it was opened is filled with noughts."""
        assert flow(2, samples(2, 0, 0, 0)).held_seconds() == 0.0

    def test_a_slow_one_that_rejects_what_it_has(self) -> None:
        """Nothing new came since, but something happened on its channel."""
        seen = Deliveries(2, samples(3, 3, 3, 3, 3, 3), samples(0, 0, 0, 0, 0, 0), idle_since=START + 12)
        assert seen.quiet_seconds() == 25.0 - 12.0 - LAG

    @settings(max_examples=5 * settings().max_examples)
    @given(
        st.lists(
            st.sampled_from([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1), (3, 2, 2)]),
            min_size=3,
            max_size=12,
        ),
        st.sampled_from([-1, 0, 1]),
        st.randoms(use_true_random=False),
    )
    def test_nobody_is_accused_wrongly(self, steps: list[tuple[int, int, int]], skew: int, random: Any) -> None:
        """Messages are delivered, acked and rejected in any order, and `held` is one step older or newer than the
        counters. A client that is reported as quiet for some time has really held a message since then.
        """
        out: list[int] = []
        delivered, acked, active = 0, 0, 0.0
        deliveries: list[int] = []
        acks: list[int] = []
        held: list[int] = []
        olds: list[list[int]] = []
        activity: list[float] = []
        for step, (more, acks_now, rejects) in enumerate(steps):
            out += [step] * more
            delivered += more
            for is_ack in [True] * acks_now + [False] * rejects:
                if out:
                    out.pop(random.randrange(len(out)))
                    acked += is_ack
                    active = START + 5 * step
            active = START + 5 * step if more else active
            deliveries.append(delivered)
            acks.append(acked)
            held.append(len(out))
            olds.append(list(out))
            activity.append(active)
        counted = len(steps) - 2
        gauge = counted + skew
        seen = Deliveries(
            held[gauge],
            samples(*reversed(deliveries[: counted + 1])),
            samples(*reversed(acks[: counted + 1])),
            idle_since=activity[gauge],
        )
        # As many new ones as were ever rejected look like those; the queue's own history, emptied, tells most of them.
        rejected = deliveries[counted] - acks[counted] - held[counted]
        assume(not (0 < rejected <= held[gauge] and skew > 0))
        if (seconds := seen.quiet_seconds()) > 0:
            then = counted - int(seconds / 5)
            assert any(step <= then for step in olds[min(counted, gauge)])
            assert acks[then] == acks[counted]

    def test_the_first_message_for_long(self) -> None:
        """It is held, and not counted yet: nothing that was settled long ago is taken for it."""
        assert flow(1, samples(9, 9, 9, 9), samples(9, 9, 9, 9)).held_since is None
        assert flow(1, samples(0, 0, 0, 0), samples(0, 0, 0, 0)).held_since is None

    def test_the_first_message_after_rejects(self) -> None:
        """What was rejected once looks the same as what is held: only who was idle is certain."""
        for idle_since, quiet in ((None, 0.0), (START + 12, 0.0), (START + 6, 0.0), (START + 5, 5.0)):
            seen = Deliveries(1, samples(9, 9, 9, 9), samples(7, 7, 7, 7), idle_since=idle_since)
            assert seen.quiet_seconds() == quiet

    def test_one_that_rejects_with_a_full_prefetch(self) -> None:
        """The oldest of three is held for long, and one was rejected when the last one came."""
        seen = Deliveries(3, samples(9, 9, 8, 7, 6, 5), samples(0, 0, 0, 0, 0, 0), idle_since=START)
        assert (seen.held_since, seen.quiet_since) == (START + 10, START + 20)

    def test_when_the_queue_had_nothing_out(self) -> None:
        """Nothing is held since before that."""
        seen = Deliveries(1, samples(9, 9, 9, 9), samples(8, 8, 8, 8), emptied=START + 10)
        assert seen.held_since == START + 10

    def test_an_older_history_goes_behind(self) -> None:
        """By the minute, where the one by 5 s ends."""
        late = flow(1, (Sample(600.0, 5), Sample(595.0, 5)), (Sample(600.0, 0), Sample(595.0, 0)))
        early = flow(1, (Sample(595.0, 5), Sample(540.0, 5), Sample(480.0, 0)), (Sample(480.0, 0),))
        seen = late.after(early)
        assert [sample.time for sample in seen.delivered] == [600.0, 595.0, 540.0, 480.0]
        assert (seen.held_since, seen.exceeds_history) == (540.0, False)


def test_the_last_change() -> None:
    """A rise, a fall, or either."""
    line = samples(2, 2, 3, 3, 1)
    assert (last_change(line, operator.gt), last_change(line, operator.lt)) == (START + 5, START + 15)
    assert (last_change(line), last_change(()), last_change(samples(1))) == (START + 15, None, None)
