"""Infers which held messages belong to which queue and holder, if the API does not say. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rqtool.management.queue import Key, Queue
from rqtool.queues.history import Deliveries
from rqtool.queues.holders import Holder, held_by
from rqtool.topology import quarantine

_POLLED = (".retry.started", quarantine("").name)
"""Suffixes of the queues from which the workers of a queue take tasks without a consumer."""

ByQueue = defaultdict[Key, list[Holder]]


def attribute(queues: Sequence[Queue], histories: Mapping[Key, Deliveries], holders: Sequence[Holder]) -> ByQueue:
    """The holders of each queue, with what the queue's own history proves about them. `queues` are all those of which
    the channels without a consumer may hold messages.
    """
    by_queue = with_consumer(queues, holders)
    unattributed = _attribute_getters(queues, by_queue, [holder for holder in holders if holder.queue is None])
    vhosts = {holder.vhost for holder in unattributed}
    for queue in queues:
        if queue.key in histories:
            are_all_known = queue.vhost not in vhosts
            by_queue[queue.key] = _refined(by_queue[queue.key], queue, histories[queue.key], are_all_known)
    return by_queue


def with_consumer(queues: Sequence[Queue], holders: Sequence[Holder]) -> ByQueue:
    """The holders whose consumer names their queue; a worker also polls the queues beside its own."""
    by_queue: ByQueue = defaultdict(list)
    for holder in holders:
        if holder.queue is not None:
            by_queue[holder.vhost, holder.queue].append(holder)
    for queue in queues:
        for suffix in _POLLED:
            if queue.held and queue.name.endswith(suffix):
                workers = by_queue[queue.vhost, queue.name.removesuffix(suffix)]
                by_queue[queue.key] += [each for each in workers if each.client.rqtool is not None]
    return by_queue


def taken_from(queues: Sequence[Queue]) -> set[Key]:
    """The queues whose consumers may hold messages of these."""
    return {(queue.vhost, queue.name.removesuffix(suffix)) for queue in queues for suffix in ("", *_POLLED)}


def unexplained(queue: Queue, by_queue: Mapping[Key, Sequence[Holder]]) -> int:
    """How many of the queue's held messages cannot be with any of its known holders."""
    return max(0, queue.held - held_by(by_queue.get(queue.key, ())))


def _attribute_getters(queues: Sequence[Queue], by_queue: ByQueue, getters: Sequence[Holder]) -> list[Holder]:
    """Attribute the channels without a consumer if the figures leave one possibility. Returns the others."""
    hidden = {queue.key: left for queue in queues if (left := unexplained(queue, by_queue))}
    others = []
    for getter in getters:
        here = [key for key in hidden if key[0] == getter.vhost]
        fits = here if len(here) == 1 else [key for key in here if hidden[key] == getter.held]
        rivals = Counter(each.held for each in getters if each.vhost == getter.vhost)
        # The figures are not from the same moment: a small remainder may be an artefact, and not this holder's
        # messages.
        enough = len(fits) == 1 and hidden[fits[0]] >= getter.held
        if enough and (len(here) == 1 or rivals[getter.held] == 1):
            by_queue[fits[0]].append(replace(getter, queue=fits[0][1]))
        else:
            others.append(getter)
    return others


def _refined(holders: Sequence[Holder], queue: Queue, history: Deliveries, are_all_known: bool) -> list[Holder]:
    """The holders with what the queue's history adds; `are_all_known`: no other channel may hold its messages."""
    consumers = [each for each in holders if each.consumer_tag is not None]
    everybody = are_all_known and queue.consumers == len(consumers)
    alone = everybody and len(holders) == 1
    one_channel = everybody and len({each.channel for each in holders}) == 1

    def refined(holder: Holder) -> Holder:
        if holder.queue != queue.name:  # its consumer is on another queue
            return holder
        if not holder.shared:
            # When the queue had no message out, this consumer held none of them.
            known = replace(holder.deliveries, emptied=history.emptied)
            if alone:
                # It holds everything that the queue has out, a figure newer than the channel's. If the queue lost
                # messages without an ack, this holder settled them: a reject.
                known = replace(known, held=max(holder.held, queue.held), released=history.released)
            return replace(holder, deliveries=known)
        if one_channel and history.as_of is not None:
            # Acks on a shared channel may be for another queue, so the queue's own history counts. An idle channel
            # settles nothing either.
            own = replace(history, idle_since=holder.deliveries.idle_since)
            return replace(holder, deliveries=own, channel_held=holder.held)
        return holder

    return [refined(holder) for holder in holders]
