"""Refuses a placeholder where a program would take the task for code, or for an option with code. Pure.

A task comes from anyone who may send. As an argument it is data; in the text behind `sh -c` it would be a program.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from rqtool.errors import UsageError
from rqtool.run.placeholders import finder


@dataclass(frozen=True, slots=True)
class _Program:
    """How a program takes code from its arguments. Options are one letter each."""

    safe: str
    """The arguments that go between the program's name and a task that is data."""
    code: str
    """Options whose value is code; of a shell, a flag that makes its first operand code."""
    values: str
    """Options with another value."""
    attached: str = ""
    """Options whose value is the rest of their word, even if that is empty."""
    code_is_last: bool = False
    """Whether everything after the code is data; else the program looks for more options there."""


_SHELL = _Program("""-c 'work "$1"' sh""", code="c", values="oO", code_is_last=True)
_PYTHON = _Program("-c 'import sys; work(sys.argv[1])'", code="cm", values="WX", code_is_last=True)
_NODE = _Program("-e 'work(process.argv[1])' --", code="ep", values="rC")
_PROGRAMS = {
    **dict.fromkeys(("sh", "bash", "dash", "zsh", "ksh", "mksh", "ash", "rbash", "rksh", "yash"), _SHELL),
    **dict.fromkeys(("python", "pypy"), _PYTHON),
    **dict.fromkeys(("node", "nodejs"), _NODE),
    "perl": _Program("-e 'work($ARGV[0])' --", code="eEMm", values="I", attached="iFCDxV"),
    "ruby": _Program("-e 'work(ARGV[0])' --", code="e", values="IrCE", attached="iFKTWx"),
    "php": _Program("-r 'work($argv[1]);' --", code="rBRE", values="cdfFSt"),
    "env": _Program("work", code="S", values="uC"),
}
_LONG_CODE = ("--eval", "--print", "--split-string")
_LONG_VALUES = ("--rcfile", "--init-file", "--require", "--import", "--loader", "--unset", "--chdir")
_WRAPPERS = {"env": "CSu", "nice": "n", "ionice": "Pcnpu", "timeout": "ks", "sudo": "CDRTUghprtu", "doas": "Cu"}
_WRAPPERS |= dict.fromkeys(("nohup", "setsid", "busybox"), "") | {"stdbuf": "eio", "time": "fo", "chrt": "DPT"}
"""Programs that run another one, and their options with a value, but for long ones."""
_MARK = "\0"
"""Stands for every placeholder below: no argument can hold it."""


def check_placeholders(command: list[str], placeholder: str) -> None:
    """Raises UsageError where a task would be code, or could be."""
    pattern = finder(placeholder)
    words = [pattern.sub(_MARK, word) for word in command]
    for place, word in enumerate(words):
        is_program = _is_program(words, place)
        if is_program and word.startswith(_MARK):
            raise UsageError("The task would be the program: it is data and never code", "Name a program before it")
        name = os.path.basename(word)
        program = _PROGRAMS.get(re.sub(r"[-.\d]+$", "", name))
        if program is None:
            continue
        code, operand = _read_options(program, words, place + 1)
        if any(_MARK in words[at] for at in code):
            raise UsageError(
                f"The code of {name} holds a placeholder: a task is data and never code",
                f"Give it the task as an argument: {name} {program.safe} {placeholder} (if the code itself needs the "
                "letters of the placeholder, choose others with -I)",
            )
        if program is _SHELL or name in _WRAPPERS or not is_program:  # `grep python {}` is harmless
            continue
        if operand < len(words) and words[operand].startswith(_MARK):
            raise UsageError(
                f"{name} would take a task that begins with a dash for an option, and options can be code",
                f"Put -- before {command[operand]}",
            )


def _is_program(words: list[str], place: int) -> bool:
    """Whether a word seems to be the program: only wrappers and their arguments are before it."""
    return not _is_value(words, place) and all(
        os.path.basename(words[at]) in _WRAPPERS
        or words[at].startswith("-")
        or "=" in words[at]
        or words[at][:1].isdigit()
        or _is_value(words, at)
        or (at > 0 and words[at - 1].startswith("--") and words[at - 1] != "--")  # perhaps a value
        for at in range(place)
    )


def _is_value(words: list[str], place: int) -> bool:
    """Whether a word is the value of a wrapper's option, or the time of timeout(1)."""
    names = [os.path.basename(word) for word in words[:place]]
    wrapper = next((name for name in reversed(names) if name in _WRAPPERS), None)
    if wrapper is None or names[-1] == "timeout":
        return wrapper is not None
    # What follows a letter with a value in the same word is that value.
    return re.fullmatch(f"-[^-{_WRAPPERS[wrapper]}]*[{_WRAPPERS[wrapper]}?]", names[-1]) is not None


def _read_options(program: _Program, words: list[str], at: int) -> tuple[list[int], int]:
    """Return the places of the words that hold code, and that of the first operand that could also be an option."""
    code: list[int] = []
    code_is_operand = False
    could_be_option = True
    while at < len(words) and words[at][:1] in ("-", "+") and could_be_option:
        word = words[at]
        at += 1
        if word == "--":
            could_be_option = False
        elif word.startswith("--"):
            name, is_attached, _ = word.partition("=")
            if _MARK in name or (name in _LONG_CODE and is_attached):
                code.append(at - 1)
            elif name in _LONG_CODE + _LONG_VALUES and not is_attached:
                if name in _LONG_CODE:
                    code.append(at)
                at += 1
        elif program is _SHELL:
            if _MARK in word:
                code.append(at - 1)
            code_is_operand |= program.code in word
            at += sum(letter in program.values for letter in word)
        else:
            is_code, is_next = _read_letters(program, word)
            if is_code:
                code.append(at if is_next else at - 1)
                could_be_option = not program.code_is_last
            at += is_next
    if code_is_operand:
        code.append(at)
        could_be_option = False
    return [place for place in code if place < len(words)], at if could_be_option else len(words)


def _read_letters(program: _Program, word: str) -> tuple[bool, bool]:
    """Return whether one of the options in a word takes code, and whether its value is the next word."""
    for place, letter in enumerate(word[1:], start=2):
        rest = word[place:]
        if letter == _MARK:
            return True, False
        if letter in program.code:
            return True, not rest.strip(program.code)
        if letter in program.values:
            return False, not rest
        if letter in program.attached:
            break
    return False, False
