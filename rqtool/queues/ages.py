"""How old the ready and the held messages of a queue are, for --check. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rqtool.durations import about
from rqtool.queues.diagnosis import Diagnosis

READY, HELD = "oldest_ready", "longest_held"


@dataclass(frozen=True, slots=True)
class Age:
    """`seconds` None: not known. `at_least`: it may be more, the broker remembers no longer."""

    metric: str
    seconds: float | None
    text: str
    at_least: bool = False


def ages_of(d: Diagnosis) -> Iterator[Age]:
    """The age of its oldest ready message, unless messages are meant to lie there, and of the one held longest."""
    queue = d.queue
    if queue.ready and not (queue.delays or queue.type == "stream" or queue.name.endswith(".dead")):
        seconds = d.oldest_ready_seconds
        if seconds is not None:
            what = "the oldest message that is not done" if queue.held else f"{queue.ready:,} ready, the oldest"
            yield Age(READY, seconds, f"{queue.name}: {what} was sent {about(seconds)} ago")
        elif not queue.was_drained:
            why = "a quorum queue does not say" if queue.type == "quorum" else "no timestamp"
            yield Age(READY, None, f"{queue.name}: how old its {queue.ready:,} ready messages are is not known ({why})")
    if d.longest_held is not None:
        seconds, over = d.longest_held_seconds or 0.0, d.longest_held.exceeds_history
        holder = next((each for each in d.holding if each.deliveries is d.longest_held), None)
        by = f" by {holder.client.described}" if holder else ""
        text = f"{queue.name}: a message has been held for {'over ' if over else ''}{about(seconds)}{by}"
        yield Age(HELD, seconds, text, over)
