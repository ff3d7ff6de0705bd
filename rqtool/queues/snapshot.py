"""Looking at queues: their figures, the history that the broker keeps of them, and whoever holds their messages.

A look takes a few requests, and asks for details of those queues, channels and connections only that hold something.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from urllib.parse import quote

from rqtool.durations import about
from rqtool.management.api import Management, having
from rqtool.management.queue import Queue, Row, completed, named, shown, with_consumers
from rqtool.queues.attribution import Key, bring_together, held_by
from rqtool.queues.diagnosis import Clock, Diagnosis, diagnose
from rqtool.queues.history import LAG, Flow
from rqtool.queues.holders import Holder, channel_flow, join, queue_flow

FINE_SECONDS, FINE_STEP = 600, 5
"""The broker keeps samples of 5 s for ten minutes,"""
COARSE_SECONDS, COARSE_STEP = 3600, 60
"""and of a minute for an hour."""
FEW = 40
"""Names that are asked for one by one. Of more channels or connections all are: the server looks at all of them either
way; and the exact time since when so many hold something is not worth another long list."""
SHORT_SECONDS = 120
"""What is asked for first."""
_SEES_ALL = {"monitoring", "administrator"}
_FLOW = (
    "vhost,name,messages_unacknowledged,messages_unacknowledged_details.samples,message_stats.ack_details.samples,"
    "message_stats.deliver_details.samples,message_stats.get_details.samples"
)
_CHANNEL = f"{_FLOW},global_prefetch_count,connection_details,idle_since"
_CONNECTION = (
    "name,user_provided_name,client_properties,peer_host,peer_port,user,timeout,connected_at,recv_oct_details.samples"
)
_CONSUMER = "queue,consumer_tag,ack_required,prefetch_count,channel_details.name"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen. `unseen`: what could not be, as a sentence for people, or empty."""

    diagnoses: Sequence[Diagnosis]
    clock: Clock
    unseen: str = ""


def look(
    api: Management, vhost: str | None, stuck_after: float, now: datetime, only: Collection[str] | None = None
) -> Look:
    """Judge every queue of a vhost, or (None) of all, or those with the names in `only`.

    Raises AccessRefused, Unreachable.
    """
    where = "" if vhost is None else f"/{quote(vhost, safe='')}"
    consumers = api.rows(f"/api/consumers{where}", {"columns": _CONSUMER})
    sees_all = bool(api.tags() & _SEES_ALL)
    queues = _with_consumers(_queues(api, vhost, kept=consumers is not None), consumers, sees_all=sees_all)
    asked = shown(queues) if only is None else named(queues, only)
    keys = {queue.key for queue in asked}
    held = [queue for queue in asked if queue.messages_unacknowledged]
    flows: dict[Key, Flow] = {}
    holders: list[Holder] = []
    remembers = math.inf
    if held:
        remembers = 0.0 if consumers is None else _remembered(api)
        reach = _Reach(stuck_after, remembers)
        holders = _holders(api, where and f"/vhosts{where}", consumers or [], reach)
        flows = _flows(api, where, _in_question(held, holders, stuck_after), reach.first)
        old = {name for (_, name), flow in flows.items() if flow.beyond}
        for key, earlier in _flows(api, where, reach.those(old), reach.hour).items():
            flows[key] = flows[key].after(earlier) if key in flows else earlier
    times = [flow.as_of for flow in [*flows.values(), *(h.flow for h in holders)] if flow.as_of is not None]
    clock = Clock(max(times, default=None), now)
    # All of them, as whoever has no consumer may hold messages of a queue that was not asked for.
    together = bring_together(queues, flows, holders, sees_holders=sees_all, remembers=remembers)
    found = [diagnose(sight, stuck_after, clock) for sight in together if sight.queue.key in keys]
    too_short = any(each.is_untold for each in found)
    unseen = _unseen(remembers, kept=consumers is not None, sees_all=sees_all, too_short=too_short)
    return Look(found, clock, unseen)


def _in_question(queues: Sequence[Queue], holders: Sequence[Holder], stuck_after: float) -> set[str]:
    """The names of those queues whose own history can change the judgement: there is a suspect, who may be innocent; or
    acks on a shared channel may be for another queue; or something is held by nobody known.
    """
    by_queue: defaultdict[Key, list[Holder]] = defaultdict(list)
    for holder in holders:
        by_queue[holder.vhost, holder.queue or ""].append(holder)
    return {
        queue.name
        for queue in queues
        if any(each.shared or each.is_stuck(stuck_after) for each in by_queue[queue.key])
        or held_by(by_queue[queue.key]) < (queue.messages_unacknowledged or 0)
    }


