"""The command line: one file per verb, flags → one call → output → exit code. Heavy imports wait for their verb."""
