"""The management API → plain data, against a real HTTP server with canned answers."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from rqtool.endpoint.urls import ApiURL
from rqtool.errors import AccessRefused, Unreachable
from rqtool.management import api as management
from rqtool.management.api import LARGEST_PAGE, ROWS, SAMPLED_ROWS, Management, queue_path
from rqtool.management.fields import Row
from rqtool.management.queue import Queue

ROW = {
    "vhost": "/",
    "name": "q",
    "messages_ready": 3,
    "messages_unacknowledged": 1,
    "state": "running",
    "type": "classic",
    "durable": True,
}
QUEUE = Queue("/", "q", 3, 1, None, "running", "classic", True)


@dataclass
class Api:
    """`answers` maps a path to a status and a body (bytes as they are, all else as JSON); 404 for other paths."""

    answers: dict[str, tuple[int, object]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0

    @property
    def url(self) -> ApiURL:
        return ApiURL(f"http://127.0.0.1:{self.port}", "user", "secret")

    def client(self) -> Management:
        return Management([self.url])


def _handler(api: Api) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            api.asked.append(self.path)
            api.logins.append(self.headers.get("Authorization", ""))
            nothing = (404, {"error": "Object Not Found", "reason": "Not Found"})
            status, body = api.answers.get(urlsplit(self.path).path, nothing)
            if isinstance(body, list) and "page" in (query := parse_qs(urlsplit(self.path).query)):
                body = _page(body, query["name"][0], int(query["page_size"][0]))
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(data))} | api.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    return Handler


def _page(rows: list[Any], name: str, size: int) -> Row:
    """The first page of the rows with this text in their names."""
    found = [row for row in rows if not isinstance(row, dict) or name.lower() in row["name"].lower()]
    return {"items": found[:size], "page_count": -(-len(found) // size), "total_count": len(rows)}


def _many(*rows: Row) -> list[Row]:
    """A list so long that a few details are asked for one by one."""
    empty = ROW | {"messages_ready": 0, "messages_unacknowledged": 0}
    return [*rows, *(empty | {"name": f"other{n}"} for n in range(ROWS * len(rows)))]


def _serve() -> Iterator[Api]:
    api = Api()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(api)) as server:
        api.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield api
        server.shutdown()
        thread.join()


@pytest.fixture
def api() -> Iterator[Api]:
    yield from _serve()


@pytest.fixture
def other() -> Iterator[Api]:
    yield from _serve()


@pytest.fixture
def deaf() -> Iterator[ApiURL]:
    """An address where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield ApiURL(f"http://127.0.0.1:{held.getsockname()[1]}", "user", "secret")


