"""The management HTTP API → plain data. https://www.rabbitmq.com/docs/management#http-api"""

from __future__ import annotations

import http.client
import json
import re
import ssl
import time
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import urllib3

from rqtool.endpoint.tls import tls_hint, tls_words
from rqtool.endpoint.urls import ApiURL
from rqtool.errors import AccessRefused, NothingListens, Unreachable
from rqtool.management.fields import Row, at, number, table
from rqtool.management.queue import Key, Queue, completed, read_queue
from rqtool.text import printable
from rqtool.topology import families

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

# Without statistics the totals are live; with them they are seconds old.
_LIVE = {"disable_stats": "true", "enable_queue_totals": "true"}
_COLUMNS = (
    "vhost,name,messages,messages_ready,messages_unacknowledged,state,type,durable,exclusive,auto_delete,arguments,"
    "effective_policy_definition,consumers,head_message_timestamp"
)
DEFAULT_RETENTION = 3600
"""Seconds, for a server that does not say how long it keeps its counters."""
PAGE = 500
"""The API's limit."""
LONGEST_PATTERN = 1_000
"""Bytes; RabbitMQ 4.3 refuses one of more than 1,024."""
FEW = 40
"""Up to so many queues, channels or connections are requested one by one."""
_PLUGIN = (
    "Turn it on with: rabbitmq-plugins enable rabbitmq_management; or name it with --api-url or RQTOOL_API_URL; "
    "or start a private broker with: rqtool broker start"
)
_ADDRESS = "Name the API's address with --api-url or RQTOOL_API_URL; its default port is 15672, with TLS 15671 or 443"


