"""Where the broker is: flag, environment, private broker, default, in this order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from rqtool.endpoint.tls import TLSOptions, tls_context
from rqtool.endpoint.urls import (
    AMQP_FORM,
    BrokerURL,
    Endpoint,
    check_vhost,
    derive_api_url,
    parse_api_urls,
    parse_broker_urls,
)
from rqtool.errors import UsageError

DEFAULT_URL = "amqp://guest:guest@localhost:5672/"


def find_endpoint(
    url: str | None,
    api_url: str | None,
    *,
    url_file: Path | None = None,
    private: Endpoint | None = None,
    tls: TLSOptions | None = None,
    vhost: str | None = None,
) -> Endpoint:
    """Resolve the options and their environment twins; `url` precedes `url_file`, and both precede `private`. `vhost`
    takes the place of the URL's.

    Raises UsageError for a bad URL or an unusable file. The private broker's management API is used only with that
    broker: mixing the figures of one with the tasks of another would mislead.
    """
    if url_file is not None and not url:
        urls = _read(url_file)
    elif private is not None and not private.stopped and not url:
        urls = private.urls
    else:
        urls = parse_broker_urls(url or DEFAULT_URL)
    is_private = private is not None and _addresses(urls) <= _addresses(private.urls)
    stopped = private is not None and private.stopped and (is_private or not (url or url_file or api_url))
    if vhost is not None:
        urls = tuple(replace(each, vhost=check_vhost(vhost)) for each in urls)
    if len({each.vhost for each in urls}) > 1:
        raise UsageError("The URLs name different vhosts", "Name nodes of one cluster, with the same vhost at the end")
    if api_url:
        api_urls = parse_api_urls(api_url, urls[0])
    elif private is not None and is_private:
        api_urls = tuple(replace(each, user=urls[0].user, password=urls[0].password) for each in private.api_urls)
    else:
        api_urls = tuple(dict.fromkeys(derive_api_url(u) for u in urls))
    encrypted = any(u.tls for u in urls) or any(u.tls for u in api_urls)
    return Endpoint(urls, api_urls, tls_context(tls or TLSOptions()) if encrypted else None, stopped)


def _addresses(urls: Iterable[BrokerURL]) -> set[tuple[str, int]]:
    return {("127.0.0.1" if each.host == "localhost" else each.host, each.port) for each in urls}


def _read(file: Path) -> tuple[BrokerURL, ...]:
    """The URLs in a file, one per line or separated by commas. Errors never quote it: it contains a password."""
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
