"""`rqtool broker start | status | stop | url`."""

from __future__ import annotations

from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.cli.options import Json, Quiet
from rqtool.errors import Unreachable
from rqtool.output import emit, talker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rqtool.private_broker.cluster import PrivateBroker
    from rqtool.private_broker.node import Node

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.command()
def start(
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=9,
            metavar="N",
            help="Start a cluster of N nodes. Nodes can be added later, but not removed.",
            show_default="the nodes that exist; 1 for a new broker",
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> int:
    """Start the broker and wait until it is ready. The other commands find it automatically."""
    broker = _broker()
    if len(broker.running()) < (nodes or len(broker.members())):
        talker(quiet=quiet)("starting a private RabbitMQ; this takes some seconds")
    _show(broker.start(nodes), json=json, quiet=quiet)
    return 0


@app.command()
def status(json: Json = False, quiet: Quiet = False) -> int:
    """Show whether the broker is running, and where. Exit code 69 if no node is running."""
    _show(_members(), json=json, quiet=quiet)
    return 0


@app.command()
def url(json: Json = False, quiet: Quiet = False) -> int:  # noqa: ARG001
    """Print the broker's URL with user and password. Exit code 69 if no node is running.

    Pass it to your own programs in the environment: every user of the machine can see arguments.
    """
    members = _members()
    amqp_url = ",".join(node.amqp_url for node in members)
    if json:
        nodes = [{"name": n.name, "amqp_url": n.amqp_url, "api_url": n.full_api_url} for n in members]
        emit(dumps({"amqp_url": amqp_url, "api_url": ",".join(n.full_api_url for n in members), "nodes": nodes}))
    else:
        emit(amqp_url)
    return 0


@app.command()
def stop(json: Json = False, quiet: Quiet = False) -> int:
    """Stop all nodes. Queues and tasks are kept for the next start."""
    pids = [node.pid for node in _broker().stop()]
    if json:
        emit(dumps({"stopped": pids}))
    stopped = ", ".join(map(str, pids))
    talker(quiet=quiet)(f"stopped (pid {stopped})" if stopped else "no private RabbitMQ was running")
    return 0


def _broker() -> PrivateBroker:
    from rqtool.private_broker.cluster import PrivateBroker
    from rqtool.private_broker.home import default_home

    return PrivateBroker(default_home())


def _members() -> Sequence[Node]:
    """Return all nodes. Raises Unreachable if none is running."""
    members = _broker().members()
    if not any(node.pid for node in members):
        raise Unreachable("The private RabbitMQ is not running", "Start it with: rqtool broker start")
    return members


def _show(members: Sequence[Node], *, json: bool, quiet: bool) -> None:
    """Print the addresses, without the password; of a cluster also each node, without a pid if it is not running."""
    amqp_url = ",".join(str(node.broker_url) for node in members)
    api_url = ",".join(node.api_url for node in members)
    pids = [node.pid for node in members if node.pid]
    home = str(members[0].broker_home)
    if json:
        nodes = [
            {"name": n.name, "amqp_url": str(n.broker_url), "api_url": n.api_url, "pid": n.pid or None} for n in members
        ]
        whole = {"amqp_url": amqp_url, "api_url": api_url, "pid": pids[0], "home": home, "nodes": nodes}
        emit(dumps(whole))
    elif not quiet:
        emit(f"AMQP        {amqp_url}")
        emit(f"management  {api_url}")
        emit("password    see: rqtool broker url")
        emit(f"pid         {' '.join(map(str, pids))}")
        emit(f"home        {home}")
        for node in members if len(members) > 1 else ():
            emit(f"node        {node.name}  {f'{node.broker_url}  pid {node.pid}' if node.pid else 'is not running'}")
