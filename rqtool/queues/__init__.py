"""What the queues hold, who holds it, and what that means."""
