"""Queues, histories and holders, brought together queue by queue. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rqtool.diagnosis import Sight
from rqtool.figures import Queue
from rqtool.holders import Holder
from rqtool.samples import Flow

Key = tuple[str, str]
"""Vhost and name of a queue."""

_STARTED = ".retry.started"
"""Behind the name of a queue: where rqtool's workers take the tasks from that they begin with a trace."""


def key_of(queue: Queue) -> Key:
    return queue.vhost, queue.name


def bring_together(
    queues: Sequence[Queue], flows: Mapping[Key, Flow], holders: Sequence[Holder], *, sees_holders: bool
) -> list[Sight]:
    """A sight per queue. Where a queue holds messages by itself, a channel's total falls to it as its flow says."""
    by_queue: defaultdict[Key, list[Holder]] = defaultdict(list)
    for holder in holders:
        if holder.queue is not None:
            by_queue[holder.vhost, holder.queue].append(holder)
    # What a channel without a consumer holds may be of any queue of its vhost.
    anywhere = {holder.vhost for holder in holders if holder.queue is None}
    for queue in queues:
        key = key_of(queue)
        if key in flows:
            alone = queue.consumers == 1 and len(by_queue[key]) == 1 and queue.vhost not in anywhere
            channels = {each.channel for each in by_queue[key]}
            together = len(channels) == 1 and queue.consumers == len(by_queue[key]) and queue.vhost not in anywhere
            by_queue[key] = [
                _sharing(each, flows[key], together=together)
                if each.shared
                else _with_queue(each, queue, flows[key], alone=alone)
                for each in by_queue[key]
            ]
    for queue in queues:
        if queue.messages_unacknowledged and queue.name.endswith(_STARTED):
            workers = by_queue[queue.vhost, queue.name.removesuffix(_STARTED)]
            by_queue[key_of(queue)] += [each for each in workers if each.client.rqtool is not None]
    _give_away(queues, by_queue, [holder for holder in holders if holder.queue is None])
    return [
        Sight(queue, flows.get(key_of(queue), Flow(0)), by_queue[key_of(queue)], sees_holders=sees_holders)
        for queue in queues
    ]


def _with_queue(holder: Holder, queue: Queue, flow: Flow, *, alone: bool) -> Holder:
    """What the queue's history says about a consumer: when the queue had nothing out, its consumers held nothing of it.

    The only one holds what the queue has out, which is known sooner than what its channel has; and what the queue lost
    without an ack was settled by this one: a reject.
    """
    known = replace(holder.flow, emptied=flow.emptied)
    if alone:
        held = max(holder.held, queue.messages_unacknowledged or 0)
        known = replace(known, held=held, released=flow.released)
    return replace(holder, flow=known)


def _sharing(holder: Holder, flow: Flow, *, together: bool) -> Holder:
    """A consumer on a channel with others: acks for another queue are none for this one. Where all consumers of the
    queue are on that channel, the queue's own history is theirs; a channel that is idle settles nothing either.
    """
    if not together or flow.as_of is None:
        return holder
    return replace(holder, flow=replace(flow, idle_since=holder.flow.idle_since), total=holder.held)


def _give_away(queues: Sequence[Queue], by_queue: Mapping[Key, list[Holder]], homeless: Sequence[Holder]) -> None:
    """The API does not say from which queue a channel without a consumer took its messages: only where the figures
    leave a single possibility is it said.
    """
    hidden = {
        key_of(queue): left
        for queue in queues
        if (left := (queue.messages_unacknowledged or 0) - held_by(by_queue.get(key_of(queue), []))) > 0
    }
    for holder in homeless:
        here = [key for key in hidden if key[0] == holder.vhost]
        fits = here if len(here) == 1 else [key for key in here if hidden[key] == holder.held]
        rivals = Counter(each.held for each in homeless if each.vhost == holder.vhost)
        if len(fits) == 1 and (len(here) == 1 or rivals[holder.held] == 1):
            by_queue[fits[0]].append(replace(holder, queue=fits[0][1]))


def held_by(holders: Sequence[Holder]) -> int:
    """What they hold together: a channel counts once."""
    return sum({holder.channel: holder.held for holder in holders}.values())
