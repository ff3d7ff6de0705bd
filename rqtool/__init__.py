"""rqtool: a durable work queue for the command line, on RabbitMQ.

`Task`, `Retry` and `Reject` are for functions that `rqtool work --call` runs.
"""

from rqtool.run.task import Reject, Retry, Task

__version__ = "0.5.0"

__all__ = ["Reject", "Retry", "Task", "__version__"]
