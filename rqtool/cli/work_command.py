"""The command line of `rqtool work`: what its help says around the options, and where its command begins."""

from __future__ import annotations

from shutil import which
from typing import Any

from rqtool.cli.command import Command
from rqtool.errors import UsageError
from rqtool.output import complain

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
  75        try again later, as after a failure, but without reporting one
  126, 127  CMD can't be run: the task goes back, and the worker stops
  others    failed (so is a signal or --timeout): try again after the next of
            --retry-delays; after the last attempt the task goes to QUEUE.dead

\b
Environment of CMD:
  RQTOOL_TASK_QUEUE        the queue
  RQTOOL_TASK_ID           the message id
  RQTOOL_TASK_ATTEMPT      the number of this attempt, from 1
  RQTOOL_TASK_REDELIVERED  1 if another worker may have begun the task before
  RQTOOL_TASK_HEADER_NAME  the header NAME, for each header

\b
Signals:
  The first Ctrl-C, SIGTERM or SIGHUP stops gracefully: no new tasks, running
  ones finish, exit code 0. The second one stops at once: running tasks are
  killed, and the broker delivers them again.
"""

OURS = {"--drain", "--max-tasks", "--no-brake", "--retry-delays"}
"""Options that hardly any other command has."""


class WorkCommand(Command):
    options_title = "Tasks and commands"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse `--` without a command: an empty variable after it must not pretend its way through a queue."""
        given = list(args)
        rest = super().parse_args(ctx, args)
        command = ctx.params["command"] or []
        if given[-1:] == ["--"] and not command:
            raise UsageError("There is no command after --", "Name one, or leave the -- out to pretend")
        if not (ctx.params["quiet"] or ctx.resilient_parsing) and (option := _misplaced(given, command)):
            complain(
                f"{option} goes to {command[0]}: options of rqtool come before the command. If that is intended, "
                "put -- before the command"
            )
        if "--" in command[1:2] and which(command[0]) is None and not ctx.resilient_parsing:
            complain(
                f"{command[0]} is run as the command. A queue is named with -q: rqtool work -q {command[0]} -- CMD"
            )
        return rest


def _misplaced(args: list[str], command: list[str]) -> str | None:
    """Return the option of ours that stands behind the command, unless that may be meant."""
    if "--" in args or any("rqtool" in word for word in command):
        return None
    return next((name for word in command if (name := word.partition("=")[0]) in OURS), None)
