"""The management HTTP API → plain data. https://www.rabbitmq.com/docs/management#http-api"""

from __future__ import annotations

import http.client
import json
import ssl
import time
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from urllib.parse import quote

import urllib3

from rqtool.endpoint.tls import tls_hint, tls_words
from rqtool.endpoint.urls import ApiURL
from rqtool.errors import AccessRefused, NothingListens, Unreachable
from rqtool.management.fields import Row, at, number, table
from rqtool.management.in_thread import begin
from rqtool.management.queue import Key, Queue, completed, key_of, read_queue
from rqtool.text import printable
from rqtool.topology import belongs

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

# Without statistics the totals are live; with them they are seconds old.
_LIVE = {"disable_stats": "true", "enable_queue_totals": "true"}
_COLUMNS = (
    "vhost,name,messages,messages_ready,messages_unacknowledged,state,type,durable,exclusive,auto_delete,arguments,"
    "effective_policy_definition,consumers,head_message_timestamp,members,online,leader"
)
_POLICIES = ("policies", "operator-policies")
DEFAULT_RETENTION = 3600
"""Seconds, for a server that does not say how long it keeps its counters."""
ROWS = 30
"""So many rows of a list cost the server as much as one object that is requested by itself."""
SAMPLED_ROWS = 2
"""The same of rows with ten minutes of samples."""
LARGEST_PAGE = 500
"""Rows: the server allows no more."""
USUAL = 1_000
"""Rows of a list that has not been requested yet."""
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
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
            retries=False,
            ssl_context=tls,
            maxsize=2,
        )
        self._lengths: dict[str, int] = {}
        """Of the lists, by path."""

    def queues(self, vhost: str | None = None, names: Collection[str] | None = None) -> list[Queue]:
        """Every queue that this user may see in one vhost or (None) in all, with live totals; with `names` those with
        these names, and those beside them in which their tasks wait or return.

        Raises AccessRefused also where the vhost does not exist.
        """
        return self._queues(vhost, _LIVE, names)

    def reported(self, vhost: str | None, keys: Collection[Key]) -> list[Queue]:
        """These queues with the totals that they last reported, seconds old. Queues that have not reported yet have
        none; the list is empty where the server keeps no statistics.
        """
        rows = self.details(f"/api/queues{below(vhost)}", map(queue_path, keys), {"columns": _COLUMNS})
        return [queue for queue in map(read_queue, rows) if queue.key in keys]

    def completed(
        self,
        vhost: str | None = None,
        names: Collection[str] | None = None,
        *,
        with_consumers: bool = True,
        with_ages: bool = True,
    ) -> list[Queue]:
        """The same queues as `queues`, also those that do not answer yet, with live totals and with what only their
        reports say: where they are wanted the number of consumers, and what tells the age of what is ready.
        """
        if names is not None:
            asked = begin(partial(self._queues, vhost, {}, names))  # the server answers both at once
            return completed(self.queues(vhost, names), asked.result())
        there = begin(partial(self.keys, vhost))
        live = self.queues(vhost)
        sure = {each.key for each in live if each.is_sure and not (with_ages and each.ready)}
        everything = with_consumers or self._has_policies(vhost)
        return completed(live, self.reported(vhost, there.result() - (set() if everything else sure)))

    def keys(self, vhost: str | None = None) -> set[Key]:
        """Every existing queue, even if it does not answer. Raises AccessRefused as `queues` does."""
        return set(map(key_of, self._list(vhost, {"disable_stats": "true", "columns": "vhost,name"})))

    def rows(self, path: str, query: Mapping[str, str]) -> list[Row] | None:
        """A list of the API; None if there is no such list, or the server keeps no statistics for it."""
        answer = self._request(path, query)
        if not isinstance(answer, list):
            return None
        self._lengths[path] = len(answer)
        return _objects(answer)

    def details(self, listed: str, paths: Iterable[str], query: Mapping[str, str], rows: int = ROWS) -> list[Row]:
        """The objects at these paths, which are all in the list at `listed`; leaves out those that are gone. Requests
        the whole list if that costs less: so many `rows` of it cost as much as one object.
        """
        # Not by name: the server goes through the whole list for each filter (RabbitMQ 4.3: 0.3 s of 10,000 queues).
        paths = list(paths)
        if rows * len(paths) > self._lengths.get(listed, USUAL):
            return self.rows(listed, query) or []
        return _objects([self._request(path, query) for path in paths])

    def tags(self) -> frozenset[str]:
        """The user's tags, which decide what it may see."""
        tags = at(self._request("/api/whoami"), "tags")
        listed = tags.split(",") if isinstance(tags, str) else tags if isinstance(tags, list) else []
        return frozenset(tag for tag in listed if isinstance(tag, str))

    def remembers(self) -> float:
        """For how many seconds the server keeps deliveries and acks; 0: it counts none (`rates_mode`)."""
        answer = self._request("/api/overview", {"columns": "rates_mode,sample_retention_policies.basic"})
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
        said = printable(reason).encode("ascii", "replace").decode()
        self._request(f"/api/connections/{quote(name, safe='')}", method="DELETE", reason=said)

    def _list(self, vhost: str | None, query: Mapping[str, str], text: str = "") -> list[Row]:
        """The list of queues, at least of those with this text in their names. If it is long, all of it in one piece: a
        page of 500 costs the server half as much as all of 5,000, and pages are not of one moment.
        """
        path = f"/api/queues{below(vhost)}"
        if text:
            page = self._request(path, {**query, "name": text, "page": "1", "page_size": str(LARGEST_PAGE)})
            self._lengths[path] = number(at(page, "total_count")) or USUAL
            if (number(at(page, "page_count")) or 0) <= 1 and isinstance(found := at(page, "items"), list):
                return _objects(found)
        rows = self.rows(path, query)
        if rows is None and vhost is not None:
            raise AccessRefused(f"There is no vhost {vhost!r} at {self._urls[0]}", "See: rqtool queues --all-vhosts")
        if rows is None:
            raise Unreachable(f"What answers at {self._urls[0]} is no management API", _ADDRESS)
        return rows

    def _queues(self, vhost: str | None, query: Mapping[str, str], names: Collection[str] | None) -> list[Queue]:
        # The server filters by one text, and goes through the whole list each time.
        shortest = min(names, key=len) if names else ""
        text = shortest if all(shortest in name for name in names or ()) else ""
        queues = map(read_queue, self._list(vhost, {**query, "columns": _COLUMNS}, text))
        found = (each for each in queues if names is None or belongs(each.name, names))
        return sorted(found, key=lambda queue: queue.key)

    def _has_policies(self, vhost: str | None) -> bool:
        """RabbitMQ 4.3 alone has them in the list with live totals."""
        return any(self.rows(f"/api/{kind}{below(vhost)}", {"columns": "name"}) for kind in _POLICIES)

    def _request(
        self, path: str, query: Mapping[str, str] | None = None, *, method: str = "GET", reason: str = ""
    ) -> object:
        """The decoded answer, None for 400 and 404, of the first address that answers."""
        failure: Unreachable | None = None
        for url in self._urls:
            try:
                answer = self._ask(url, method, path, dict(query or {}), {"X-Reason": reason} if reason else {})
            except Unreachable as unreachable:
                failure = failure or unreachable
                continue
            wrong = [] if url in self._guesses else self._guesses  # then another program may be at those
            self._urls = [url, *(each for each in self._urls if each is not url and each not in wrong)]
            return answer
        raise failure or Unreachable("No management API is named", "Give --api-url or RQTOOL_API_URL")

    def _ask(self, url: ApiURL, method: str, path: str, query: dict[str, str], headers: dict[str, str]) -> object:
        # Not urllib3.make_headers: it encodes as Latin-1, and RabbitMQ's passwords are UTF-8.
        login = b64encode(f"{url.user}:{url.password}".encode("utf-8", "surrogateescape")).decode()
        headers = {"Authorization": f"Basic {login}", **headers}
        try:
            # Without redirects: the password goes to the address that the user named, and to no other.
            answer = self._pool.request(method, url.base + path, fields=query, headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(url, error) from None
        if answer.status in (401, 403):
            raise _refusal(url, answer.data)
        if answer.status == 204:
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
    """An Unreachable error that gives the cause, from the innermost of urllib3's nested errors."""
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