class TestQueues:
    """What becomes of the rows."""

    def test_they_are_sorted(self, api: Api) -> None:
        """By vhost and name."""
        names = [("b", "x"), ("a", "z"), ("a", "y")]
        api.answers["/api/queues"] = (200, [ROW | {"vhost": vhost, "name": name} for vhost, name in names])
        assert [(queue.vhost, queue.name) for queue in api.client().queues()] == sorted(names)

    @pytest.mark.parametrize(
        ("arguments", "delays"),
        [
            ({"x-message-ttl": 1000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}, True),
            ({"x-message-ttl": 1000}, False),
            ({"x-dead-letter-exchange": ""}, False),
            ([], False),
            (None, False),
        ],
    )
    def test_queues_that_delay(self, api: Api, arguments: object, delays: bool) -> None:
        """What expires and goes elsewhere is not meant to be consumed."""
        api.answers["/api/queues"] = (200, [ROW | {"arguments": arguments}])
        assert [queue.delays for queue in api.client().queues()] == [delays]

    def test_totals_are_asked_for_live(self, api: Api) -> None:
        """Without statistics the totals are those of now; with them they are seconds old."""
        api.answers["/api/queues/%2F"] = (200, [])
        assert api.client().queues("/") == []
        live = {"disable_stats": ["true"], "enable_queue_totals": ["true"]}
        assert live.items() <= parse_qs(urlsplit(api.asked[0]).query).items()

    def test_names_are_encoded(self, api: Api) -> None:
        """Any character in the name of a vhost or queue stays within its part of the request."""
        vhost, name = "a/b c?", "c?d&e=#(f) ü.*"
        row = ROW | {"vhost": vhost, "name": name, "messages": 4}
        api.answers["/api/queues/a%2Fb%20c%3F"] = (200, _many(row))
        api.answers["/api/queues/a%2Fb%20c%3F/c%3Fd%26e%3D%23%28f%29%20%C3%BC.%2A"] = (200, row)
        [found] = api.client().queues(vhost, {name})
        assert found.key == (vhost, name)

    def test_the_login_is_sent(self, api: Api) -> None:
        """User and password, as basic authentication."""
        api.answers["/api/queues/%2F"] = (200, [])
        api.client().queues("/", {"q"})
        assert base64.b64encode(b"user:secret").decode() in api.logins[0]

    def test_a_login_may_have_any_characters(self, api: Api) -> None:
        """Beyond Latin-1 too: RabbitMQ reads UTF-8."""
        api.answers["/api/queues/%2F"] = (200, [])
        url = ApiURL(api.url.base, "jürgen", "5€")
        Management([url]).queues("/", {"q"})
        assert base64.b64encode("jürgen:5€".encode()).decode() in api.logins[0]

    @pytest.mark.parametrize("nothing", ["undefined", [], None, {}])
    @pytest.mark.parametrize("key", ["messages_ready", "messages_unacknowledged", "state", "type", "durable"])
    def test_what_the_api_does_not_say_is_none(self, api: Api, key: str, nothing: object) -> None:
        """Fields that are absent, "undefined" or [] are not known, and the others are."""
        absent = {name: value for name, value in ROW.items() if name != key}
        for row in (absent, ROW | {key: nothing}):
            api.answers["/api/queues/%2F"] = (200, [row])
            (queue,) = api.client().queues("/", {"q"})
            assert getattr(queue, key) is None
            assert absent == {name: getattr(queue, name) for name in absent}

    def test_true_is_no_figure(self, api: Api) -> None:
        """A truth value where a number belongs is not known, not 1."""
        api.answers["/api/queues/%2F"] = (200, [ROW | {"messages_ready": True, "durable": 1}])
        (queue,) = api.client().queues("/", {"q"})
        assert (queue.messages_ready, queue.durable) == (None, None)

    def test_rows_that_are_none_are_left_out(self, api: Api) -> None:
        """A list is read as far as it makes sense."""
        api.answers["/api/queues"] = (200, [[], "undefined", ROW])
        assert api.client().queues() == [QUEUE]

    def test_a_list_that_is_not_kept(self, api: Api) -> None:
        """A server without statistics answers 400: that is no list, and no empty one either."""
        api.answers["/api/consumers"] = (400, {"error": "bad_request", "reason": "Stats are disabled"})
        assert api.client().rows("/api/consumers", {}) is None
        api.answers["/api/consumers"] = (200, [])
        assert api.client().rows("/api/consumers", {}) == []

    def test_a_few_details(self, api: Api) -> None:
        """One by one, and without what is gone by now."""
        api.answers["/api/queues/%2F/a%20b"] = (200, {"name": "a b"})
        api.answers["/api/queues/%2F/gone"] = (404, {"error": "Object Not Found"})
        paths = [queue_path(("/", name)) for name in ("a b", "gone")]
        assert api.client().details("/api/queues/%2F", paths, {"columns": "name"}) == [{"name": "a b"}]
        assert [urlsplit(asked).path for asked in api.asked] == paths

    def test_many_details(self, api: Api) -> None:
        """The whole list: as many requests would take longer."""
        api.answers["/api/queues/%2F"] = (200, [{"name": "q"}])
        paths = [queue_path(("/", f"q{n}")) for n in range(100)]
        assert api.client().details("/api/queues/%2F", paths, {}) == [{"name": "q"}]
        assert len(api.asked) == 1
        api.answers["/api/queues/%2F"] = (400, {"error": "bad_request", "reason": "Stats are disabled"})
        assert api.client().details("/api/queues/%2F", paths, {}) == []

    @pytest.mark.parametrize("rows", [ROWS, SAMPLED_ROWS])
    @pytest.mark.parametrize(("shorter", "requests"), [(0, 5), (1, 1)])
    def test_details_and_the_length_of_their_list(self, api: Api, rows: int, shorter: int, requests: int) -> None:
        """One by one as long as that costs less than the list, which was read before, would again."""
        names = [f"q{n}" for n in range(rows * 5 - shorter)]
        api.answers["/api/queues/%2F"] = (200, [{"name": name} for name in names])
        api.answers |= {f"/api/queues/%2F/{name}": (200, {"name": name}) for name in names[:5]}
        client = api.client()
        client.rows("/api/queues/%2F", {})
        found = client.details("/api/queues/%2F", [f"/api/queues/%2F/{name}" for name in names[:5]], {}, rows)
        assert {"name": "q4"} in found
        assert len(api.asked) == 1 + requests

    @pytest.mark.parametrize(
        ("answer", "tags"),
        [
            ({"tags": ["monitoring", "x"]}, {"monitoring", "x"}),
            ({"tags": "management,administrator"}, {"management", "administrator"}),
            ({"tags": []}, set()),
            ({"tags": [["monitoring"], {}, "x"]}, {"x"}),
            ({}, set()),
        ],
    )
    def test_the_tags_of_the_user(self, api: Api, answer: object, tags: set[str]) -> None:
        """A list, or words with commas between them on older brokers."""
        api.answers["/api/whoami"] = (200, answer)
        assert api.client().tags() == tags

    @pytest.mark.parametrize(
        ("answer", "seconds"),
        [
            ({"rates_mode": "basic", "sample_retention_policies": {"basic": [600, 3600]}}, 3600),
            ({"rates_mode": "basic", "sample_retention_policies": {"basic": [60]}}, 60),
            ({"rates_mode": "none", "sample_retention_policies": {"basic": [600, 3600]}}, 0),
            ({"rates_mode": "basic", "sample_retention_policies": {"basic": [[], "x"]}}, 3600),
            ({"rates_mode": "basic"}, 3600),
            ([], 3600),
        ],
    )
    def test_how_far_it_remembers(self, api: Api, answer: object, seconds: float) -> None:
        """As long as the longest of its policies for queues, channels and connections; an hour by default."""
        api.answers["/api/overview"] = (200, answer)
        assert api.client().remembers() == seconds

    @pytest.mark.parametrize(
        ("nodes", "seconds_ago"),
        [
            ([{"name": "a", "running": True, "uptime": 90_000}], 90.0),
            ([{"running": True, "uptime": 90_000}, {"running": True, "uptime": 7_000}], 7.0),
            ([{"running": True, "uptime": 90_000}, {"running": False}], 90.0),
            ([{"running": True, "uptime": 90_000}, {"running": True}], None),
            ([{"running": True, "uptime": "long"}], None),
            ([[]], None),
            ({}, None),
        ],
    )
    def test_when_the_last_node_started(self, api: Api, nodes: object, seconds_ago: float | None) -> None:
        """Not known while a node that runs does not say."""
        api.answers["/api/nodes"] = (200, nodes)
        before, started, after = time.time(), api.client().last_start(), time.time()
        if seconds_ago is None:
            assert started is None
        else:
            assert started is not None
            assert before - 0.001 <= started + seconds_ago <= after + 0.001

    def test_what_queues_reported(self, api: Api) -> None:
        """With statistics; nothing where the server keeps none."""
        assert api.client().reported("/", {("/", "q")}) == []
        api.answers["/api/queues/%2F/q"] = (200, ROW)
        assert api.client().reported("/", {("/", "q")}) == [QUEUE]
        assert "disable_stats" not in api.asked[-1]

    def test_queues_with_their_reports(self, api: Api) -> None:
        """Consumers are in the reports."""
        api.answers["/api/queues/%2F"] = (200, [ROW | {"consumers": 2}])
        assert api.client().completed("/") == [replace(QUEUE, consumers=2)]

    @pytest.mark.parametrize(
        ("row", "ages", "asked"),
        [
            ({"messages": 0, "messages_ready": 0}, True, False),
            ({"messages": 1, "messages_ready": 0}, True, False),
            ({"messages": 4, "messages_ready": 3}, True, True),
            ({"messages": 4, "messages_ready": 3}, False, False),
            ({"messages": 0, "messages_ready": 0, "type": "quorum"}, False, True),
            ({"messages": 1, "messages_ready": 0, "type": "quorum"}, True, False),
        ],
    )
    @pytest.mark.parametrize("policies", [None, "policies", "operator-policies"])
    def test_reports_that_say_nothing_new(
        self, api: Api, row: dict[str, object], ages: bool, asked: bool, policies: str | None
    ) -> None:
        """They are not asked for where nobody needs what they say, and no policy can apply."""
        api.answers["/api/queues/%2F"] = (200, _many(ROW | row))
        api.answers["/api/queues/%2F/q"] = (200, ROW | row)
        if policies is not None:
            api.answers[f"/api/{policies}/%2F"] = (200, [{"name": "p"}])
        client = api.client()
        assert "q" in {queue.name for queue in client.completed("/", with_consumers=False, with_ages=ages)}
        reported = [path for path in api.asked if "disable_stats" not in path and "/api/queues" in path]
        assert (reported != []) == (asked or policies is not None)

    def test_a_queue_that_does_not_answer_yet(self, api: Api) -> None:
        """It exists, and its figures are unknown; one that is gone by now is left out."""
        api.answers["/api/queues/%2F"] = (200, _many(ROW | {"name": "mute"}, ROW | {"name": "gone"}))
        api.answers["/api/queues/%2F/mute"] = (200, ROW | {"name": "mute", "messages": 4})
        client = api.client()
        live = client.rows

        def rows(path: str, query: Mapping[str, str]) -> list[Row] | None:
            found = live(path, query) or []
            return [row for row in found if "enable_queue_totals" not in query or row["name"] not in ("mute", "gone")]

        client.rows = rows  # type: ignore[method-assign]
        [found] = [queue for queue in client.completed("/", with_consumers=False) if queue.name in ("mute", "gone")]
        assert (found.name, found.messages_ready) == ("mute", None)

    def test_one_queue_with_its_report(self, api: Api) -> None:
        """Its live totals, and what the report alone has, each in one request."""
        api.answers["/api/queues/%2F"] = (200, _many(ROW | {"consumers": 2}))
        assert api.client().completed("/", {"q"}) == [replace(QUEUE, consumers=2)]
        assert len(api.asked) == 2

    @pytest.mark.parametrize(
        ("names", "more", "requests"),
        [({"q"}, 0, 1), ({"q"}, LARGEST_PAGE, 2), ({"p", "q"}, 0, 1), ({"q", "q.dead"}, 0, 1)],
    )
    def test_queues_by_name(self, api: Api, names: set[str], more: int, requests: int) -> None:
        """A broker with many queues answers, live, with those that one name is part of, if they fit one page."""
        found = ["q", "q.retry.10s", "q.retry.x.1", "q.delay.0.5", "q.returned", "q.quarantine"]
        others = ["Q", "q2", "my.q", "qxretry.1s", "q.retry.", "o", *(f"q{n}" for n in range(more))]
        rows = [ROW | {"name": name, "messages": 4} for name in ("p", "q.dead", *found, *others)]
        api.answers["/api/queues/%2F"] = (200, rows)
        assert {queue.name for queue in api.client().queues("/", names)} == names | set(found)
        live = {"disable_stats": ["true"], "enable_queue_totals": ["true"]}
        assert all(live.items() <= parse_qs(urlsplit(path).query).items() for path in api.asked)
        assert len(api.asked) == requests
        assert ("name=q&" in api.asked[0]) == ("p" not in names)
        with pytest.raises(AccessRefused, match=r"There is no vhost 'v'"):
            api.client().queues("v", names)

    @pytest.mark.parametrize("answer", [[[]], ["undefined"], []])
    def test_queues_that_are_not_there(self, api: Api, answer: object) -> None:
        """An empty list is an answer: there are none."""
        api.answers["/api/queues/%2F"] = (200, answer)
        assert api.client().queues("/", {"none"}) == []

    def test_a_vhost_that_is_not_there(self, api: Api) -> None:
        """404 for a vhost is refused access, and names it."""
        with pytest.raises(AccessRefused, match=r"There is no vhost 'v' at http://127.0.0.1:\d+/\. See: rqtool queues"):
            api.client().queues("v")


