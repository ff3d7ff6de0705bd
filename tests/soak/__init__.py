"""A randomised soak, in the manner of Jepsen's test of RabbitMQ: load and faults drawn from a seed, then an account
by ids. `python -m tests.soak --help`; `make soak`.

scenario   everything that a seed decides: load, new queues, faults. Pure
tasks      what a task is, and the function that does it; task.sh is the command
broker     the private broker that is broken, and eyes on it
senders    load: offer tasks until each is confirmed
new_queues load: queues that are made in the middle of it
workers    load: keep the workers up, and see how they end
reader     who reads what a worker prints, and can be stalled
nemeses    the faults
ledger     what became of each task. Pure
course     the whole run, from start to account
report     the line that tells it
"""
