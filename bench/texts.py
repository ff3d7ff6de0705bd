"""What RESULTS.md says besides the figures."""

TITLES = {
    "stream": "A stream of tasks",
    "calls": "Functions that do nothing",
    "commands": "A command for each task",
    "startup": "Whole commands",
    "latency": "From sending to the start of the work",
    "memory": "Peak memory",
    "growth": "More workers, larger prefetch",
}
"""The sections, in the order of the report."""

INTRODUCTION = """\
# How fast rqtool is

Written by `make bench`. The same broker, the same kind of queue, the same tasks for all. They are measured in turn
(A B C A B C …), five rounds unless it says otherwise: a figure is the median of the rounds, a comparison the median of
what was compared within each round. CPU is that of the program, not of the broker.

![Bars: rates of rqtool and of the others](results.svg)
"""

NOTES = {
    "stream": """
Persistent messages from a file. `rqtool send` and `amqp-publish` are timed beside each other as whole processes, start
and end included. The others are scripts with a clock of their own, from the connection's beginning to the last confirm,
without the interpreter's start and reading the input; beside them stands rqtool by its own clock, reading included. Raw
frames, encoded before the clock starts and written to a plain socket in the same window as rqtool's, are the limit for
any sender with confirms. `amqp-publish` asks for no confirm, and sends the line end with each line. dramatiq and celery
put the line into an envelope of theirs, and wait for each confirm before they send the next task.
""",
    "calls": """
Tasks per second from the first tenth to the ninth: neither the start nor the end counts. Each consumer's own code
stamps them. All acknowledge after the work, with a prefetch of 100.
""",
    "commands": """
`cat` for each task, with the body on stdin and a prefetch of 10, counted by what comes out after the first tenth.
`xargs` starts `echo` for each line without any broker: what starting processes costs by itself.
""",
    "startup": """
Whole processes, fifteen rounds. `import …` is Python with these modules and nothing else.
""",
    "latency": """
A message every 5 ms from one connection to an idle worker: the time from publishing to the first line of the function.
""",
    "memory": """
The largest resident set of the process, one run each.
""",
    "growth": """
Functions that do nothing, as above: worker processes of `rqtool work --call` on one queue, all there before the first
task, with a prefetch of 100; and one worker with other prefetches.
""",
}
"""How each section is measured."""
