"""Where the broker is and how to speak to it, as one frozen answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rqtool.urls import ApiURL, BrokerURL

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker (several nodes of a cluster: any of `urls`) and its management API (any of `api_urls`).

    `tls` is for those of them that begin with amqps:// or https://, None where none does.
    """

    urls: tuple[BrokerURL, ...]
    api_urls: tuple[ApiURL, ...]
    tls: ssl.SSLContext | None = None

    @property
    def vhost(self) -> str:
        return self.urls[0].vhost
