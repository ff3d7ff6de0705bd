"""What stands for a task in an argument becomes what GNU parallel makes of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqtool.run.placeholders import Template

# Printed by GNU parallel 20221122 for {.}, {/}, {//} and {/.}.
PARALLEL = [
    ("a/b.c.gz", "a/b.c", "b.c.gz", "a", "b.c"),
    ("a.txt", "a", "a.txt", ".", "a"),
    ("a", "a", "a", ".", "a"),
    (".bashrc", "", ".bashrc", ".", ""),
    ("a/.bashrc", "a/", ".bashrc", "a", ""),
    ("a.d/b", "a.d/b", "b", "a.d", "b"),
    ("a.d/b.c", "a.d/b", "b.c", "a.d", "b"),
    ("a/", "a/", "", ".", ""),
    ("a.b/", "a.b/", "", ".", ""),
    ("/", "/", "", "/", ""),
    ("//", "//", "", "/", ""),
    ("/a", "/a", "a", "/", "a"),
    ("/a.b", "/a", "a.b", "/", "a"),
    ("//a", "//a", "a", "/", "a"),
    ("a//b.c", "a//b", "b.c", "a", "b"),
    ("a///b.c", "a///b", "b.c", "a", "b"),
    ("a/b//", "a/b//", "", "a", ""),
    ("a.b/c/", "a.b/c/", "", "a.b", ""),
    ("a.", "a", "a.", ".", "a"),
    ("a..b", "a.", "a..b", ".", "a."),
    ("", "", "", ".", ""),
    (".", "", ".", ".", ""),
    ("..", ".", "..", ".", "."),
    ("..a", ".", "..a", ".", "."),
    ("a/..", "a/.", "..", "a", "."),
    ("../a", "../a", "a", "..", "a"),
    ("./a.b", "./a", "a.b", ".", "a"),
    (".a.b", ".a", ".a.b", ".", ".a"),
    ("a b.c", "a b", "a b.c", ".", "a b"),
    ("a/b.c\n", "a/b", "b.c\n", "a", "b"),
]
FORMS = ["{}", "{.}", "{/}", "{//}", "{/.}"]


def _filled(*arguments: str, body: bytes = b"a/b.c", placeholder: str = "{}") -> list[bytes]:
    return Template(list(arguments), placeholder).fill(body)


@pytest.mark.parametrize("forms", PARALLEL)
def test_the_forms(forms: tuple[str, ...]) -> None:
    """Extensions, hidden files, dots in directories, slashes at the end."""
    assert _filled(*FORMS, body=forms[0].encode()) == [form.encode() for form in forms]


@pytest.mark.parametrize(
    ("argument", "filled"),
    [
        ("x{}.bak", b"xa/b.c.bak"),
        ("--in={}", b"--in=a/b.c"),
        ("{}{}", b"a/b.ca/b.c"),
        ("{/}{//}{/.}", b"b.cab"),
        ("{{}}", b"{a/b.c}"),
        ("{{.}", b"{a/b"),
        ("{./}", b"{./}"),
        ("{//.}", b"{//.}"),
        ("{///}", b"{///}"),
        ("{ }", b"{ }"),
    ],
)
def test_anywhere(argument: str, filled: bytes) -> None:
    """As parallel does it."""
    assert _filled(argument) == [filled]


def test_a_task_is_not_looked_at_again() -> None:
    """What a task itself says is no placeholder."""
    assert _filled("{}{.}", body=b"{/}.{}") == [b"{/}.{}{/}"]


def test_another_placeholder() -> None:
    """It takes the place of {} alone; it may be any letters, also those of another form."""
    assert _filled("@", "{}", "{.}", "x@y", placeholder="@") == [b"a/b.c", b"{}", b"a/b", b"xa/b.cy"]
    assert _filled("{.}", "{}", placeholder="{.}") == [b"a/b.c", b"{}"]
    assert _filled("{", "{.}", placeholder="{") == [b"a/b.c", b"a/b"]


def test_without_a_placeholder() -> None:
    """Nothing has to be read for it."""
    assert not Template(["a", "{x}"]).takes_body
    assert Template(["a", "{/}"]).takes_body


@given(st.binary())
def test_any_bytes(body: bytes) -> None:
    """Every byte arrives, and the parts are those of the whole."""
    whole, bare, base = _filled("<{}>", "{.}", "{/}", body=body)
    assert whole == b"<" + body + b">"
    assert body.startswith(bare)
    assert body.endswith(base)
    assert b"/" not in base
