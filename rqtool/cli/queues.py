"""`rqtool queues`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.cli.endpoint import with_broker
from rqtool.cli.options import Json, Quiet
from rqtool.cli.output import complain, emit
from rqtool.endpoint import Endpoint
from rqtool.errors import UsageError
from rqtool.text import is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rqtool.management import Queue


@with_broker(api=True)
def queues(
    *,
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", help="Only these queues.")] = None,
    vhost: Annotated[
        str | None, typer.Option("--vhost", metavar="NAME", help="The vhost to look at.", show_default="the URL's")
    ] = None,
    all_vhosts: Annotated[bool, typer.Option("--all-vhosts", help="Look at every vhost.")] = False,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    """Show how many tasks are ready, and how many are held without an ack."""
    from rqtool.management import Management

    if vhost is not None and all_vhosts:
        raise UsageError("--vhost and --all-vhosts contradict each other", "Use one of the two")
    if vhost is not None and not is_text(vhost):
        raise UsageError(f"{vhost!r} is no vhost", "Give a name in UTF-8")
    found = Management(endpoint.api_urls, endpoint.tls).queues(None if all_vhosts else vhost or endpoint.vhost)
    missing = [name for name in names or [] if name not in {queue.name for queue in found}]
    shown = [queue for queue in found if not names or queue.name in names]
    if not quiet:
        _show(shown, vhosts=all_vhosts, json=json)
    for name in missing:
        complain(f"There is no queue {name!r} here. See the names with: rqtool queues --all-vhosts")
    return 1 if missing else 0


def _show(found: Sequence[Queue], *, vhosts: bool, json: bool) -> None:
    if json:
        from rqtool.listing import as_json

        emit(as_json(found))
    elif sys.stdout.isatty():
        from rqtool.render import print_queues

        print_queues(found, vhosts=vhosts)
    else:
        from rqtool.listing import as_lines

        for line in as_lines(found, vhosts=vhosts):
            emit(line)