def _unseen(remembers: float, *, kept: bool, sees_all: bool, too_short: bool) -> str:
    if not kept:
        return "The broker keeps no statistics: who holds messages, and since when, can't be seen"
    if not remembers:
        return "The broker counts no deliveries (rates_mode = none): since when messages are held can't be seen"
    if too_short:
        return (
            f"The broker remembers {about(remembers)} only (management.sample_retention_policies.basic): who forgot an "
            f"ack can't be told with a --stuck-after of more than {max(0.0, remembers - 2 * LAG):.0f}s"
        )
    if not sees_all:
        return "This user sees its own consumers only; the tag monitoring shows who else holds messages"
    return ""


def _remembered(api: Management) -> float:
    """Seconds of history that the broker keeps; what it keeps if not told otherwise, where it does not say."""
    said = api.remembers()
    return COARSE_SECONDS if said is None else said


def _queues(api: Management, vhost: str | None, *, kept: bool) -> list[Queue]:
    """Live figures, and what the queues reported; `kept`: the server keeps statistics."""
    live = api.queues(vhost)
    reported = (api.reported(vhost) or []) if kept else []
    if {queue.key for queue in reported} - {queue.key for queue in live}:
        there = api.names(vhost)  # reports are remembered for a time when the queue was deleted
        reported = [queue for queue in reported if queue.key in there]
    return completed(live, reported) if kept else live


def _with_consumers(queues: Sequence[Queue], consumers: Sequence[Row] | None, *, sees_all: bool) -> list[Queue]:
    """The number of consumers of each queue; None where it can't be known."""
    if consumers is None or not sees_all:
        # Others' consumers are not listed, but every queue that is seen says how many it has.
        return list(queues)
    keys = [row.get("queue") for row in consumers]
    count = Counter((str(q.get("vhost")), str(q.get("name"))) for q in keys if isinstance(q, dict))
    return with_consumers(queues, count)


class _Reach:
    """How far back the history is asked for. Never farther than the broker remembers: it says 0 for the time before,
    as if nothing had been delivered then.

    `first`: the samples that are asked for first: enough to judge by, and no more. Always fine ones, as the newest
    coarse one may be a minute old; the `hour` before is asked for where they don't reach.
    """

    def __init__(self, stuck_after: float, remembers: float) -> None:
        most = int(min(remembers or COARSE_SECONDS, COARSE_SECONDS))
        seconds = min(SHORT_SECONDS if stuck_after <= SHORT_SECONDS / 2 else FINE_SECONDS, most)
        self.first = _samples(seconds, FINE_STEP)
        self.hour = _samples(most, COARSE_STEP)
        self._old = 0 if most <= FINE_SECONDS else FEW if stuck_after <= FINE_SECONDS * 0.9 else math.inf

    def those(self, old: Collection[str]) -> Collection[str]:
        """Of which ones the hour is asked for: of a few, of all where the verdict depends on it."""
        return old if len(old) <= self._old else ()


def _samples(seconds: int, step: int) -> dict[str, str]:
    kinds = ("msg_rates", "lengths", "data_rates")
    return {f"{k}_age": str(seconds) for k in kinds} | {f"{k}_incr": str(step) for k in kinds}


def _flows(api: Management, where: str, names: Collection[str], age: dict[str, str]) -> dict[Key, Flow]:
    rows = api.named(f"/api/queues{where}", names, age | {"columns": _FLOW})
    return {(str(row.get("vhost")), str(row.get("name"))): queue_flow(row) for row in rows}


def _holders(api: Management, where: str, consumers: Sequence[Row], reach: _Reach) -> list[Holder]:
    """Those that hold something, now that the broker has its figures together."""
    light = api.rows(f"/api{where}/channels", {"columns": "name,messages_unacknowledged"}) or []
    holding = {str(row.get("name")) for row in light if row.get("messages_unacknowledged")}
    channels = _those(api, "channels", where, holding, reach.first | {"columns": _CHANNEL})
    details = [row.get("connection_details") for row in channels]
    names = {str(each.get("name")) for each in details if isinstance(each, dict)}
    connections = _those(api, "connections", where, names, reach.first | {"columns": _CONNECTION})
    holders = join(consumers, channels, connections)
    old = {holder.channel for holder in holders if holder.flow.beyond}
    rows = _those(api, "channels", where, reach.those(old), reach.hour | {"columns": _CHANNEL})
    earlier = {str(row.get("name")): channel_flow(row) for row in rows}
    return [
        replace(each, flow=each.flow.after(earlier[each.channel])) if each.channel in earlier else each
        for each in holders
    ]


def _those(api: Management, kind: str, where: str, names: Collection[str], query: dict[str, str]) -> list[Row]:
    """The channels or connections with these names."""
    if len(names) <= FEW:
        return api.named(f"/api/{kind}", names, query)
    return having(api.rows(f"/api{where}/{kind}", query) or [], names)