class Management:
    """Uses the first of `urls` that answers, and stays with it. Every method raises AccessRefused and Unreachable."""

    def __init__(self, urls: Sequence[ApiURL], tls: ssl.SSLContext | None = None) -> None:
        self._guesses = [url.instead for url in urls if url.instead is not None]
        self._urls = [*urls, *self._guesses]
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False, ssl_context=tls
        )

    def queues(self, vhost: str | None = None, names: Collection[str] | None = None) -> list[Queue]:
        """Every queue that this user may see in one vhost or (None) in all, with live totals; with `names` at least
        those with these names, and those that rqtool keeps beside them.

        Raises AccessRefused also where the vhost does not exist.
        """
        return self._queues(vhost, _LIVE | {"columns": _COLUMNS}, names)

    def reported(self, vhost: str | None = None, keys: Collection[Key] | None = None) -> list[Queue]:
        """All queues, or these, with the totals that they last reported, seconds old. Queues that have not reported yet
        have none; the list is empty where the server keeps no statistics.
        """
        listed, query = f"/api/queues{below(vhost)}", {"columns": _COLUMNS}
        if keys is None:
            return list(map(read_queue, self.rows(listed, query) or []))
        rows = self.details(listed, map(queue_path, keys), query)
        return [queue for queue in map(read_queue, rows) if queue.key in keys]

    def completed(self, vhost: str | None = None, names: Collection[str] | None = None) -> list[Queue]:
        """The same queues as `queues` with live totals, and with what only their reports say."""
        live = self.queues(vhost, names)
        keys = {queue.key for queue in live}
        some = None if vhost is None or names is None else keys | {(vhost, name) for name in names}
        reported = self.reported(vhost, some)
        if {queue.key for queue in reported} - keys:
            # The API remembers the reports of deleted queues for a time.
            there = self.keys(vhost)
            reported = [queue for queue in reported if queue.key in there]
        return completed(live, reported)

    def keys(self, vhost: str | None = None) -> set[Key]:
        """Every existing queue, even if it does not answer. Raises AccessRefused as `queues` does."""
        return {queue.key for queue in self._queues(vhost, {"disable_stats": "true", "columns": "vhost,name"})}

    def rows(self, path: str, query: Mapping[str, str]) -> list[Row] | None:
        """A list of the API; None if there is no such list, or the server keeps no statistics for it."""
        answer = self._request("GET", path, query)
        return _objects(answer) if isinstance(answer, list) else None

    def details(self, listed: str, paths: Iterable[str], query: Mapping[str, str]) -> list[Row]:
        """The objects at these paths, which are all in the list at `listed`; leaves out those that are gone. If there
        are many, the whole list.
        """
        # Not by name: the server goes through the whole list for each filter (RabbitMQ 4.3: 0.3 s of 10,000 queues).
        paths = list(paths)
        if len(paths) > FEW:
            return self.rows(listed, query) or []
        return _objects([self._request("GET", path, query) for path in paths])

    def tags(self) -> frozenset[str]:
        """The user's tags, which decide what it may see."""
        tags = at(self._request("GET", "/api/whoami"), "tags")
        listed = tags.split(",") if isinstance(tags, str) else tags if isinstance(tags, list) else []
        return frozenset(tag for tag in listed if isinstance(tag, str))

    def remembers(self) -> float:
        """For how many seconds the server keeps deliveries and acks; 0: it counts none (`rates_mode`)."""
        answer = self._request("GET", "/api/overview", {"columns": "rates_mode,sample_retention_policies.basic"})
        if at(answer, "rates_mode") == "none":
            return 0.0
        kept = at(answer, "sample_retention_policies", "basic")
        seconds = [count for each in (kept if isinstance(kept, list) else []) if (count := number(each)) is not None]
        return max(seconds, default=DEFAULT_RETENTION)

    def last_start(self) -> float | None:
        """When the last node started, in seconds since 1970; None if the server does not say, as in its first five
        seconds.
        """
        nodes = self.rows("/api/nodes", {"columns": "name,running,uptime"}) or []
        uptimes = [number(node.get("uptime")) for node in nodes if node.get("running") is not False]
        known = [uptime for uptime in uptimes if uptime is not None]
        return time.time() - min(known) / 1000 if known and len(known) == len(uptimes) else None

    def close_connection(self, name: str, reason: str) -> None:
        """Have the broker close a connection, if it is still open."""
        header = {"X-Reason": printable(reason).encode("ascii", "replace").decode()}
        self._request("DELETE", f"/api/connections/{quote(name, safe='')}", headers=header)

    def put(self, path: str, body: object) -> None:
        """Create or change what is at this path."""
        self._request("PUT", path, headers={"Content-Type": "application/json"}, body=json.dumps(body))

    def delete(self, path: str) -> None:
        """Delete what is at this path, if it is still there."""
        self._request("DELETE", path)

    def _queues(self, vhost: str | None, query: Mapping[str, str], names: Collection[str] | None = None) -> list[Queue]:
        path = f"/api/queues{below(vhost)}"
        pattern = "" if vhost is None or names is None else families(names)
        # Without names in one piece: a page of 500 costs the server half as much as all of 5,000, and pages are not of
        # one moment. With names as a list, too: the answer about a single queue has no live totals on RabbitMQ 3.10.
        is_short = 0 < len(pattern.encode()) <= LONGEST_PATTERN
        rows = self._pages(path, pattern, query) if is_short else self.rows(path, query)
        if rows is None and vhost is not None:
            raise AccessRefused(f"There is no vhost {vhost!r} at {self._urls[0]}", "See: rqtool queues --all-vhosts")
        if rows is None:
            raise Unreachable(f"What answers at {self._urls[0]} is no management API", _ADDRESS)
        return sorted(map(read_queue, rows), key=lambda queue: queue.key)

    def _pages(self, path: str, pattern: str, query: Mapping[str, str]) -> list[Row] | None:
        """The rows whose whole names match; None where there is no list at this path."""
        found: list[Row] = []
        page, pages = 0, 1
        while page < pages:
            page += 1
            only = {"page": str(page), "page_size": str(PAGE), "name": f"^(?:{pattern})$", "use_regex": "true"}
            answer = self._request("GET", path, {**query, **only})
            if answer is None:
                return None
            pages = number(at(answer, "page_count")) or 0
            found += _objects(at(answer, "items"))
        return [row for row in found if re.fullmatch(pattern, str(row.get("name")))]  # the API ignores case

    def _request(self, method: str, path: str, query: Mapping[str, str] | None = None, **more: Any) -> object:
        """The decoded answer, None for 400 and 404, of the first address that answers. `more`: headers, body."""
        failure: Unreachable | None = None
        for url in list(self._urls):
            try:
                answer = self._ask(url, method, path, fields=dict(query or {}), **more)
            except Unreachable as unreachable:
                failure = failure or unreachable
                continue
            if url not in self._guesses:  # then another program may be at those
                self._urls = [each for each in self._urls if each not in self._guesses]
            self._urls.sort(key=lambda each: each is not url)
            return answer
        raise failure or Unreachable("No management API is named", "Give --api-url or RQTOOL_API_URL")

    def _ask(
        self, url: ApiURL, method: str, path: str, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> object:
        # Not urllib3.make_headers: it encodes as Latin-1, and RabbitMQ's passwords are UTF-8.
        login = b64encode(f"{url.user}:{url.password}".encode("utf-8", "surrogateescape")).decode()
        headers = {"Authorization": f"Basic {login}", **(headers or {})}
        try:
            # Without redirects: the password goes to the address that the user named, and to no other.
            answer = self._pool.request(method, url.base + path, headers=headers, redirect=False, **more)
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(url, error) from None
        if answer.status in (401, 403):
            raise _refusal(url, answer.data)
        if answer.status in (201, 204):
            return True
        try:
            decoded: object = json.loads(answer.data)
        except ValueError:
            decoded = None
        if answer.status in (400, 404) and isinstance(decoded, dict):
            return None
        if answer.status >= 500:
            raise Unreachable(
                f"The management API at {url} fails (HTTP status {answer.status})", "Its node's log says why; try again"
            )
        if answer.status != 200 or decoded is None:
            raise Unreachable(f"What answers at {url} is no management API (HTTP status {answer.status})", _ADDRESS)
        return decoded


def below(vhost: str | None) -> str:
    """The part of a path that names a vhost; empty for all vhosts."""
    return "" if vhost is None else f"/{quote(vhost, safe='')}"


def queue_path(key: Key) -> str:
    """Where a queue is in the API."""
    vhost, name = key
    return f"/api/queues{below(vhost)}/{quote(name, safe='')}"


def _objects(rows: object) -> list[Row]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _refusal(url: ApiURL, body: bytes) -> AccessRefused:
    try:
        reason = str(table(json.loads(body)).get("reason", ""))
    except ValueError:
        reason = ""
    if "management" in reason.lower():
        return AccessRefused(
            f"User {url.user!r} may not use the management API at {url}",
            f"Give it the tag: rabbitmqctl set_user_tags {url.user} monitoring",
        )
    return AccessRefused(
        f"The management API at {url} refused user {url.user!r}: wrong name, password or vhost",
        "Put the right ones into RQTOOL_URL or RQTOOL_API_URL",
    )


def _unreachable(url: ApiURL, error: BaseException) -> Unreachable:
    """What is wrong, from the innermost of urllib3's nested errors."""
    words = "timed out" if isinstance(error, urllib3.exceptions.TimeoutError) else "the connection broke off"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            words = tls_words(cause)
            return Unreachable(f"No TLS connection to {url}: {words}", tls_hint(words))
        if isinstance(cause, http.client.BadStatusLine) and not isinstance(cause, http.client.RemoteDisconnected):
            return Unreachable(f"What answers at {url} does not speak HTTP", _ADDRESS)
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror.lower()
            if isinstance(cause, ConnectionRefusedError):
                return NothingListens(f"No management API answers at {url}: {words}", _PLUGIN)
            break
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"No management API answers at {url}: {words}", _ADDRESS)
