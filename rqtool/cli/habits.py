"""Options that people type by habit, from GNU parallel and xargs, and what rqtool has instead. Pure."""

from __future__ import annotations

_HINTS = {
    "-P -j --jobs --max-procs": "Use work -j N",
    "--retries": "Use work --retry-delays 1s,10s: two pauses make three attempts",
    "--eta --progress": "Use work --bar; send shows its progress on a terminal",
    "--results": "Use work --joblog FILE for exit codes and times; the command can write its output to a file",
    "--group -u --ungroup --lb --line-buffer": "Use work --output group, direct or line",
    "--timeout": "Use work --timeout 60s; send --give-up 60s limits how long it waits for the broker",
    "-k --keep-order": "One job keeps the order of the queue; with several, tasks end in any order",
    "-n -N -L --max-args": "Each command gets one task; join lines before you send them",
    "-0 --null": "Use send -0",
    "-a --arg-file": "Use send --from FILE",
    "-d --delimiter": "Tasks are lines, or end at NUL with send -0",
    "--pipe": "The task is on stdin anyway; send --whole makes one task of the whole input",
    "--delay": "Tasks begin as soon as a job is free; send --delay 2s delivers them later",
    "--dry-run": "There is none; work -- echo {} prints the tasks, and takes them off the queue",
    "--resume --resume-failed": "What is not done stays in the queue; rqtool dead retry puts back what failed",
    "-S --sshlogin": "Start rqtool work on each host",
    "-r --no-run-if-empty": "Leave it out: without a task no command runs",
}

INSTEAD = {option: hint for options, hint in _HINTS.items() for option in options.split()}
"""For the options of these names that `rqtool send` or `rqtool work` does not have itself."""
