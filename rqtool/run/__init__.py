"""Runs tasks in runner processes: commands, Python functions, pretended work. Knows nothing of AMQP."""
