"""Completion of queue names on the command line. Silent where no broker answers in time.

The ids of dead tasks are not completed: looking at them is a delivery, which the Tab key must not cause.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from contextlib import redirect_stderr, suppress

from rqtool.endpoint.urls import Endpoint
from rqtool.topology import homes

SECONDS = 0.2
"""How long a broker may take: somebody waits at the keyboard."""


def queue_names(find: Callable[[], Endpoint], incomplete: str) -> list[str]:
    """The queues of the vhost, without those that rqtool keeps beside them for tasks on their way; `find` says where
    the broker is.
    """
    names = _names(find)
    return sorted(name for name in names if name.startswith(incomplete) and not _is_beside(name, names))


def _is_beside(name: str, names: AbstractSet[str]) -> bool:
    return any(home in names and kind != "dead" for home, kind in homes(name))


def _names(find: Callable[[], Endpoint]) -> AbstractSet[str]:
    found: set[str] = set()

    def look() -> None:
        from rqtool.management.api import Management

        with suppress(Exception), redirect_stderr(io.StringIO()):
            endpoint = find()
            found.update(name for _, name in Management(endpoint.api_urls, endpoint.tls).keys(endpoint.vhost))

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    looking.join(SECONDS)
    return set(found)
