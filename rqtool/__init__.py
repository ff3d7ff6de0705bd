"""rqtool: a durable work queue for the command line, on RabbitMQ."""

__version__ = "0.1.0"
