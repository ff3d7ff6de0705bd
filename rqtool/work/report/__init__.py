"""What a worker says: events, output of tasks, progress, the job log."""
