"""RabbitMQ's own tool: it needs the Erlang cookie of a node, and no user. https://www.rabbitmq.com/docs/cli"""

from __future__ import annotations

import subprocess

from rqtool.errors import RqtoolError
from rqtool.private_broker.node import Node
from rqtool.private_broker.server import find_server

_SECONDS = 120.0


def rabbitmqctl(node: Node, command: str, *arguments: str, seconds: float = _SECONDS) -> str:
    """Return what the command prints about the node. Raises RqtoolError if it fails, or takes longer than `seconds`: a
    node that hangs never answers.
    """
    try:
        ended = subprocess.run(
            [find_server().with_name("rabbitmqctl"), "-q", command, *arguments],
            env=node.environment,
            cwd=node.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"it did not end within {seconds:.0f} s"
    else:
        if ended.returncode == 0:
            return ended.stdout
        said = (ended.stderr or ended.stdout).strip() or f"exit code {ended.returncode}"
        why = said.splitlines()[-1]
    raise RqtoolError(f"rabbitmqctl {command} failed for {node.name}: {why}", f"Read {node.log}")
