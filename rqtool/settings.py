"""Where the broker is: flag, environment, private node, default, in this order; one frozen answer."""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.localbroker import running_node
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

    The private node's management address serves only when its broker does: figures of one broker beside the tasks of
    another would be worse than none.
    """
    node = None if url else running_node()
    urls = parse_broker_urls(url or (node.amqp_url if node else DEFAULT_URL))
    if api_url:
        api_urls = parse_api_urls(api_url, urls[0])
    elif node:
        api_urls = parse_api_urls(node.api_url, urls[0])
    else:
        api_urls = tuple(dict.fromkeys(derive_api_url(u) for u in urls))
    return Endpoint(urls, api_urls)
