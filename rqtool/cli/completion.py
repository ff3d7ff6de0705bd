"""Completes queue names, and suggests one for a mistyped name. Silent if no broker answers in time.

The ids of dead tasks are not completed: looking at them is a delivery, which the Tab key must not cause.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stderr, suppress

from rqtool.endpoint.urls import Endpoint
from rqtool.text import closest
from rqtool.topology import homes

SECONDS, PATIENCE = 0.2, 5.0
"""How long a broker may take to answer while the user waits, for a completion or for an error."""
_ID = re.compile(r"[0-9a-f]{8}\b")
"""How the ids that rqtool gives to tasks begin."""


def queue_names(find: Callable[[], Endpoint], incomplete: str) -> list[str]:
    """The queues of the vhost that begin so; `find` says where the broker is."""
    return [name for name in _names(find, SECONDS) if name.startswith(incomplete)]


def did_you_mean(endpoint: Endpoint, name: str, task: str | None = None, *, has_ids: bool = False) -> str:
    """Return what to add to the name of a queue that does not exist, or nothing. `task`: the id that stands before it;
    `has_ids`: the verb has --id.
    """
    names = _names(lambda: endpoint, PATIENCE)
    if task in names:
        return f", but {task!r} is one: the id comes first"
    if meant := closest(name, names):
        return f" (did you mean {meant!r}?)"
    return " (the id of a task is given with --id)" if has_ids and _ID.match(name) else ""


def _names(find: Callable[[], Endpoint], seconds: float) -> list[str]:
    """All queues but those that rqtool keeps beside a queue, except dead queues."""
    from rqtool.management.in_thread import begin  # 20 ms

    def look() -> set[str]:
        from rqtool.management.api import Management

        with redirect_stderr(io.StringIO()):
            endpoint = find()
        return {name for _, name in Management(endpoint.api_urls, endpoint.tls).keys(endpoint.vhost)}

    names: set[str] = set()
    with suppress(Exception):
        names = begin(look).result(seconds)
    return sorted(name for name in names if all(home not in names or kind == "dead" for home, kind in homes(name)))
