"""A snapshot of queues: their figures, the history that the broker keeps of them, and who holds their messages.

It takes a few requests, and requests details only of those queues, channels and connections that hold something.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from rqtool.durations import about
from rqtool.management.api import SAMPLED_ROWS, Management, below, queue_path
from rqtool.management.fields import Row, at
from rqtool.management.queue import Key, Queue, key_of
from rqtool.management.samples import LAG
from rqtool.queues.attribution import attribute, taken_from, unexplained, with_consumer
from rqtool.queues.diagnosis import Basis, Clock, Diagnosis
from rqtool.queues.history import Deliveries, stalled_seconds
from rqtool.queues.holders import Holder, channel_deliveries, consumed, join, queue_deliveries
from rqtool.queues.shown import is_glob, named, selects, shown, with_consumers, with_waiting
from rqtool.topology import dead_queue

FINE_SECONDS, FINE_STEP = 600, 5
COARSE_SECONDS, COARSE_STEP = 3600, 60
"""The broker keeps samples of 5 s for ten minutes, and of a minute for an hour."""
SHORT_SECONDS = 120
"""The first request asks for so many seconds if they are enough for a verdict."""
FEW = 40
"""The hour before is requested for no more than so many, unless the verdict depends on it."""
_SEES_ALL = {"monitoring", "administrator"}
K = TypeVar("K")
_DELIVERIES = (
    "vhost,name,messages_unacknowledged,messages_unacknowledged_details.samples,message_stats.ack_details.samples,"
    "message_stats.deliver_details.samples,message_stats.get_details.samples"
)
_LENGTHS = (
    "vhost,name,messages_dlx,messages_delayed,messages_details.samples,messages_ready_details.samples,"
    "messages_unacknowledged_details.samples"
)
_CHANNEL = f"{_DELIVERIES},global_prefetch_count,connection_details,idle_since"
_CONNECTION = (
    "name,user_provided_name,client_properties,peer_host,peer_port,user,timeout,connected_at,recv_oct_details.samples"
)
_CONSUMER = "queue,consumer_tag,ack_required,prefetch_count,channel_details.name"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`unseen`: what could not be seen, as a sentence for people, or empty."""

    diagnoses: Sequence[Diagnosis]
    unseen: str = ""


def take_snapshot(
    api: Management,
    vhost: str | None,
    stuck_after: float,
    now: datetime,
    patterns: Collection[str] | None = None,
    *,
    age: float = 0,
    with_ages: bool = False,
    with_dead: bool = False,
) -> Snapshot:
    """Diagnose every queue of a vhost, or (None) of all, or those with these names or matching these globs.

    `age`: the seconds of history that the caller needs of every held message. `with_ages`: those of ready messages are
    wanted, which costs a request for each queue that has some. `with_dead`: also the dead queues of those that were
    named, unless they say nothing. Raises AccessRefused, Unreachable.
    """
    consumers = api.rows(f"/api/consumers{below(vhost)}", {"columns": _CONSUMER})
    sees_all = bool(api.tags() & _SEES_ALL)

    def read_queues(only: Collection[str] | None = None) -> list[Queue]:
        if consumers is None:
            return with_waiting(api.queues(vhost, only))
        # A user with few rights sees only its own consumers, but each queue reports how many it has.
        queues = with_waiting(api.completed(vhost, only, with_consumers=not sees_all, with_ages=with_ages))
        return with_consumers(queues, consumers) if sees_all else queues

    beside = [dead_queue(name) for name in patterns or () if with_dead]
    queues = shown(read_queues()) if patterns is None else _selected(patterns, beside, read_queues)
    known = queues
    holders: list[Holder] = []
    histories: dict[Key, Deliveries] = {}
    remembers = math.inf
    if any(queue.held for queue in queues):
        remembers = 0.0 if consumers is None else api.remembers()
        window = _Window(max(stuck_after, age), remembers)
        holders = _holders(api, vhost, consumers or [], window, None if patterns is None else queues)
        if patterns is not None and any(holder.queue is None for holder in holders):
            # A channel without a consumer may hold messages of a queue that was not asked for.
            keys = {queue.key for queue in queues}
            known = [*queues, *(queue for queue in read_queues() if queue.key not in keys)]
        decisive = _decisive(queues, holders, stuck_after)
        histories = window.extend(_histories(api, vhost, decisive, window.first), partial(_histories, api, vhost))
    times = [each.as_of for each in [*histories.values(), *(holder.deliveries for holder in holders)]]
    clock = Clock(max((time for time in times if time is not None), default=None), now)
    basis = Basis(stuck_after, clock, remembers, sees_all)
    by_queue = attribute(known, histories, holders)
    stalled = {} if consumers is None else _stalled(api, vhost, {queue.key for queue in queues if queue.leaving})
    found = [
        Diagnosis(each, histories.get(each.key, Deliveries(0)), by_queue[each.key], basis, stalled.get(each.key, 0.0))
        for each in queues
    ]
    return Snapshot(found, _unseen(basis, found, has_statistics=consumers is not None))


def _selected(
    patterns: Collection[str], beside: Collection[str], read_queues: Callable[[Collection[str] | None], list[Queue]]
) -> list[Queue]:
    """The queues with these names and matching these globs. A glob that is also the name of a queue means that queue.
    Globs, and the patterns `beside`, don't match queues that the list of all queues would hide.
    """
    wanted = [*patterns, *beside]
    globs = set(filter(is_glob, wanted))
    queues = read_queues(None if globs else wanted)
    there = {queue.name for queue in queues}
    literal = (set(wanted) - globs) | (globs & there)
    names = literal | {name for name in there if selects(globs - there, name)}
    queues = named(queues, names)
    listed = {queue.key for queue in shown(queues)}
    return [queue for queue in queues if queue.key in listed or queue.name in literal & set(patterns)]


