"""Delays as users write them, and what becomes of a task after an attempt."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.durations import LONGEST_DELAY, parse_duration
from rqtool.errors import UsageError
from rqtool.run.outcome import CannotRun, Done, Failed, Outcome, Postponed, Rejected, why
from rqtool.work.retry import (
    DEFAULT_DELAYS,
    MOST_DELAYS,
    Delay,
    Verdict,
    judge,
    parse_delays,
    round_delay,
)
from tests.parsing import value_or_refusal

DELAYS = parse_delays(DEFAULT_DELAYS)
SHORT_BY = 0.002
"""Seconds: a queue's time to live is counted in milliseconds, and noise of floats must not cost a whole step."""


class TestParseDelays:
    """`--retry-delays`."""

    def test_the_default(self) -> None:
        """Three retries, further and further apart."""
        assert parse_delays("1s,10s,1m") == DELAYS
        assert (Delay("1s", 1.0), Delay("10s", 10.0), Delay("1m", 60.0)) == DELAYS

    @pytest.mark.parametrize("text", ["none", " none "])
    def test_none(self, text: str) -> None:
        """No retries at all."""
        assert parse_delays(text) == ()

    @pytest.mark.parametrize(
        ("text", "delays"),
        [
            ("5s", [("5s", 5.0)]),
            (" 5s ,\t10m ", [("5s", 5.0), ("10m", 600.0)]),
            ("60s,1m,0.5h,1000ms", [("60s", 60.0), ("1m", 60.0), ("0.5h", 1800.0), ("1000ms", 1.0)]),
            ("1s,1s,1s", [("1s", 1.0)] * 3),
            ("1m,1s", [("1m", 60.0), ("1s", 1.0)]),
            ("720h,43200m,0s", [("720h", LONGEST_DELAY), ("43200m", LONGEST_DELAY), ("0s", 0.0)]),
        ],
    )
    def test_names_are_kept_as_written(self, text: str, delays: list[tuple[str, float]]) -> None:
        """In their order, without the blanks around them: the wait queues bear these names."""
        assert [(delay.name, delay.seconds) for delay in parse_delays(text)] == delays

    @pytest.mark.parametrize("text", ["", " ", ",", "1", "1s,", ",1s", "1s,,2s", "1s;2s", "1s 2s", "none,1s", "None"])
    def test_what_is_no_list_of_durations(self, text: str) -> None:
        """It is refused, and how to write one is said."""
        with pytest.raises(UsageError, match=r"is not a duration\. Write a number and a unit"):
            parse_delays(text)

    def test_no_more_than_the_most(self) -> None:
        """Every delay costs a wait queue."""
        assert len(parse_delays(",".join(["1s"] * MOST_DELAYS))) == MOST_DELAYS
        with pytest.raises(UsageError, match=rf"{MOST_DELAYS + 1} retry delays\. Give at most {MOST_DELAYS}"):
            parse_delays(",".join(["1s"] * (MOST_DELAYS + 1)))

    @given(
        st.one_of(
            st.text("0123456789.hms,\n none\udcff"), st.lists(st.sampled_from(["1s", "9h", "721h", ""])).map(",".join)
        )
    )
    def test_any_text_is_delays_or_refused(self, text: str) -> None:
        """Each one that the broker can wait for, under a name that a queue can bear; or an error on one line."""
        delays = value_or_refusal(parse_delays, text)
        if isinstance(delays, str):
            assert delays.isprintable()
        else:
            assert len(delays) <= MOST_DELAYS
            assert all(0 <= delay.seconds <= LONGEST_DELAY and len(delay.name.encode()) < 30 for delay in delays)

    @pytest.mark.parametrize("text", ["744h", "1s,721h", "720.001h"])
    def test_none_longer_than_the_broker_can_wait(self, text: str) -> None:
        """31 days in milliseconds are more than the broker counts; the error names the delay."""
        with pytest.raises(UsageError, match=rf"A retry delay of {text.split(',')[-1]}\. The longest .* 30 days: 720h"):
            parse_delays(text)
        assert LONGEST_DELAY * 1000 < 2**32


