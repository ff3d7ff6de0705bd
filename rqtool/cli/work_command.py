"""The command line of `rqtool work`: what its help says around the options, and where its command begins."""

from __future__ import annotations

import shlex
from itertools import islice
from shutil import which
from typing import Any

from rqtool.cli.command import Command
from rqtool.endpoint.urls import masked
from rqtool.errors import UsageError
from rqtool.run.program import why_not

EXAMPLES = """\
\b
Examples:
  rqtool work -- ./convert.sh {} {.}.png   {} is the task; stdin has it too
  rqtool work -q mail -j 8 -- ./send-mail  eight at a time, from queue mail
  rqtool work --drain -- ./convert.sh {}   exit when everything is done
  rqtool work --call tasks:resize          call a Python function instead
"""

REFERENCE = """\
\b
Exit codes of CMD:
  0         done: the task is acknowledged
  65        hopeless: the task goes to QUEUE.dead at once
  75        try again later, as after a failure, but don't report one
  126, 127  CMD can't be run: the task goes back, and the worker stops
  others    failed (so is a signal or --timeout): try again after the next of
            --retry-delays; after the last attempt the task goes to QUEUE.dead

\b
Environment of CMD:
  RQTOOL_TASK_QUEUE        the queue
  RQTOOL_TASK_ID           the message id
  RQTOOL_TASK_ATTEMPT      the number of this attempt, from 1
  RQTOOL_TASK_REDELIVERED  1 if a worker may have begun the task before
  RQTOOL_TASK_HEADER_NAME  the header NAME, for each header

\b
Signals:
  The first Ctrl-C, SIGTERM or SIGHUP stops gracefully: no new tasks, running
  ones finish, exit code 0. The second one stops at once: running tasks are
  killed, and the broker delivers them again.
"""


class WorkCommand(Command):
    options_title = "Tasks and commands"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse `--` without a command: an empty variable must not make the worker pretend and acknowledge a whole
        queue. Also refuse our own options behind a command without `--`: without its -q, a worker acknowledges another
        queue's tasks.
        """
        given = list(args)
        rest = super().parse_args(ctx, args)
        command = ctx.params["command"] or []
        if ctx.resilient_parsing:
            return rest
        if given[-1:] == ["--"] and not command:
            raise UsageError("There is no command after --", "Name one, or leave the -- out to pretend")
        if command and not command[0]:
            raise UsageError("The command is empty", "Name one, or leave it out to pretend")
        before = given[: len(given) - len(command)]
        if command and before[-1:] != ["--"]:
            self._refuse_misplaced(ctx, before, command)
        return rest

    def _refuse_misplaced(self, ctx: Any, before: list[str], command: list[str]) -> None:
        """Raises UsageError for a queue in place of the command, where other verbs take it, and for our options among
        the command's words, unless the command runs rqtool itself.
        """
        options: list[Any] = [param for param in self.get_params(ctx) if param.param_type_name == "option"]
        ours, rest = _told_apart(command, {name: not param.is_flag for param in options for name in param.opts})
        program = command[0]
        is_name = all(c.isalnum() or c in "._-" for c in program)
        if is_name and which(program) is None and (len(command) == 1 or "--" in command or ours):
            raise UsageError(
                f"The command can't be run: {why_not(program)}", f"A queue is named with -q: rqtool work -q {program}"
            )
        if ours and not any(word.rpartition("/")[2] == "rqtool" for word in command):
            raise UsageError(
                f"{ours[0].partition('=')[0]} comes behind the command",
                f"Write: {_line(*before, *ours, '--', *rest)}; or, if it is for {program}: "
                f"{_line(*before, '--', *command)}",
            )


def _told_apart(command: list[str], takes_value: dict[str, bool]) -> tuple[list[str], list[str]]:
    """Return the options among the words before a `--`, with their values, and the other words."""
    ours: list[str] = []
    rest: list[str] = []
    words = iter(command)
    for word in words:
        name = word.partition("=")[0]
        if word == "--":
            rest += [word, *words]
        elif name not in takes_value:
            rest.append(word)
        else:
            ours += [word, *islice(words, 1 if takes_value[name] and word == name else 0)]
    return ours, rest


def _line(*words: str) -> str:
    """A command line without the passwords of its URLs."""
    return shlex.join(["rqtool", "work", *(masked(word) if "://" in word else word for word in words)])
