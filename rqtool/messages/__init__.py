"""Messages in a queue: dead letters are listed, retried and purged."""
