"""The management HTTP API → plain data. https://www.rabbitmq.com/docs/management#http-api"""

from __future__ import annotations

import json
import re
import ssl
from base64 import b64encode
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import urllib3

from rqtool.errors import AccessRefused, Unreachable
from rqtool.tls import tls_hint, tls_words
from rqtool.urls import ApiURL

CONNECT_SECONDS, READ_SECONDS = 5.0, 30.0

# Totals without statistics are what the queues say now; with statistics they are seconds old.
_LIVE = {"disable_stats": "true", "enable_queue_totals": "true"}
_PLUGIN = (
    "Turn it on with: rabbitmq-plugins enable rabbitmq_management; or name it with --api-url or RQTOOL_API_URL; "
    "or start a private broker with: rqtool broker start"
)


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue under rabbitmqctl's own names. None: the API does not say."""

    vhost: str
    name: str
    messages_ready: int | None
    messages_unacknowledged: int | None
    consumers: int | None
    state: str | None
    type: str | None
    durable: bool | None


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
        where = "" if vhost is None else f"/{quote(vhost, safe='')}"
        rows = self._get(f"/api/queues{where}", _LIVE)
        if not isinstance(rows, list):
            raise AccessRefused(f"There is no vhost {vhost!r} at {self._urls[0]}", "See: rqtool queues --all-vhosts")
        consumers = self._consumers(where)
        queues = [_queue(row, consumers) for row in rows if isinstance(row, dict)]
        return sorted(queues, key=lambda q: (q.vhost, q.name))

    def matching(self, vhost: str, pattern: str) -> list[Queue]:
        """Queues of a vhost whose whole name matches a regular expression, without their consumers, at most 500.

        Raises AccessRefused, Unreachable.
        """
        # Out of a list: the page of a single queue has no live totals on RabbitMQ 3.10. The filter ignores case.
        only = {"page": "1", "page_size": "500", "name": f"^(?:{pattern})$", "use_regex": "true"}
        page = self._get(f"/api/queues/{quote(vhost, safe='')}", _LIVE | only)
        rows = page.get("items") if isinstance(page, dict) else None
        found = [_queue(row, None) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        return [queue for queue in found if re.fullmatch(pattern, queue.name)]

    def _consumers(self, where: str) -> Counter[tuple[str, str]] | None:
        """Consumers per queue; None where the server keeps no statistics and answers 400."""
        rows = self._get(f"/api/consumers{where}", {"columns": "queue.name,queue.vhost"})
        if not isinstance(rows, list):
            return None
        queues = [row.get("queue") for row in rows if isinstance(row, dict)]
        return Counter((str(q.get("vhost")), str(q.get("name"))) for q in queues if isinstance(q, dict))

    def _get(self, path: str, query: Mapping[str, str]) -> object:
        """The decoded answer, None for 400 and 404, of the first address that answers."""
        failure: Unreachable | None = None
        for url in list(self._urls):
            try:
                answer = self._ask(url, path, query)
            except Unreachable as unreachable:
                failure = failure or unreachable
                continue
            self._urls = [url]
            return answer
        raise failure or Unreachable("No management API is named", "Give --api-url or RQTOOL_API_URL")

    def _ask(self, url: ApiURL, path: str, query: Mapping[str, str]) -> object:
        # Not urllib3.make_headers: it encodes as Latin-1, and RabbitMQ's passwords are UTF-8.
        login = b64encode(f"{url.user}:{url.password}".encode("utf-8", "surrogateescape")).decode()
        headers = {"Authorization": f"Basic {login}"}
        try:
            answer = self._pool.request("GET", url.base + path, fields=dict(query), headers=headers, redirect=False)
        except urllib3.exceptions.HTTPError as error:
            raise _unreachable(url, error) from None
        if answer.status in (401, 403):
            raise _refusal(url, answer.data)
        try:
            decoded: object = json.loads(answer.data)
        except ValueError:
            decoded = None
        if answer.status in (400, 404) and isinstance(decoded, dict):
            return None
        if answer.status != 200 or decoded is None:
            raise Unreachable(f"What answers at {url} is no management API (HTTP status {answer.status})", _PLUGIN)
        return decoded


def _queue(row: Mapping[str, Any], consumers: Counter[tuple[str, str]] | None) -> Queue:
    vhost, name = str(row.get("vhost", "")), str(row.get("name", ""))
    return Queue(
        vhost=vhost,
        name=name,
        messages_ready=_count(row.get("messages_ready")),
        messages_unacknowledged=_count(row.get("messages_unacknowledged")),
        consumers=None if consumers is None else consumers[(vhost, name)],
        state=_word(row.get("state")),
        type=_word(row.get("type")),
        durable=row["durable"] if isinstance(row.get("durable"), bool) else None,
    )


def _count(value: object) -> int | None:
    """Fields can be absent, "undefined" or []."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _word(value: object) -> str | None:
    return value if isinstance(value, str) and value != "undefined" else None


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
