"""Where the broker is: flag, environment, private broker, default, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rqtool.endpoint.tls import TLSOptions, tls_context
from rqtool.endpoint.urls import AMQP_FORM, BrokerURL, Endpoint, derive_api_url, parse_api_urls, parse_broker_urls
from rqtool.errors import UsageError

if TYPE_CHECKING:
    from rqtool.private_broker.node import Node

DEFAULT_URL = "amqp://guest:guest@localhost:5672/"


def find_endpoint(
    url: str | None, api_url: str | None, *, url_file: Path | None = None, tls: TLSOptions | None = None
) -> Endpoint:
    """Resolve what the options and their environment twins say; `url` counts before `url_file`.

    Raises UsageError for a bad URL or an unusable file. The private broker's management address serves only when it
    does itself: figures of one broker beside the tasks of another would be worse than none.
    """
    nodes: tuple[Node, ...] = ()
    if not (url or url_file):
        from rqtool.private_broker.cluster import private_nodes  # 20 ms that a look at another broker need not wait

        nodes = private_nodes()
    if url_file is not None and not url:
        urls = _read(url_file)
    elif nodes:
        urls = tuple(node.broker_url for node in nodes)
    else:
        urls = parse_broker_urls(url or DEFAULT_URL)
    if len({each.vhost for each in urls}) > 1:
        raise UsageError("The URLs name different vhosts", "Name nodes of one cluster, with the same vhost at the end")
    if api_url:
        api_urls = parse_api_urls(api_url, urls[0])
    elif nodes:
        api_urls = parse_api_urls(",".join(node.api_url for node in nodes), urls[0])
    else:
        api_urls = tuple(dict.fromkeys(derive_api_url(u) for u in urls))
    encrypted = any(u.tls for u in urls) or any(u.tls for u in api_urls)
    return Endpoint(urls, api_urls, tls_context(tls or TLSOptions()) if encrypted else None)


def _read(file: Path) -> tuple[BrokerURL, ...]:
    """The addresses in a file, one per line or separated by commas. Errors never quote it: it holds a password."""
    try:
        text = ",".join(filter(None, (part.strip(",") for part in file.read_text().split())))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"{file} can't be read: {why}", "Name a file that holds the broker's URL") from None
    try:
        return parse_broker_urls(text)
    except UsageError:
        raise UsageError(
            f"{file} holds no usable URL", f"Write {AMQP_FORM} into it, with special characters percent-encoded"
        ) from None
