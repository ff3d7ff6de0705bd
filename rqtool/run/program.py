"""Explains why a program can't be run: for a script, the system's error says little, or is about its interpreter."""

from __future__ import annotations

import errno
import os

_HEAD = 256
"""Bytes in which Linux looks for the interpreter."""


def why_not(program: str, error: OSError | None = None) -> str:
    """Return why, with the program's name. `error`: what the system said; None: the program was not found."""
    import shlex  # only here: runners start without these
    import shutil

    path = program if "/" in program else shutil.which(program, os.F_OK) or ""
    if os.path.isdir(path):
        return f"{program!r} is a folder"
    if os.path.exists(path) and not os.access(path, os.X_OK):
        return f"{program!r} is not executable (chmod +x {shlex.quote(path)})"
    if error is not None:
        return _of_script(program, path, error.errno) or f"{program!r}: {(error.strerror or str(error)).lower()}"
    if any(c.isspace() or c in "|&;<>$`" for c in program):
        line = program.replace("{}", '"$1"')  # a task is no code: see rqtool.run.code_injection
        task = "" if line == program else " sh {}"
        return f"{program!r} is no program (a line for a shell goes behind sh -c: sh -c {shlex.quote(line)}{task})"
    if "/" in program:
        return f"{program!r} is not there"
    here = f" (the file in this folder is ./{shlex.quote(program)})" if os.path.exists(program) else ""
    return f"{program!r} is not on the PATH{here}"


def _of_script(program: str, path: str, number: int | None) -> str:
    """Return what is wrong with the first line of a script. Empty: nothing, or it can't be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return ""
    is_script = head.startswith(b"#!")
    is_binary = b"\0" in head or head.startswith(b"\x7f")
    if number == errno.ENOEXEC and not (is_script or is_binary):
        return f"{program!r} has no first line such as #!/bin/sh"
    if number != errno.ENOENT or not is_script:
        return ""
    line = head[2:].split(b"\n", 1)[0].strip(b" \t")
    named = os.fsdecode(line.replace(b"\t", b" ").split(b" ")[0])
    if named.endswith("\r"):
        return f"the lines of {program!r} end with CR LF, and so does the name of its interpreter, {named!r}"
    return f"{named!r}, the interpreter of {program!r}, is not there"
