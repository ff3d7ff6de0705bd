"""Addresses of brokers and of their management API: parse, mask, derive. Pure.

Rules: https://www.rabbitmq.com/docs/uri-spec and https://www.rabbitmq.com/docs/uri-query-parameters. One departure,
shared with pika: the path `/` means the vhost `/`, where the specification reads it as the vhost with an empty name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, quote, unquote, urlsplit

from rqtool.errors import NothingListens, UsageError
from rqtool.text import is_text, printable

if TYPE_CHECKING:
    import ssl

AMQP_FORM = "amqp://USER:PASSWORD@HOST:PORT/VHOST"
LONGEST_VHOST = 255
"""Bytes: a short string in AMQP 0-9-1."""
_NO_HOST = re.compile(r"[\s\x00-\x20\x7f,;\[\]]|\.\.|[^.]{64}")
"""What no host name contains (RFC 1035). A comma remains of a list with an empty member."""
_SEPARATOR = re.compile(r"\s*,\s*(?=amqps?://|https?://)")


@dataclass(frozen=True, slots=True)
class BrokerURL:
    """One AMQP address. `str()` hides the password; `full` has it, for pika and other programs."""

    tls: bool
    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str = "/"
    query: str = ""

    @property
    def full(self) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}@"
        query = f"?{self.query}" if self.query else ""
        return f"{self._scheme}://{login}{_bracketed(self.host)}:{self.port}/{quote(self.vhost, safe='')}{query}"

    @property
    def _scheme(self) -> str:
        return "amqps" if self.tls else "amqp"

    def __str__(self) -> str:
        user = "" if self.user == "guest" else f"{quote(self.user, safe='')}@"
        vhost = "" if self.vhost == "/" else quote(self.vhost, safe="")
        return f"{self._scheme}://{user}{_bracketed(self.host)}:{self.port}/{vhost}"


@dataclass(frozen=True, slots=True)
class ApiURL:
    """One management API. `base` has no login and no trailing slash. `instead`: where else it may be."""

    base: str
    user: str
    password: str = field(repr=False)
    instead: ApiURL | None = None

    @property
    def tls(self) -> bool:
        return self.base.startswith("https:")

    def __str__(self) -> str:
        return f"{self.base}/"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker (several nodes of a cluster: any of `urls`) and its management API (any of `api_urls`).

    `tls` is for those that begin with amqps:// or https://, None if none does. `stopped`: the private broker would be
    used, but is not running.
    """

    urls: tuple[BrokerURL, ...]
    api_urls: tuple[ApiURL, ...]
    tls: ssl.SSLContext | None = None
    stopped: bool = False

    @property
    def vhost(self) -> str:
        return self.urls[0].vhost

    def explained(self, error: NothingListens) -> NothingListens:
        """Return the error, with its cause where that is known."""
        if not self.stopped:
            return error
        what = f"The private broker is stopped, and {error.what[0].lower()}{error.what[1:]}"
        start = "rqtool broker start"
        other = "; or ".join(each for each in error.what_to_do.split("; or ") if not each.endswith(start))
        return NothingListens(what, f"Start it with: {start}; or {other[0].lower()}{other[1:]}")


def parse_broker_urls(text: str) -> tuple[BrokerURL, ...]:
    """Return the addresses of a comma-separated list. Raises UsageError, whose text hides passwords."""
    return tuple(_parse_broker_url(part.strip()) for part in _SEPARATOR.split(text.strip()))


def _parse_broker_url(text: str) -> BrokerURL:
    parts, host = _split(text, ("amqp", "amqps"), AMQP_FORM)
    tls = parts.scheme == "amqps"
    user = unquote(parts.username) if parts.username is not None else "guest"
    password = unquote(parts.password) if parts.password is not None else ("guest" if user == "guest" else "")
    vhost = unquote(parts.path[1:]) or "/"
    check_vhost(vhost)
    return BrokerURL(
        tls=tls,
        host=host,
        port=parts.port or (5671 if tls else 5672),
        user=user,
        password=password,
        vhost=vhost,
        query=parts.query,
    )


def check_vhost(name: str) -> str:
    """Return the name. Raises UsageError for one that no vhost can have."""
    if not name or not is_text(name):
        raise UsageError(f"{name!r} is no vhost", "Give a name in UTF-8")
    if len(name.encode()) > LONGEST_VHOST:
        raise UsageError(f"A vhost of more than {LONGEST_VHOST} bytes", "Give a shorter name")
    return name


def parse_api_urls(text: str, login: BrokerURL) -> tuple[ApiURL, ...]:
    """Return the management addresses of a comma-separated list; those without a user get that of `login`.

    Raises UsageError, whose text hides passwords.
    """
    return tuple(_parse_api_url(part.strip(), login) for part in _SEPARATOR.split(text.strip()))


def _parse_api_url(text: str, login: BrokerURL) -> ApiURL:
    parts, host = _split(text, ("http", "https"), "http://HOST:15672")
    where = f"{_bracketed(host)}:{parts.port}" if parts.port else _bracketed(host)
    path = parts.path.rstrip("/").removesuffix("/api")
    if parts.username is None:
        user, password = login.user, login.password
    else:
        user, password = unquote(parts.username), unquote(parts.password or "")
    return ApiURL(f"{parts.scheme}://{where}{path}", user, password)


def _split(text: str, schemes: tuple[str, str], form: str) -> tuple[SplitResult, str]:
    """Return the parts of a URL, and its host. Raises UsageError."""
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _bad(text, form) from None
    if parts.scheme not in schemes or not host or port == 0 or _NO_HOST.search(host):
        raise _bad(text, form)
    # An @ there: a password with a raw slash or question mark, torn apart.
    if "#" in text or "@" in parts.path + parts.query or not is_text(text):
        raise _bad(text, form)
    return parts, host


def derive_api_url(broker: BrokerURL) -> ApiURL:
    """Return the default address of this broker's management API. Hosted brokers use the default port of https."""
    host, user, password = _bracketed(broker.host), broker.user, broker.password
    if not broker.tls:
        return ApiURL(f"http://{host}:15672", user, password)
    return ApiURL(f"https://{host}:15671", user, password, ApiURL(f"https://{host}", user, password))


def masked(text: str) -> str:
    """Return a URL, even one that can't be parsed, with everything hidden between the scheme and the last `@`. Without
    an `@`, hide a port that is not a number.
    """
    secret, at, rest = text.rpartition("@")
    if not at:
        return re.sub(r"(//[^/:\[]*:)(?!\d*(/|$)).*", r"\1***", text, flags=re.DOTALL)
    scheme = re.match(r"\w+://", secret)
    return f"{scheme[0] if scheme else ''}***@{rest}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _bad(text: str, form: str) -> UsageError:
    shown = printable(masked(text)) if text else "an empty text"
    return UsageError(f"{shown} is not a usable URL", f"Write {form}, with special characters percent-encoded")