class TestRoundDelay:
    """A task may ask for any pause, and every name costs a wait queue."""

    @pytest.mark.parametrize(
        ("seconds", "name"),
        [
            (0, "100ms"),
            (-1, "100ms"),
            (float("-inf"), "100ms"),
            (0.05, "100ms"),
            (0.1, "100ms"),
            (0.1001, "200ms"),
            (0.3, "300ms"),
            (0.1 + 0.2, "300ms"),
            (0.7, "700ms"),
            (0.9, "900ms"),
            (0.95, "1s"),
            (1, "1s"),
            (1.01, "2s"),
            (7, "7s"),
            (7.5, "8s"),
            (59, "59s"),
            (59.5, "1m"),
            (60, "1m"),
            (60.5, "2m"),
            (61, "2m"),
            (120, "2m"),
            (3540, "59m"),
            (3541, "1h"),
            (3600, "1h"),
            (3601, "2h"),
            (86_400, "24h"),
            (LONGEST_DELAY - 1, "720h"),
            (LONGEST_DELAY, "720h"),
            (10**9, "720h"),
            (float("inf"), "720h"),
        ],
    )
    def test_the_next_longer_round_one(self, seconds: float, name: str) -> None:
        """Tenths of a second, then seconds, minutes, hours; noise of floats does not make it a step longer."""
        delay = round_delay(seconds)
        assert delay.name == name
        assert delay.seconds == pytest.approx(parse_duration(name))

    @given(st.floats(0, LONGEST_DELAY) | st.floats(0, 1) | st.floats(0, 60) | st.integers(0, 720 * 3600))
    def test_never_shorter_than_wanted(self, seconds: float) -> None:
        """Nor much longer: by a tenth of a second up to one, by a second, a minute or an hour beyond."""
        delay = round_delay(seconds)
        step = 0.1 if seconds <= 1 else 1 if seconds <= 60 else 60 if seconds <= 3600 else 3600
        assert seconds - SHORT_BY <= delay.seconds <= seconds + step + SHORT_BY
        assert delay.seconds <= LONGEST_DELAY
        assert parse_duration(delay.name) == pytest.approx(delay.seconds)

    @given(st.floats(allow_nan=False, allow_infinity=False))
    def test_whatever_is_asked_for_is_a_delay_that_the_broker_takes(self, seconds: float) -> None:
        """Its name is one that a user could have written."""
        (parsed,) = parse_delays(round_delay(seconds).name)
        assert 0.1 <= parsed.seconds <= LONGEST_DELAY

    @given(st.floats(0, LONGEST_DELAY), st.floats(0, LONGEST_DELAY))
    def test_longer_is_not_shorter(self, one: float, other: float) -> None:
        """Who asks for more gets no less, across all steps."""
        shorter, longer = sorted((one, other))
        assert round_delay(shorter).seconds <= round_delay(longer).seconds

    @given(st.floats(0, LONGEST_DELAY))
    def test_a_round_one_stays(self, seconds: float) -> None:
        """A name has one length, and that length has this name."""
        delay = round_delay(seconds)
        assert round_delay(delay.seconds) == delay
        assert round_delay(parse_duration(delay.name)).name == delay.name

    def test_their_number_stays_small(self) -> None:
        """All the pauses of a day, by tenths of a second and after an hour by seconds, are fewer than 250 queues."""
        names = {round_delay(tenths / 10).name for tenths in [*range(36_000), *range(36_000, 864_001, 10)]}
        assert 100 < len(names) < 250


REASON = "because"