class _Window:
    """How far back to request the history. Never farther than the broker remembers: for the time before that it answers
    0, as if nothing had been delivered. `first`: enough for a verdict, and always fine samples, as the newest coarse
    one may be a minute old. `hour`: the older samples, for messages that may be held for longer.
    """

    def __init__(self, stuck_after: float, remembers: float) -> None:
        most = int(min(remembers or COARSE_SECONDS, COARSE_SECONDS))
        seconds = min(SHORT_SECONDS if stuck_after <= SHORT_SECONDS / 2 else FINE_SECONDS, most)
        self.first = samples(seconds, FINE_STEP)
        self._hour = samples(most, COARSE_STEP)
        # Request the hour for a few, or for all if the verdict depends on it. The exact times of many holders are not
        # worth another long list.
        self._most_old = 0 if most <= FINE_SECONDS else FEW if stuck_after <= FINE_SECONDS * 0.9 else math.inf

    def extend(
        self, histories: Mapping[K, Deliveries], ask: Callable[[set[K], Row], Mapping[K, Deliveries]]
    ) -> dict[K, Deliveries]:
        """Add the hour to those histories that are too short for the messages they hold."""
        old = {key for key, each in histories.items() if each.exceeds_history}
        earlier = ask(old, self._hour) if 0 < len(old) <= self._most_old else {}
        return {key: each.after(earlier[key]) if key in earlier else each for key, each in histories.items()}


def samples(seconds: int, step: int) -> dict[str, str]:
    """The parameters that ask for samples of the last `seconds`."""
    kinds = ("msg_rates", "lengths", "data_rates")
    return {f"{k}_age": str(seconds) for k in kinds} | {f"{k}_incr": str(step) for k in kinds}


def _decisive(queues: Sequence[Queue], holders: Sequence[Holder], stuck_after: float) -> set[Key]:
    """The queues whose own history can change the verdict: it may clear a suspect, acks on a shared channel may be for
    another queue, or some of the messages may have no known holder.
    """
    by_queue = with_consumer(queues, holders)
    return {
        queue.key
        for queue in queues
        if unexplained(queue, by_queue)
        or (queue.held and any(each.shared or each.is_stuck(stuck_after) for each in by_queue[queue.key]))
    }


def _stalled(api: Management, vhost: str | None, keys: set[Key]) -> dict[Key, float]:
    """For how many seconds each of these queues has passed nothing on."""
    query = {"lengths_age": str(FINE_SECONDS), "lengths_incr": str(FINE_STEP), "columns": _LENGTHS}
    rows = api.details(f"/api/queues{below(vhost)}", map(queue_path, keys), query, SAMPLED_ROWS)
    return {key_of(row): stalled_seconds(row) for row in rows}


def _histories(api: Management, vhost: str | None, keys: set[Key], samples: Mapping[str, str]) -> dict[Key, Deliveries]:
    rows = api.details(f"/api/queues{below(vhost)}", map(queue_path, keys), {**samples, "columns": _DELIVERIES})
    return {key: queue_deliveries(row) for row in rows if (key := key_of(row)) in keys}


def _holders(
    api: Management, vhost: str | None, consumers: Sequence[Row], window: _Window, queues: Sequence[Queue] | None
) -> list[Holder]:
    """Those that hold something now, of all queues or, where each of them has a consumer, of these."""
    where = "" if vhost is None else f"/vhosts{below(vhost)}"

    def rows(kind: str, names: Collection[str], query: Mapping[str, str]) -> list[Row]:
        paths = [f"/api/{kind}/{quote(name, safe='')}" for name in names]
        return [row for row in api.details(f"/api{where}/{kind}", paths, query) if str(row.get("name")) in names]

    def earlier(names: Collection[str], samples: Mapping[str, str]) -> dict[str, Deliveries]:
        found = rows("channels", names, {**samples, "columns": _CHANNEL})
        return {str(row.get("name")): channel_deliveries(row) for row in found}

    light = api.rows(f"/api{where}/channels", {"columns": "name,messages_unacknowledged"}) or []
    holding = {str(row.get("name")) for row in light if row.get("messages_unacknowledged")}
    consuming = consumed(consumers)
    if queues is not None and holding <= consuming.keys():
        keys = taken_from(queues)
        holding = {name for name in holding if consuming[name] & keys}
    channels = rows("channels", holding, window.first | {"columns": _CHANNEL})
    names = {name for row in channels if isinstance(name := at(row, "connection_details", "name"), str)}
    connections = rows("connections", names, window.first | {"columns": _CONNECTION})
    holders = list(join(consumers, channels, connections))
    histories = window.extend({holder.channel: holder.deliveries for holder in holders}, earlier)
    return [replace(holder, deliveries=histories[holder.channel]) for holder in holders]


def _unseen(basis: Basis, found: Sequence[Diagnosis], *, has_statistics: bool) -> str:
    if not has_statistics:
        return "The broker keeps no statistics: who holds messages, and since when, can't be seen"
    if not basis.remembers:
        return "The broker counts no deliveries (rates_mode = none): since when messages are held can't be seen"
    if any(each.is_undecided for each in found):
        return (
            f"The broker remembers {about(basis.remembers)} only (management.sample_retention_policies.basic): who "
            f"forgot an ack can't be told with a --stuck-after of more than {max(0.0, basis.remembers - 2 * LAG):.0f}s"
        )
    if not basis.sees_all:
        return "This user sees its own consumers only; the tag monitoring shows who else holds messages"
    return ""
