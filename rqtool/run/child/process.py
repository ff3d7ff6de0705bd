"""The start of a runner process, which rqtool.run.runner launches and which ends with its worker."""

from __future__ import annotations

import os
import sys
from mmap import mmap

from rqtool.run.child.worker import Worker
from rqtool.run.encoding import Spec, unpack_values


def main() -> None:
    """Arguments: our ends of the sockets and the lifeline, and the memory that we share with the worker."""
    *ends, number = map(int, sys.argv[1:])
    del sys.argv[1:]
    worker = Worker(*ends)
    shared = mmap(number, 0)
    os.close(number)
    first = worker.wait_and_take()
    if first is None:
        return
    first.drop()
    spec = Spec(**unpack_values(first.head))
    try:
        if spec.kind == "command":
            from rqtool.run.child.command import Commands

            Commands(worker, spec, shared).serve()
        else:
            from rqtool.run.child.function import serve_function

            serve_function(worker, spec, shared)
    except BrokenPipeError:  # the worker is gone, or wants no answers any more
        return
