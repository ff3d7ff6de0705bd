"""Messages that lie in a queue: dead letters are listed, retried and purged."""
