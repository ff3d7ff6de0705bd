"""Which tasks are meant, by id or by what they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.errors import RqtoolError, UsageError
from rqtool.messages import filter as meant
from rqtool.messages.filter import ANY, CANDIDATES, MOST_HELD, Filter, Ids, parse_header, parse_pattern
from rqtool.messages.listing import DeadTask, read_dead_task

FAILED_AT = 1_000_000


def task(body: bytes = b"", error: str = "", at: int | None = FAILED_AT) -> DeadTask:
    return read_dead_task("q", "id", at, {"x-rqtool-error": error}, body)


@pytest.mark.parametrize(
    ("pattern", "body", "found"),
    [
        ("b.d", b"a bad one", True),
        ("^two$", b"one\ntwo\nthree", True),
        ("^a.b$", b"a\x0cb", True),
        ("^$", b"", True),
        ("^wo", b"two", False),
        ("[é]", "café".encode(), True),
        ("\udcff", b"\x00\xff", True),
        ("x", b"", False),
        (r"a\sb", b"a\nb", False),
        ("a[^z]*b", b"a\nb", False),
    ],
)
def test_grep(pattern: str, body: bytes, found: bool) -> None:
    """In the whole body, line by line, text or not; a byte that is no UTF-8 is what Python makes of it in arguments."""
    assert Filter(grep=parse_pattern(pattern)).matches(task(body), body) == found


@pytest.mark.parametrize(
    ("pattern", "found"), [("^exit code 3$", True), ("no such", True), ("^no", True), ("exit code 4", False)]
)
def test_reason(pattern: str, found: bool) -> None:
    """In the reason, and in what is kept of stderr."""
    assert Filter(reason=parse_pattern(pattern)).matches(task(error="exit code 3\nline\nno such file"), b"") == found


def test_what_the_broker_gave_up() -> None:
    """Its reason is found by the words in which `list` shows it."""
    expired = read_dead_task("q", "id", FAILED_AT, {"x-death": [{"reason": "expired"}]}, b"")
    assert Filter(reason=parse_pattern("^given up by the broker: expired$")).matches(expired, b"")


def test_older_than() -> None:
    """A task of unknown age is not older than anything."""
    assert Filter(failed_before=FAILED_AT).matches(task(), b"")
    assert not Filter(failed_before=FAILED_AT - 1).matches(task(), b"")
    assert not Filter(failed_before=FAILED_AT * 2).matches(task(at=None), b"")


def test_headers() -> None:
    """All of them, written as text; one that is missing is not an empty one."""
    found = {"color": "red", "n": 3, "raw": b"x=y", "empty": "", "on": True}
    for wanted in (["on=true"], ["on=True"], ["color=red"], ["n=3", "raw=x=y"], ["empty="], []):
        assert Filter(headers=tuple(parse_header(each) for each in wanted)).matches(task(), b"", found)
    for wanted in (["color=blue"], ["color=red", "n=4"], ["missing="], ["Color=red"]):
        assert not Filter(headers=tuple(parse_header(each) for each in wanted)).matches(task(), b"", found)
    for nonsense in ("color", "=red", ""):
        with pytest.raises(UsageError, match="NAME=VALUE"):
            parse_header(nonsense)


def test_all_must_match() -> None:
    both = Filter(grep=parse_pattern("a"), reason=parse_pattern("b"))
    assert both.matches(task(b"a", "b"), b"a")
    assert not both.matches(task(b"x", "b"), b"x")
    assert not both.matches(task(b"a", "x"), b"a")
    assert ANY.matches(task(at=None), b"\xff")


@pytest.mark.parametrize("pattern", ["(", "*", "[", "a{99999999999}"])
def test_no_regular_expression(pattern: str) -> None:
    with pytest.raises(UsageError):
        parse_pattern(pattern)


def chosen(wanted: list[str], names: list[str | None]) -> tuple[list[int], Ids[int]]:
    ids: Ids[int] = Ids(wanted)
    at_once = [position for position, name in enumerate(names) if ids.chooses(name, position, 1)]
    return sorted(at_once + ids.waiting()), ids


@pytest.mark.parametrize(
    ("wanted", "names", "positions"),
    [
        (["abc"], ["abc", "abd"], [0]),
        (["ab"], ["abc", "xyz", None], [0]),
        (["ab"], ["abc", "abd"], []),
        (["ab"], ["abc", "ab", "abd"], [1]),
        (["ab"], ["ab", "abc"], [0]),
        (["ab"], ["abc", "x", "abc"], [0, 2]),
        (["x", "ab"], ["abc", "x", "abd"], [1]),
        (["ab", "abc"], ["abcd", "abx"], [0]),
        (["abc", "abcd"], ["abcde"], [0]),
        (["ab…d"], ["abcd", "abce", "bd", "abd"], []),
        (["ab…d"], ["abcd", "abce", "bd"], [0]),
        (["ab…bc"], ["abc"], []),
        (["…"], ["abc"], []),
        (["…c"], ["abc"], []),
    ],
)
def test_ids(wanted: list[str], names: list[str | None], positions: list[int]) -> None:
    """A whole id means its tasks, whatever else begins so; a beginning the tasks with the only id that has it."""
    assert chosen(wanted, names)[0] == positions


def test_what_is_missing_or_ambiguous() -> None:
    _, ids = chosen(["x", "ab", "abc", "q"], ["abc", "abd", "q", "qq", "qqq"])
    assert ids.missing == ["x"]
    assert ids.ambiguous == {"ab": ["abc", "abd"]}


def test_not_every_candidate_is_named() -> None:
    _, ids = chosen(["a"], [f"a{number}" for number in range(CANDIDATES * 3)])
    assert ids.ambiguous == {"a": [*(f"a{number}" for number in range(CANDIDATES)), "…"]}


def test_what_waited_is_in_order() -> None:
    """That of the queue, and not that in which the ids were given."""
    ids: Ids[str] = Ids(["b", "a"])
    assert not any(ids.chooses(name, name, 1) for name in ("a1", "b1", "a1"))
    assert ids.waiting() == ["a1", "b1", "a1"]


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """By number and by bytes; a single task may be of any size, and tasks of different ids don't wait."""
    with pytest.raises(RqtoolError, match="Give the whole id"):
        chosen(["a"], ["ab"] * (MOST_HELD + 1))
    assert len(chosen(["ab"], ["ab"] * (MOST_HELD * 2))[0]) == MOST_HELD * 2
    monkeypatch.setattr(meant, "MOST_BYTES", 0)
    assert chosen(["a"], ["ab"])[0] == [0]
    assert chosen(["a"], ["ab", "ac", "ad"])[0] == []
    with pytest.raises(RqtoolError):
        chosen(["a"], ["ab", "ab"])


NAMES = st.text("ab", min_size=1, max_size=4)


@given(st.lists(NAMES, max_size=3, unique=True), st.lists(st.none() | NAMES, max_size=12))
def test_ids_of_any_shape(wanted: list[str], names: list[str | None]) -> None:
    """The same as looking at all ids at once: each wanted one is found, missing or ambiguous."""
    expected: set[int] = set()
    missing, ambiguous = [], []
    for each in wanted:
        known = {name for name in names if name is not None}
        found = {each} & known or {name for name in known if name.startswith(each)}
        if len(found) == 1:
            expected |= {position for position, name in enumerate(names) if name in found}
        elif found:
            ambiguous.append(each)
        else:
            missing.append(each)
    positions, ids = chosen(wanted, names)
    assert positions == sorted(expected)
    assert (ids.missing, list(ids.ambiguous)) == (missing, ambiguous)
