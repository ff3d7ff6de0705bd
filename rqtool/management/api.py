"""The management HTTP API → plain data. https://www.rabbitmq.com/docs/management#http-api"""

from __future__ import annotations

import json
import re
import ssl
from base64 import b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from urllib.parse import quote

import urllib3

from rqtool.endpoint.tls import tls_hint, tls_words
from rqtool.endpoint.urls import ApiURL
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management.queue import Queue, Row, count_of, read_queue
from rqtool.text import printable

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

# Totals without statistics are what the queues say now; with statistics they are seconds old.
_LIVE = {"disable_stats": "true", "enable_queue_totals": "true"}
_COLUMNS = (
    "vhost,name,messages,messages_ready,messages_unacknowledged,state,type,durable,exclusive,auto_delete,arguments,"
    "effective_policy_definition,consumers"
)
PAGE = 500
"""The most that a page may have."""
LONGEST_PATTERN = 4_000
"""Bytes; a server refuses a request line of more than 8,000."""
_PLUGIN = (
    "Turn it on with: rabbitmq-plugins enable rabbitmq_management; or name it with --api-url or RQTOOL_API_URL; "
    "or start a private broker with: rqtool broker start"
)


class Management:
    """Asks the first of `urls` that answers, and stays with it."""

    def __init__(self, urls: Sequence[ApiURL], tls: ssl.SSLContext | None = None) -> None:
        self._urls = list(urls)
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS), retries=False, ssl_context=tls
        )

    def queues(self, vhost: str | None = None) -> list[Queue]:
        """Every queue that this user may see, of one vhost or (None) of all, by vhost and name.

        Raises AccessRefused (also where the vhost does not exist), Unreachable.
        """
        # In one piece: a page of 500 costs the server half as much as all of 5,000, and tears the picture.
        rows = self._get(f"/api/queues{_below(vhost)}", _LIVE | {"columns": _COLUMNS})
        if rows is None and vhost is not None:
            raise AccessRefused(f"There is no vhost {vhost!r} at {self._urls[0]}", "See: rqtool queues --all-vhosts")
        if not isinstance(rows, list):
            raise Unreachable(f"What answers at {self._urls[0]} is no management API", _PLUGIN)
        return sorted(map(read_queue, _objects(rows)), key=lambda q: (q.vhost, q.name))

    def reported(self, vhost: str | None = None) -> list[Queue] | None:
        """The same queues with the figures that they last reported, seconds old; those that have not yet reported have
        none. None: the server keeps no statistics. Raises AccessRefused, Unreachable.
        """
        rows = self.rows(f"/api/queues{_below(vhost)}", {"columns": _COLUMNS})
        return None if rows is None else list(map(read_queue, rows))

    def names(self, vhost: str | None = None) -> set[tuple[str, str]]:
        """Vhost and name of every queue, whether or not it can be asked. Raises AccessRefused, Unreachable."""
        rows = self.rows(f"/api/queues{_below(vhost)}", {"disable_stats": "true", "columns": "vhost,name"})
        return {(str(row.get("vhost")), str(row.get("name"))) for row in rows or []}

    def matching(self, vhost: str, pattern: str) -> list[Queue]:
        """Queues of a vhost whose whole name matches a regular expression, without their consumers, at most 500.

        Raises AccessRefused, Unreachable.
        """
        # Out of a list: the page of a single queue has no live totals on RabbitMQ 3.10. The filter ignores case.
        only = {"page": "1", "page_size": "500", "name": f"^(?:{pattern})$", "use_regex": "true"}
        page = self._get(f"/api/queues/{quote(vhost, safe='')}", _LIVE | only)
        rows = page.get("items") if isinstance(page, dict) else None
        return [queue for queue in map(read_queue, _objects(rows)) if re.fullmatch(pattern, queue.name)]

    def rows(self, path: str, query: Mapping[str, str]) -> list[Row] | None:
        """What a list of the API says; None where it does not exist, or the server keeps no statistics for it.

        Raises AccessRefused, Unreachable.
        """
        answer = self._get(path, query)
        return _objects(answer) if isinstance(answer, list) else None

    def named(self, path: str, names: Collection[str], query: Mapping[str, str]) -> list[Row]:
        """The rows of a list that have one of these names, in pages. Raises AccessRefused, Unreachable."""
        found: list[Row] = []
        for pattern in _patterns(sorted(names)):
            number, pages = 0, 1
            while number < pages:  # other vhosts have the same names, and the filter ignores case
                number += 1
                only = {"page": str(number), "page_size": str(PAGE), "name": pattern, "use_regex": "true"}
                page = self._get(path, {**query, **only})
                answer = page if isinstance(page, dict) else {}
                pages = count_of(answer.get("page_count")) or 0
                found += _objects(answer.get("items"))
        return having(found, names)

    def tags(self) -> frozenset[str]:
        """The user's tags, which say what it may see. Raises AccessRefused, Unreachable."""
        answer = self._get("/api/whoami", {})
        tags = answer.get("tags") if isinstance(answer, dict) else None
        listed = tags.split(",") if isinstance(tags, str) else tags if isinstance(tags, list) else []
        return frozenset(tag for tag in listed if isinstance(tag, str))

    def remembers(self) -> float | None:
        """For how many seconds the server keeps deliveries and acks; 0: it counts none (`rates_mode`); None: it does
        not say. Raises AccessRefused, Unreachable.
        """
        answer = self._get("/api/overview", {"columns": "rates_mode,sample_retention_policies.basic"})
        found = answer if isinstance(answer, dict) else {}
        if found.get("rates_mode") == "none":
            return 0.0
        policies = found.get("sample_retention_policies")
        kept = policies.get("basic") if isinstance(policies, dict) else None
        seconds = [count for each in (kept if isinstance(kept, list) else []) if (count := count_of(each)) is not None]
        return max(seconds, default=None)

    def close_connection(self, name: str, reason: str) -> bool:
        """Have the broker close a connection; False where it was gone already. Raises AccessRefused, Unreachable."""
        path = f"/api/connections/{quote(name, safe='')}"
        return (
            self._get(path, {}, "DELETE", {"X-Reason": printable(reason).encode("ascii", "replace").decode()})
            is not None
        )

    def put(self, path: str, body: object) -> None:
        """Make, or change, what is there. Raises AccessRefused, Unreachable."""
        self._get(path, {}, "PUT", {"Content-Type": "application/json"}, json.dumps(body))

    def delete(self, path: str) -> bool:
        """Delete what is there; False where it was gone already. Raises AccessRefused, Unreachable."""
        return self._get(path, {}, "DELETE") is not None

    def _get(
        self,
        path: str,
        query: Mapping[str, str],
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: str | None = None,
    ) -> object:
        """The decoded answer, None for 400 and 404, of the first address that answers."""
        failure: Unreachable | None = None
        for url in list(self._urls):
            try:
                answer = self._ask(url, path, query, method, headers or {}, body)
            except Unreachable as unreachable:
                failure = failure or unreachable
                continue
            self._urls.sort(key=lambda each: each is not url)
            return answer
        raise failure or Unreachable("No management API is named", "Give --api-url or RQTOOL_API_URL")

    def _ask(
        self, url: ApiURL, path: str, query: Mapping[str, str], method: str, more: Mapping[str, str], body: str | None
    ) -> object:
        # Not urllib3.make_headers: it encodes as Latin-1, and RabbitMQ's passwords are UTF-8.
        login = b64encode(f"{url.user}:{url.password}".encode("utf-8", "surrogateescape")).decode()
        headers = {"Authorization": f"Basic {login}", **more}
        try:
            answer = self._pool.request(
                method, url.base + path, fields=dict(query), headers=headers, body=body, redirect=False
            )
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
        if answer.status != 200 or decoded is None:
            raise Unreachable(f"What answers at {url} is no management API (HTTP status {answer.status})", _PLUGIN)
        return decoded


