"""Addresses: parsed, masked, derived."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rqtool.endpoint.urls import BrokerURL, derive_api_url, masked, parse_api_urls, parse_broker_urls
from rqtool.errors import UsageError
from tests.parsing import value_or_refusal

LOGIN = BrokerURL(tls=False, host="h", port=5672, user="u", password="secret")
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("amqp://h", BrokerURL(tls=False, host="h", port=5672, user="guest", password="guest")),
        ("amqps://h/", BrokerURL(tls=True, host="h", port=5671, user="guest", password="guest")),
        ("AMQP://H:1/", BrokerURL(tls=False, host="h", port=1, user="guest", password="guest")),
        ("amqp://u:p@h:1/v", BrokerURL(tls=False, host="h", port=1, user="u", password="p", vhost="v")),
        ("amqp://u@h", BrokerURL(tls=False, host="h", port=5672, user="u", password="")),
        ("amqp://guest@h", BrokerURL(tls=False, host="h", port=5672, user="guest", password="guest")),
        ("amqp://guest:@h", BrokerURL(tls=False, host="h", port=5672, user="guest", password="")),
        ("amqp://h/%2F", BrokerURL(tls=False, host="h", port=5672, user="guest", password="guest", vhost="/")),
        ("amqp://h/a%2Fb", BrokerURL(tls=False, host="h", port=5672, user="guest", password="guest", vhost="a/b")),
        ("amqp://a%40b:p%3A%2F%23@h", BrokerURL(tls=False, host="h", port=5672, user="a@b", password="p:/#")),
        ("amqp://u:p@ss@h", BrokerURL(tls=False, host="h", port=5672, user="u", password="p@ss")),
        ("amqp://[::1]:7/", BrokerURL(tls=False, host="::1", port=7, user="guest", password="guest")),
        (
            "amqp://h/v?heartbeat=5",
            BrokerURL(tls=False, host="h", port=5672, user="guest", password="guest", vhost="v", query="heartbeat=5"),
        ),
    ],
)
def test_every_part_of_a_broker_url_is_read(text: str, url: BrokerURL) -> None:
    """Scheme, login, host, port, vhost and options are read and percent-decoded; what is absent has its default."""
    assert (url,) == parse_broker_urls(text)


@given(
    user=ANY_TEXT,
    password=ANY_TEXT,
    vhost=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),  # at most 255 bytes
)
def test_full_round_trips(user: str, password: str, vhost: str) -> None:
    """What pika is given says the same as what was read, whatever characters are in it."""
    url = BrokerURL(tls=True, host="::1", port=1, user=user, password=password, vhost=vhost, query="heartbeat=5")
    assert (url,) == parse_broker_urls(url.full)


def test_a_comma_separated_list() -> None:
    """Nodes are separated by commas, blanks around them allowed; a comma inside a password separates nothing."""
    urls = parse_broker_urls(" amqp://u:a,b@h1:1/v,amqps://h2 ,amqp://h3 ")
    full = ["amqp://u:a%2Cb@h1:1/v", "amqps://guest:guest@h2:5671/%2F", "amqp://guest:guest@h3:5672/%2F"]
    assert full == [url.full for url in urls]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://h", "amqp://h:5672/"),
        ("amqp://guest:secret@h/", "amqp://h:5672/"),
        ("amqps://u:secret@h/v", "amqps://u@h:5671/v"),
        ("amqp://u:secret@[::1]:7/a%2Fb", "amqp://u@[::1]:7/a%2Fb"),
        ("amqp://a%40b:secret@h?heartbeat=5", "amqp://a%40b@h:5672/"),
    ],
)
def test_a_shown_broker_url_has_no_password(text: str, shown: str) -> None:
    """`str()` names the broker, the user unless it is guest, the vhost unless it is /, and nothing secret."""
    (url,) = parse_broker_urls(text)
    assert shown == str(url)
    assert "secret" not in repr(url)


PIECES = ["amqp", "amqps", "http", "://", ":", "/", "@", "?", "#", ",", ", ", " ", "\n", "\t", "%", "%ff", "%00", "%2C"]
PIECES += [
    "[",
    "]",
    "[::1]",
    "h",
    "5672",
    "99999",
    "-1",
    "\udcff",
    "\x00",
    "é",
    "..",
    "a" * 64,
    "b" * 300,
    "x=1",
    "&",
    "\\",
    ";",
]
JUNK = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)

SECRET_JUNK = JUNK.filter(lambda text: "://" not in text)  # behind a comma that would be the next address


@example("amqp://h[::1]@]")
@given(st.one_of(JUNK, JUNK.map("amqp://h{}".format), JUNK.map("amqp://{}@h".format), JUNK.map("amqp://h/{}".format)))
def test_any_text_is_a_list_of_addresses_or_refused(text: str) -> None:
    """What comes out can be connected to, says itself, and is read the same again; all else is a usage error."""
    urls = value_or_refusal(parse_broker_urls, text)
    if isinstance(urls, str):
        assert urls.isprintable()
        return
    for url in urls:
        assert str(url).isprintable()
        assert 0 < url.port < 65536
        assert url.host
        assert 0 < len(url.vhost.encode()) <= 255
        assert parse_broker_urls(url.full) == (url,)
        assert str(derive_api_url(url))


@given(
    st.sampled_from(["amqp", "amqps", "http", "redis"]),
    SECRET_JUNK,
    SECRET_JUNK,
    JUNK.filter(lambda end: "@" not in end),
)
def test_no_text_of_any_kind_shows_its_password(scheme: str, before: str, after: str, end: str) -> None:
    """Neither an error nor an address does, however torn apart the URL is."""
    text = f"{scheme}://user:{before}s3cret{after}@{end}"
    for parse in (parse_broker_urls, lambda text: parse_api_urls(text, LOGIN)):
        found = value_or_refusal(parse, text)
        assert "s3cret" not in (found if isinstance(found, str) else f"{found} {[str(url) for url in found]}")


BAD_BROKER_URLS = [
    "",
    "h",
    "h:5672",
    "http://h",
    "amqp://",
    "amqp://u:secret@",
    "amqp://u:secret@:5672",
    "amqp://u:secret@h:0",
    "amqp://u:secret@h:99999",
    "amqp://u:secret@h:port",
    "amqp://u:sec/ret@h",
    "amqp://u:secret#@h",
    "amqp://u:secret@h/#fragment",
    "amqp://u:secret@[::1",
    "redis://u:secret@h",
    "amqp://h,amqp://u:secret@h:99999",
    "amqp://u:se secret@h:99999",
    "amqp:u:secret@h",
    "amqp:/u:secret@h",
    "u:secret@h:5672",
    "amqp://u:secret",
    "amqp://u:5secret/v",
    "amqp://a,,amqp://u:secret@h",
    "amqp://u:secret@h,",
    "amqp://u:secret@a b",
    "amqp://u:secret@a..b",
    f"amqp://u:secret@{'a' * 64}",
    "amqp://u:secret@\udcff",
]


@pytest.mark.parametrize("text", BAD_BROKER_URLS)
def test_a_bad_broker_url_is_refused_without_its_password(text: str) -> None:
    """What is no AMQP address is a usage error that says how to write one, and gives nothing away."""
    with pytest.raises(UsageError, match="is not a usable URL") as refused:
        parse_broker_urls(text)
    assert "Write amqp://USER:PASSWORD@HOST:PORT/VHOST" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert "ret@" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "base", "user", "password"),
    [
        ("http://h", "http://h", "u", "secret"),
        ("https://h:1/", "https://h:1", "u", "secret"),
        ("http://h:15672/api/", "http://h:15672", "u", "secret"),
        ("http://h/rabbit/api", "http://h/rabbit", "u", "secret"),
        ("http://h/rabbit/", "http://h/rabbit", "u", "secret"),
        ("http://[::1]:1", "http://[::1]:1", "u", "secret"),
        ("http://me:p%40ss@h", "http://h", "me", "p@ss"),
        ("http://me@h", "http://h", "me", ""),
    ],
)
def test_every_part_of_an_api_url_is_read(text: str, base: str, user: str, password: str) -> None:
    """The base has neither login nor trailing slash nor /api; without a user in the URL the broker's serves."""
    (url,) = parse_api_urls(text, LOGIN)
    assert (base, user, password) == (url.base, url.user, url.password)
    assert f"{base}/" == str(url)
    assert repr(password) not in repr(url) or not password