class TestRefused:
    """The API refuses the user."""

    @pytest.mark.parametrize("status", [401, 403])
    def test_a_user_without_the_tag(self, api: Api, status: int) -> None:
        """A user without the right tag: the error names the tag."""
        api.answers["/api/queues"] = (status, {"error": "not_authorised", "reason": "Not management user"})
        with pytest.raises(AccessRefused, match=r"User 'user' may not use .* set_user_tags user monitoring") as refused:
            api.client().queues()
        assert "secret" not in str(refused.value)

    @pytest.mark.parametrize("body", [{"reason": "Login failed"}, {}, [], b"<html>", b"", {"reason": None}])
    def test_a_wrong_login(self, api: Api, body: object) -> None:
        """Any other 401 is about the login. The error does not repeat the password."""
        api.answers["/api/queues"] = (401, body)
        with pytest.raises(AccessRefused, match="refused user 'user': wrong name, password or vhost") as refused:
            api.client().queues()
        assert "secret" not in str(refused.value)


class TestUnreachable:
    """Nothing listens at the address, or something else does."""

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, b"<html>a router's own page</html>"),
            (200, b""),
            (200, b"\xff"),
            (200, b'[{"name": "q", "mess'),
            (200, None),
            (302, b""),
            (400, b"<html>"),
            (404, b"<html>no such page</html>"),
        ],
    )
    def test_what_is_no_management_api(self, api: Api, status: int, body: object) -> None:
        """An answer that is not the API's is no answer, and what it was is said."""
        api.answers["/api/queues"] = (status, body)
        expected = rf"What answers at http://127.0.0.1:\d+/ is no management API \(HTTP status {status}\)"
        with pytest.raises(Unreachable, match=expected) as unreachable:
            api.client().queues()
        assert "secret" not in str(unreachable.value)

    @pytest.mark.parametrize(("status", "body"), [(500, {"error": "internal"}), (503, b"not yet")])
    def test_an_api_that_fails(self, api: Api, status: int, body: object) -> None:
        """It is the right address, and no plugin is missing."""
        api.answers["/api/queues"] = (status, body)
        expected = rf"The management API at http://127.0.0.1:\d+/ fails \(HTTP status {status}\)\. Its node's log"
        with pytest.raises(Unreachable, match=expected):
            api.client().queues()

    @pytest.mark.parametrize(("status", "body"), [(404, {"error": "not found"}), (200, {"items": []}), (200, "yes")])
    def test_json_of_somebody_else(self, api: Api, status: int, body: object) -> None:
        """No list of queues is none of the API's, and no vhost is blamed for it that nobody named."""
        api.answers["/api/queues"] = (status, body)
        with pytest.raises(Unreachable, match="is no management API"):
            api.client().queues()

    def test_an_answer_that_breaks_off(self, api: Api) -> None:
        """Half an answer is none."""
        api.answers["/api/queues"] = (200, [ROW])
        api.headers["Content-Length"] = "100000"
        with pytest.raises(Unreachable, match="No management API answers at"):
            api.client().queues()

    def test_a_port_that_speaks_something_else(self) -> None:
        """For instance AMQP's own port: the address is wrong, and no plugin is missing."""
        with socket.create_server(("127.0.0.1", 0)) as server:

            def answer() -> None:
                client, _ = server.accept()
                client.recv(4096)
                client.sendall(b"AMQP\x00\x00\x09\x01")
                client.close()

            thread = threading.Thread(target=answer)
            thread.start()
            url = ApiURL(f"http://127.0.0.1:{server.getsockname()[1]}", "user", "secret")
            expected = r"What answers at http://127.0.0.1:\d+/ does not speak HTTP\. Name the API's address"
            with pytest.raises(Unreachable, match=expected):
                Management([url]).queues()
            thread.join()

    def test_redirects_are_not_followed(self, api: Api, other: Api) -> None:
        """The password goes to the address that the user named, and to no other."""
        api.answers["/api/queues"] = (302, b"")
        api.headers["Location"] = f"{other.url.base}/api/queues"
        other.answers["/api/queues"] = (200, [ROW])
        with pytest.raises(Unreachable):
            api.client().queues()
        assert other.asked == []

    def test_nobody_listens(self, deaf: ApiURL) -> None:
        """A refused connection is said in two words."""
        expected = r"No management API answers at http://127.0.0.1:\d+/: connection refused\. Turn it on with"
        with pytest.raises(Unreachable, match=expected) as unreachable:
            Management([deaf]).queues()
        assert "secret" not in str(unreachable.value)

    def test_no_answer_in_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A server that accepts the connection and never answers is given up."""
        monkeypatch.setattr(management, "READ_SECONDS", 0.05)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = ApiURL(f"http://127.0.0.1:{silent.getsockname()[1]}", "user", "secret")
            with pytest.raises(Unreachable, match="timed out"):
                Management([url]).queues()

    def test_no_address_at_all(self) -> None:
        """Without an address there is nobody to ask, and how to name one is said."""
        with pytest.raises(Unreachable, match=r"No management API is named\. Give --api-url or RQTOOL_API_URL\."):
            Management([]).queues()


class TestSeveralAddresses:
    """The nodes of a cluster."""

    def test_the_next_one_is_asked(self, deaf: ApiURL, api: Api) -> None:
        """Where the first does not answer, the second does."""
        api.answers["/api/queues/%2F"] = (200, [ROW])
        assert Management([deaf, api.url]).queues("/", {"q"}) == [QUEUE]

    def test_where_else_it_may_be(self, deaf: ApiURL, api: Api) -> None:
        """Asked where nothing answers; the error is still about the usual place."""
        api.answers["/api/queues/%2F"] = (200, [ROW])
        assert Management([replace(deaf, instead=api.url)]).queues("/", {"q"}) == [QUEUE]
        with pytest.raises(Unreachable, match=f"No management API answers at {deaf}: connection refused"):
            Management([replace(deaf, instead=deaf)]).queues()

    def test_where_else_it_is_not(self, api: Api, other: Api) -> None:
        """The usual place has answered: what else is at that host is not asked when it fails for once."""
        api.answers["/api/queues/%2F"] = (200, [ROW])
        client = Management([replace(api.url, instead=other.url)])
        assert client.queues("/", {"q"}) == [QUEUE]
        api.answers["/api/queues/%2F"] = (500, {})
        with pytest.raises(Unreachable, match="HTTP status 500"):
            client.queues("/", {"q"})
        assert other.asked == []

    def test_it_stays_with_the_one_that_answered(self, api: Api, other: Api) -> None:
        """A node that failed once is not asked again: figures of two nodes don't mix."""
        api.answers["/api/queues/%2F"] = (500, {})
        other.answers["/api/queues/%2F"] = (200, [])
        client = Management([api.url, other.url])
        assert client.queues("/", {"q"}) == []
        api.answers["/api/queues/%2F"] = (200, [ROW])
        assert client.queues("/", {"q"}) == []
        assert (len(api.asked), len(other.asked)) == (1, 2)

    def test_a_refusal_is_an_answer(self, api: Api, other: Api) -> None:
        """A wrong password is wrong everywhere."""
        api.answers["/api/queues"] = (401, {})
        with pytest.raises(AccessRefused):
            Management([api.url, other.url]).queues()
        assert other.asked == []

    def test_where_none_answers_the_first_is_named(self, deaf: ApiURL, api: Api) -> None:
        """The error is about the address that the user named first."""
        api.answers["/api/queues"] = (500, {})
        with pytest.raises(Unreachable, match="connection refused"):
            Management([deaf, api.url]).queues()
