"""What does the work of a task: pretended work, commands, Python functions. Handlers never touch AMQP."""