def test_several_api_urls() -> None:
    """Management addresses are separated by commas too."""
    assert [str(url) for url in parse_api_urls(" http://a:1 ,https://b ", LOGIN)] == ["http://a:1/", "https://b/"]


def test_a_blank_after_the_comma() -> None:
    """`URL, URL` is a list as well, of brokers and of management addresses."""
    assert [str(url) for url in parse_broker_urls("amqp://a, amqp://b")] == ["amqp://a:5672/", "amqp://b:5672/"]
    assert [str(url) for url in parse_api_urls("http://a:1, https://b", LOGIN)] == ["http://a:1/", "https://b/"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "h:15672",
        "amqp://u:secret@h",
        "http://",
        "http://u:secret@",
        "http://u:secret@h:port",
        "http://u:se secret@h:port",
        "u:secret@h:15672",
    ],
)
def test_a_bad_api_url_is_refused_without_its_password(text: str) -> None:
    """What is no HTTP address is a usage error that says how to write one, and gives nothing away."""
    with pytest.raises(UsageError, match="is not a usable URL") as refused:
        parse_api_urls(text, LOGIN)
    assert "Write http://HOST:15672" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("broker", "api"),
    [
        ("amqp://h:1/v", "http://h:15672/"),
        ("amqps://h", "https://h:15671/"),
        ("amqp://[::1]", "http://[::1]:15672/"),
    ],
)
def test_the_api_is_derived_from_the_broker(broker: str, api: str) -> None:
    """Host and login are the broker's, scheme and port the management plugin's own."""
    (url,) = parse_broker_urls(broker.replace("//", "//u:secret@"))
    derived = derive_api_url(url)
    assert (api, "u", "secret") == (str(derived), derived.user, derived.password)
    assert "secret" not in repr(derived)


@pytest.mark.parametrize(
    ("broker", "instead"), [("amqp://h", None), ("amqps://h", "https://h/"), ("amqps://[::1]:9", "https://[::1]/")]
)
def test_hosted_brokers_have_the_api_at_443(broker: str, instead: str | None) -> None:
    (url,) = parse_broker_urls(broker.replace("//", "//u:secret@"))
    other = derive_api_url(url).instead
    assert (None if other is None else (str(other), other.user, other.password)) == (
        None if instead is None else (instead, "u", "secret")
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://u:p@h/v", "amqp://***@h/v"),
        ("amqp://u:p@q@h", "amqp://***@h"),
        ("amqp://h/v", "amqp://h/v"),
        ("amqp://a:b@h1,amqp://c:d@h2", "amqp://***@h2"),
    ],
)
def test_masked_hides_every_login(text: str, shown: str) -> None:
    """Nothing between `://` and the last `@` is left."""
    assert shown == masked(text)
