"""Queues and holders for programs: tab-separated, the first columns as rabbitmqctl prints them, and JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from rqtool.text import printable

if TYPE_CHECKING:
    from rqtool.queues.diagnosis import Clock, Diagnosis
    from rqtool.queues.holders import Holder

COLUMNS = ("name", "messages_ready", "messages_unacknowledged", "consumers", "state", "type", "verdict", "reason")
HOLDER_COLUMNS = ("queue", "client", "host", "pid", "address", "prefetch", "held", "since", "verdict")
_KEYS = ("vhost", "name", "messages_ready", "messages_unacknowledged", "consumers", "state", "type", "durable")


def as_lines(diagnoses: Sequence[Diagnosis], *, vhosts: bool) -> Iterator[str]:
    """A header line, then a line per queue. An empty field: not known. Control characters are spelled out."""
    columns = (*COLUMNS, "vhost") if vhosts else COLUMNS
    yield "\t".join(columns)
    for diagnosis in diagnoses:
        values = asdict(diagnosis.queue) | {"verdict": diagnosis.verdict, "reason": diagnosis.reason}
        yield _line([values[column] for column in columns])


def as_json(diagnoses: Sequence[Diagnosis], stuck_after: float, clock: Clock) -> str:
    """An array with an object per queue; the README names its keys."""
    return json.dumps([_queue(diagnosis, stuck_after, clock) for diagnosis in diagnoses])


@dataclass(frozen=True, slots=True)
class Held:
    """A holder, as it is shown: with the queue that its messages are of."""

    queue: str
    vhost: str
    holder: Holder
    suspect: bool
    since: datetime | None

    @property
    def held(self) -> str:
        return f"{self.holder.held} shared" if self.holder.shared else str(self.holder.held)

    @property
    def prefetch(self) -> str:
        """Of a consumer; without limit is `0`, as everywhere in AMQP."""
        return "" if self.holder.consumer_tag is None else str(self.holder.prefetch)

    @property
    def verdict(self) -> str:
        return "forgotten ack?" if self.suspect else "working"


def holders_of(diagnoses: Sequence[Diagnosis], clock: Clock) -> list[Held]:
    """Everybody who holds something, the suspects first, then those who hold it longest."""
    rows = [
        Held(d.queue.name, d.queue.vhost, holder, holder in d.suspects, clock.told(holder.flow.held_since))
        for d in diagnoses
        for holder in d.sight.holders
        if holder.held and d.sight.held
    ]
    return sorted(rows, key=lambda row: (not row.suspect, row.since or clock.now, row.vhost, row.queue))


def holder_lines(rows: Sequence[Held], *, vhosts: bool) -> Iterator[str]:
    """A header line, then a line per consumer that holds messages; `since` in UTC."""
    yield "\t".join((*HOLDER_COLUMNS, "vhost") if vhosts else HOLDER_COLUMNS)
    for row in rows:
        client = row.holder.client
        values = [
            row.queue, client.name, client.host, client.pid, client.address, row.prefetch, row.held, _utc(row.since),
            row.verdict,
        ]  # fmt: skip
        yield _line([*values, row.vhost] if vhosts else values)


def holders_as_json(rows: Sequence[Held], clock: Clock) -> str:
    """An array with an object per consumer that holds messages; the README names its keys."""
    return json.dumps([_holder(row.queue, row.vhost, row.holder, row.suspect, clock) for row in rows])


def _queue(diagnosis: Diagnosis, stuck_after: float, clock: Clock) -> dict[str, object]:
    sight, queue = diagnosis.sight, asdict(diagnosis.queue)
    flows = [sight.flow, *(holder.flow for holder in sight.holders)] if sight.held else []
    since = min((flow.held_since for flow in flows if flow.held_since is not None), default=None)
    own = [sight.flow, *(holder.flow for holder in sight.holders if holder.acks_are_its_own)] if sight.held else []
    acked = max((flow.last_ack for flow in own if flow.last_ack is not None), default=None)
    seconds = max((found for flow in flows if (found := flow.held_seconds()) is not None), default=None)
    return {key: queue[key] for key in _KEYS} | {
        "exclusive": diagnosis.queue.exclusive,
        "verdict": diagnosis.verdict,
        "reason": diagnosis.reason,
        "findings": [asdict(finding) for finding in diagnosis.findings],
        "stuck": diagnosis.stuck,
        "stuck_after_seconds": stuck_after,
        "held_since": _utc(clock.told(since)),
        "held_seconds": seconds,
        "last_ack": _utc(clock.told(acked)),
        "holders": [
            _holder(queue["name"], queue["vhost"], holder, holder in diagnosis.suspects, clock)
            for holder in diagnosis.sight.holders
            if holder.held and diagnosis.sight.held
        ],
    }


def _holder(queue: str, vhost: str, holder: Holder, suspect: bool, clock: Clock) -> dict[str, object]:
    client, flow = holder.client, holder.flow
    return {
        "queue": queue,
        "vhost": vhost,
        "client": client.name,
        "host": client.host,
        "pid": client.pid,
        "address": client.address,
        "user": client.user,
        "product": client.product,
        "rqtool": client.rqtool,
        "runs": client.runs,
        "connection": client.connection,
        "channel": holder.channel,
        "consumer_tag": holder.consumer_tag,
        "prefetch": holder.prefetch,
        "held": holder.held,
        "shared": holder.shared,
        "suspect": suspect,
        "held_since": _utc(clock.told(flow.held_since)),
        "held_seconds": flow.held_seconds(),
        "last_ack": _utc(clock.told(flow.last_ack)),
        "quiet_seconds": flow.quiet_seconds(),
        "silent_seconds": client.silent_seconds,
    }


def _line(values: Sequence[object]) -> str:
    return "\t".join("" if value is None else printable(str(value)) for value in values)


def _utc(time: datetime | None) -> str | None:
    return None if time is None else time.astimezone(UTC).isoformat(timespec="seconds")
