"""The text of a release: what it would close, and the result. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from json import dumps
from typing import TYPE_CHECKING

from rqtool.durations import format_duration
from rqtool.text import plural

if TYPE_CHECKING:
    from rqtool.management.queue import Queue
    from rqtool.queues.release import Plan, Released, Target


def nothing(plan: Plan) -> str:
    name = plan.diagnosis.queue.name
    unseen = f". {plan.unseen}" if plan.unseen else ""
    if not plan.diagnosis.queue.held:
        return f"nothing of {name!r} is held"
    if plan.diagnosis.stuck:
        return f"{name!r}: {plan.diagnosis.reason}. Nobody can be named whose connection to close{unseen}"
    held = plan.diagnosis.queue.held
    them = "it" if held == 1 else "them"
    who = f"{held:,} of {name!r} held, and nobody is known to have forgotten {them} {_limit(plan)}"
    return f"{who}. See: rqtool queues --holders; --holder NAME closes a connection all the same{unseen}"


def announced(plan: Plan) -> list[str]:
    """Say who holds how much, why that is suspicious, and what else comes back with the connection."""
    queue = plan.diagnosis.queue.name
    suspects = {holder.client.connection for holder in plan.diagnosis.suspects}
    lines = []
    for target in plan.targets:
        also = f", and {_listed(target.elsewhere)}" if target.elsewhere else ""
        line = f"{target.client.described} holds {target.held:,} of {queue!r}{also}"
        line += f"; no ack {_limit(plan)}" if target.client.connection in suspects else ""
        if target.busy:
            all_of_them = target.busy == {queue: target.held, **target.elsewhere}
            which = "them" if all_of_them else _listed(target.busy)
            line += f"; it may be at work on {which}, and they may be done twice"
        lines.append(line)
    staying = {each.client.connection for each in plan.diagnosis.holding}.difference(
        target.client.connection for target in plan.targets
    )
    if forgetful := staying & suspects:
        lines.append(f"{plural(len(forgetful), 'connection')} with a forgotten ack will stay; without --holder all go")
    if busy := staying - suspects:
        lines.append(f"{plural(len(busy), 'connection')} at work on that queue will stay")
    return lines


def _limit(plan: Plan) -> str:
    return f"for over {format_duration(plan.diagnosis.basis.stuck_after)} (--stuck-after)"


def _listed(counts: dict[str, int]) -> str:
    return " and ".join(f"{count:,} of {name!r}" for name, count in counts.items())


def summary(queue: str, released: Released) -> str:
    if not released.closed:
        return " [x] Closed none: the messages were acknowledged after all"
    figures = f"{released.queue.ready:,} ready, {released.queue.held:,} held now"
    figures += "".join(f", {count:,} in {name!r}" for name, count in released.beside.items())
    names = ", ".join(target.client.described for target in released.closed)
    where = "" if released.seen else "; others have them already, or the broker's figures are late"
    return f" [x] Gave back {plural(released.held, 'message')} of {queue!r} ({figures}{where}); closed {names}"


def as_json(queue: Queue, closed: Sequence[Target] = (), beside: Mapping[str, int] | None = None) -> str:
    return dumps(
        {
            "queue": queue.name,
            "released": sum(target.held for target in closed),
            "closed": [
                {
                    "client": target.client.name,
                    "host": target.client.host,
                    "pid": target.client.pid,
                    "address": target.client.address,
                    "connection": target.client.connection,
                    "held": target.held,
                    "elsewhere": target.elsewhere,
                }
                for target in closed
            ],
            "messages_ready": queue.messages_ready,
            "messages_unacknowledged": queue.messages_unacknowledged,
            "beside": beside or {},
        }
    )
