"""What rqtool is measured against. Each module is a program of its own; the broker's address is in RQTOOL_URL."""
