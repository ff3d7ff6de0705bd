"""`rqtool release`."""

from __future__ import annotations

import sys
from json import dumps
from typing import TYPE_CHECKING, Annotated

import typer

from rqtool.amqp.topology import check_queue_name
from rqtool.cli.options import Json, Quiet, StuckAfter, parse_stuck_after, with_broker
from rqtool.cli.output import ask, complain, emit, talker
from rqtool.endpoint.urls import Endpoint
from rqtool.errors import UsageError
from rqtool.text import is_text, plural

if TYPE_CHECKING:
    from rqtool.queues.release import Plan, Released, Target


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
@with_broker(api=True)
def release(
    *,
    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="The queue.", callback=check_queue_name)],
    # Neither --holder nor --yes has an environment twin: what is left over there must not choose whom to cut off.
    holders: Annotated[
        list[str] | None,
        typer.Option(
            "--holder",
            metavar="NAME",
            allow_from_autoenv=False,
            help="Close this one, busy or not: a client's name or address as rqtool queues --holders shows it; may be "
            "repeated.",
            show_default="those who forgot",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", allow_from_autoenv=False, help="Don't ask.")] = False,
    stuck_after: StuckAfter = "60s",
    vhost: Annotated[
        str | None, typer.Option("--vhost", metavar="NAME", help="The queue's vhost.", show_default="the URL's")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
    endpoint: Endpoint,
) -> int:
    from rqtool.management.api import Management
    from rqtool.queues.release import Release

    seconds = parse_stuck_after(stuck_after)
    if vhost is not None and not is_text(vhost):
        raise UsageError(f"{vhost!r} is no vhost", "Give a name in UTF-8")
    if not (yes or (sys.stdin is not None and sys.stdin.isatty())):
        raise UsageError("Nobody is cut off: there is no terminal to ask on", "Add --yes")
    job = Release(Management(endpoint.api_urls, endpoint.tls), vhost or endpoint.vhost, queue, holders or [], seconds)
    say = talker(quiet=quiet)
    plan = job.plan()
    if not plan.targets:
        say(_nothing(plan))
        if json:
            emit(dumps(_object(queue, None)))
        return 0
    if not quiet or not yes:
        for line in _announced(plan):
            complain(line)
    if not yes and not ask(f"Close {plural(len(plan.targets), 'connection')}? [y/N] "):
        say("nobody is cut off")
        return 0
    released = job.carry_out(plan)
    if json:
        emit(dumps(_object(queue, released)))
    elif not quiet:
        emit(_told(queue, released))
    return 0


def _nothing(plan: Plan) -> str:
    name = plan.diagnosis.queue.name
    unseen = f". {plan.unseen}" if plan.unseen else ""
    if not plan.diagnosis.queue.held:
        return f"nothing of {name!r} is held"
    if plan.diagnosis.stuck:
        return f"{name!r}: {plan.diagnosis.reason}. Nobody can be named whose connection to close{unseen}"
    who = f"{plan.diagnosis.queue.held:,} of {name!r} held, and nobody is known to have forgotten them"
    return f"{who}. See: rqtool queues --holders; --holder NAME closes whom you name{unseen}"


def _announced(plan: Plan) -> list[str]:
    """Who holds how much, and what else goes with the connection."""
    lines = []
    for target in plan.targets:
        more = [f"{held:,} of {name!r}" for name, held in target.elsewhere.items()]
        also = f", and {' and '.join(more)}" if more else ""
        what = f"{target.held:,} of {plan.diagnosis.queue.name!r}{also}"
        lines.append(f"{target.client.described} holds {what}{_busy(target, plan.diagnosis.queue.name)}")
    others = len({each.client.connection for each in plan.diagnosis.holding}) - len(plan.targets)
    return [*lines, f"{plural(others, 'connection')} at work on that queue will stay"] if others else lines


def _busy(target: Target, queue: str) -> str:
    """What is with those of its consumers that did not forget."""
    if not target.busy:
        return ""
    all_of_them = target.busy == {queue: target.held, **target.elsewhere}
    which = "them" if all_of_them else " and ".join(f"{held:,} of {name!r}" for name, held in target.busy.items())
    return f"; it may be at work on {which}, and they will be done twice"


def _told(queue: str, released: Released) -> str:
    if not released.closed:
        return " [x] Closed none: the messages were acknowledged after all"
    figures = f"{released.queue.ready:,} ready, {released.queue.held:,} held now"
    names = ", ".join(target.client.described for target in released.closed)
    where = "" if released.seen else "; others have them already, or the broker's figures are late"
    return f" [x] Gave back {plural(released.held, 'message')} of {queue!r} ({figures}{where}); closed {names}"


def _object(queue: str, released: Released | None) -> dict[str, object]:
    closed = [] if released is None else released.closed
    return {
        "queue": queue,
        "released": sum(target.held for target in closed),
        "closed": [_closed(target) for target in closed],
        "messages_ready": None if released is None else released.queue.messages_ready,
        "messages_unacknowledged": None if released is None else released.queue.messages_unacknowledged,
    }


def _closed(target: Target) -> dict[str, object]:
    client = target.client
    return {
        "client": client.name,
        "host": client.host,
        "pid": client.pid,
        "address": client.address,
        "connection": client.connection,
        "held": target.held,
        "elsewhere": target.elsewhere,
    }
