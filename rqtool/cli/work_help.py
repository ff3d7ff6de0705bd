"""What `rqtool work --help` says above and below the options."""

from __future__ import annotations

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
