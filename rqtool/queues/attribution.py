"""Queues, histories and holders, brought together queue by queue. Pure."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from rqtool.management.queue import QUARANTINE, Queue
from rqtool.queues.diagnosis import Sight
from rqtool.queues.history import Flow
from rqtool.queues.holders import Holder

Key = tuple[str, str]
"""Vhost and name of a queue."""

_TAKEN_BY_WORKERS = (".retry.started", QUARANTINE)
"""Behind the name of a queue: where its workers take tasks from without a consumer."""


def bring_together(
    queues: Sequence[Queue],
    flows: Mapping[Key, Flow],
    holders: Sequence[Holder],
    *,
    sees_holders: bool,
    remembers: float = math.inf,
) -> list[Sight]:
    """A sight per queue. Where a queue holds messages by itself, a channel's total falls to it as its flow says."""
    by_queue: defaultdict[Key, list[Holder]] = defaultdict(list)
    for holder in holders:
        if holder.queue is not None:
            by_queue[holder.vhost, holder.queue].append(holder)
    for queue in queues:
        for suffix in _TAKEN_BY_WORKERS:
            if queue.messages_unacknowledged and queue.name.endswith(suffix):
                workers = by_queue[queue.vhost, queue.name.removesuffix(suffix)]
                by_queue[queue.key] += [each for each in workers if each.client.rqtool is not None]
    homeless = _give_away(queues, by_queue, [holder for holder in holders if holder.queue is None])
    # What those hold may be of any queue of their vhost.
    anywhere = {holder.vhost for holder in homeless}
    for queue in queues:
        key = queue.key
        if key in flows:
            by_queue[key] = _told(by_queue[key], queue, flows[key], others=queue.vhost in anywhere)

    def sight(queue: Queue) -> Sight:
        flow = flows.get(queue.key, Flow(0))
        return Sight(queue, flow, by_queue[queue.key], sees_holders=sees_holders, remembers=remembers)

    return [sight(queue) for queue in queues]


def _told(holders: Sequence[Holder], queue: Queue, flow: Flow, *, others: bool) -> list[Holder]:
    """What the queue's history says about its holders; `others`: somebody else may hold messages of it too."""
    consumers = [each for each in holders if each.consumer_tag is not None]
    everybody = queue.consumers == len(consumers) and not others
    alone = everybody and len(holders) == 1
    together = everybody and len({each.channel for each in holders}) == 1
    return [
        each
        if each.queue != queue.name
        else _sharing(each, flow, together=together)
        if each.shared
        else _with_queue(each, queue, flow, alone=alone)
        for each in holders
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


def _give_away(
    queues: Sequence[Queue], by_queue: Mapping[Key, list[Holder]], homeless: Sequence[Holder]
) -> list[Holder]:
    """The API does not say from which queue a channel without a consumer took its messages: only where the figures
    leave a single possibility is it said. Returns those that are left.
    """
    hidden = {
        queue.key: left
        for queue in queues
        if (left := (queue.messages_unacknowledged or 0) - held_by(by_queue.get(queue.key, []))) > 0
    }
    left_over = []
    for holder in homeless:
        here = [key for key in hidden if key[0] == holder.vhost]
        fits = here if len(here) == 1 else [key for key in here if hidden[key] == holder.held]
        rivals = Counter(each.held for each in homeless if each.vhost == holder.vhost)
        # Figures of different moments leave something over now and then: less than it holds is not what it holds.
        enough = len(fits) == 1 and hidden[fits[0]] >= holder.held
        if enough and (len(here) == 1 or rivals[holder.held] == 1):
            by_queue[fits[0]].append(replace(holder, queue=fits[0][1]))
        else:
            left_over.append(holder)
    return left_over


def held_by(holders: Sequence[Holder]) -> int:
    """What they hold together: a channel counts once."""
    return sum({holder.channel: holder.held for holder in holders}.values())
