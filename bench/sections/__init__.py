"""What is measured, a module per section: each has `measure(broker, size)`, which returns its groups."""
