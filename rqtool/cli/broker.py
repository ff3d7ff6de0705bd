"""`rqtool broker start | status | stop`."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING

import typer

from rqtool.cli.options import Json, Quiet
from rqtool.cli.output import emit, talker

if TYPE_CHECKING:
    from rqtool.localbroker import Node

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="A private RabbitMQ on this machine.")


@app.command()
def start(json: Json = False, quiet: Quiet = False) -> int:
    """Start it, and wait until it answers; the other verbs find it by themselves."""
    from rqtool.localbroker import LocalBroker, default_home

    broker = LocalBroker(default_home())
    if broker.status() is None:
        talker(quiet=quiet)("starting a private RabbitMQ; this takes some seconds")
    _show(broker.start(), json=json, quiet=quiet)
    return 0


@app.command()
def status(json: Json = False, quiet: Quiet = False) -> int:
    """Say whether it runs, and where. Exit code 69 where it doesn't."""
    from rqtool.errors import Unreachable
    from rqtool.localbroker import running_node

    node = running_node()
    if node is None:
        raise Unreachable("The private RabbitMQ is not running", "Start it with: rqtool broker start")
    _show(node, json=json, quiet=quiet)
    return 0


@app.command()
def stop(quiet: Quiet = False) -> int:
    """Stop it. Its queues and tasks stay, for the next start."""
    from rqtool.localbroker import LocalBroker, default_home

    stopped = LocalBroker(default_home()).stop()
    talker(quiet=quiet)("no private RabbitMQ was running" if stopped is None else f"stopped (pid {stopped.pid})")
    return 0


def _show(node: Node, *, json: bool, quiet: bool) -> None:
    if json:
        emit(dumps({"amqp_url": node.amqp_url, "api_url": node.api_url, "pid": node.pid, "home": str(node.home)}))
    elif not quiet:
        emit(f"AMQP        {node.amqp_url}")
        emit(f"management  {node.api_url}")
        emit(f"pid         {node.pid}")
        emit(f"home        {node.home}")