class TestJudge:
    """From an outcome to what becomes of the task."""

    @pytest.mark.parametrize("attempt", [1, 2, 3, 4, 5, 1000])
    @pytest.mark.parametrize("delays", [(), DELAYS])
    @pytest.mark.parametrize(
        ("outcome", "verdict"),
        [
            (Done(), "done"),
            (CannotRun(REASON), "return"),
            (Rejected(REASON), "dead"),
            (Rejected(REASON, "detail", 3), "dead"),
        ],
    )
    def test_what_needs_no_count(
        self, outcome: Outcome, verdict: Verdict, delays: tuple[Delay, ...], attempt: int
    ) -> None:
        """Done is done, rejected is dead, and a worker that can't run it returns it: at whichever attempt."""
        assert judge(outcome, attempt, delays) == verdict

    @pytest.mark.parametrize("outcome", [Failed(REASON), Failed(REASON, "detail", 1), Postponed(REASON)])
    @pytest.mark.parametrize(
        ("delays", "attempt", "verdict"),
        [
            (DELAYS, 1, Delay("1s", 1.0)),
            (DELAYS, 2, Delay("10s", 10.0)),
            (DELAYS, 3, Delay("1m", 60.0)),
            (DELAYS, 4, "dead"),
            (DELAYS, 5, "dead"),
            ((Delay("0.5m", 30.0),), 1, Delay("0.5m", 30.0)),
            ((Delay("0.5m", 30.0),), 2, "dead"),
            ((), 1, "dead"),
            ((), 2, "dead"),
        ],
    )
    def test_every_delay_is_a_retry(
        self, outcome: Outcome, delays: tuple[Delay, ...], attempt: int, verdict: Verdict
    ) -> None:
        """One after the other, under their own names, and after the last one the task is dead."""
        assert judge(outcome, attempt, delays) == verdict

    @pytest.mark.parametrize(
        ("delay", "attempt", "verdict"),
        [
            (30.0, 1, Delay("30s", 30.0)),
            (30.0, 3, Delay("30s", 30.0)),
            (61.0, 1, Delay("2m", 120.0)),
            (0.0, 1, Delay("100ms", 0.1)),
            (30.0, 4, "dead"),
            (0.0, 4, "dead"),
        ],
    )
    def test_a_task_may_choose_its_delay(self, delay: float, attempt: int, verdict: Verdict) -> None:
        """Rounded, at whichever attempt, and none at all is a choice too; more attempts it does not get."""
        assert judge(Postponed(REASON, delay), attempt, DELAYS) == verdict

    @given(
        st.lists(st.floats(0, LONGEST_DELAY).map(round_delay), max_size=8),
        st.lists(
            st.sampled_from([Done(), Failed(REASON), Rejected(REASON), Postponed(REASON)])
            | st.builds(Postponed, st.just(REASON), st.floats(0, LONGEST_DELAY)),
            min_size=10,
            max_size=10,
        ),
    )
    def test_attempts_are_bounded(self, delays: list[Delay], outcomes: list[Outcome]) -> None:
        """Whatever the outcomes, a task has an end after one attempt more than there are delays, at the latest."""
        attempts = 1
        while isinstance(judge(outcomes[attempts - 1], attempts, delays), Delay):
            attempts += 1
        assert attempts <= len(delays) + 1

    @given(st.lists(st.floats(0, LONGEST_DELAY).map(round_delay), max_size=8))
    def test_a_task_that_always_fails_gets_every_attempt(self, delays: list[Delay]) -> None:
        """All the delays in their order, and then the end."""
        verdicts = [judge(Failed(REASON), attempt, delays) for attempt in range(1, len(delays) + 2)]
        assert verdicts == [*delays, "dead"]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (Done(), ""),
        (Failed(REASON, "detail"), REASON),
        (Postponed(REASON, 3.0), REASON),
        (Rejected(REASON), REASON),
        (CannotRun(REASON), REASON),
    ],
)
def test_why_is_the_reason_alone(outcome: Outcome, reason: str) -> None:
    """One line for people, and none for what is done."""
    assert why(outcome) == reason