def having(rows: Sequence[Row], names: Collection[str]) -> list[Row]:
    """The rows with one of these names."""
    return [row for row in rows if isinstance(name := row.get("name"), str) and name in names]


def _below(vhost: str | None) -> str:
    return "" if vhost is None else f"/{quote(vhost, safe='')}"


def _objects(rows: object) -> list[Row]:
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _patterns(names: Sequence[str]) -> Iterator[str]:
    """Regular expressions, each of a request's length and for no more names than a page has rows."""
    group: list[str] = []
    length = 0
    for name in map(re.escape, names):
        size = len(quote(name)) + 3
        if group and (length + size > LONGEST_PATTERN or len(group) == PAGE):
            yield f"^(?:{'|'.join(group)})$"
            group, length = [], 0
        group.append(name)
        length += size
    if group:
        yield f"^(?:{'|'.join(group)})$"


def _refusal(url: ApiURL, body: bytes) -> AccessRefused:
    try:
        reason = str(json.loads(body).get("reason", ""))
    except (ValueError, AttributeError):
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
    """The cause at the bottom of urllib3's nested errors, in words."""
    words = str(error).rsplit(": ", 1)[-1].lower()
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            words = tls_words(cause)
            return Unreachable(f"No TLS connection to {url}: {words}", tls_hint(words))
        if isinstance(cause, ConnectionRefusedError):
            words = "connection refused"
            break
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror.lower()
            break
        cause = cause.__cause__ or cause.__context__
    return Unreachable(f"No management API answers at {url}: {words}", _PLUGIN)
