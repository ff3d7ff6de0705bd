"""Where the broker is: flag, environment, private broker, default, in this order; one frozen answer."""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.localbroker import private_nodes
from rqtool.urls import ApiURL, BrokerURL, derive_api_url, parse_api_urls, parse_broker_urls

DEFAULT_URL = "amqp://guest:guest@localhost:5672/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker (several nodes of a cluster: any of `urls`) and its management API (any of `api_urls`)."""

    urls: tuple[BrokerURL, ...]
    api_urls: tuple[ApiURL, ...]

    @property
    def vhost(self) -> str:
        return self.urls[0].vhost


def find_endpoint(url: str | None, api_url: str | None) -> Endpoint:
    """Resolve what the options and their environment twins say. Raises UsageError for a bad URL.

    The private broker's management address serves only when it does itself: figures of one broker beside the tasks of
    another would be worse than none.
    """
    nodes = () if url else private_nodes()
    urls = parse_broker_urls(url or ",".join(node.amqp_url for node in nodes) or DEFAULT_URL)
    if api_url:
        api_urls = parse_api_urls(api_url, urls[0])
    elif nodes:
        api_urls = parse_api_urls(",".join(node.api_url for node in nodes), urls[0])
    else:
        api_urls = tuple(dict.fromkeys(derive_api_url(u) for u in urls))
    return Endpoint(urls, api_urls)
