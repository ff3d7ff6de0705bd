"""The start of a runner process, which rqtool.run.runner launches and which ends with its worker."""

from __future__ import annotations

import os
import sys

from rqtool.run.child.worker import Worker
from rqtool.run.encoding import Spec, unpack_values


def main() -> None:
    """Arguments: our ends of the sockets and the lifeline, and the memory for the process groups of commands."""
    *ends, groups = map(int, sys.argv[1:])
    del sys.argv[1:]
    worker = Worker(*ends)
    first = worker.wait_and_take()
    if first is None:
        return
    first.drop()
    spec = Spec(**unpack_values(first.head))
    try:
        if spec.kind == "command":
            from rqtool.run.child.command import serve_commands

            serve_commands(worker, spec, groups)
        else:
            from rqtool.run.child.function import serve_function

            os.close(groups)
            serve_function(worker, spec)
    except BrokenPipeError:  # the worker is gone, or wants no answers any more
        return
