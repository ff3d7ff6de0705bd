"""`rqtool queues --watch` on a real pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Iterator

import pika
import pika.exceptions
import pytest
from rich.cells import cell_len

from tests.proxy import Proxy
from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually

CLEAR = b"\x1b[2J"
ALTERNATE, BACK = b"\x1b[?1049h", b"\x1b[?1049l"
SEQUENCE = re.compile(rb"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Terminal:
    """A pseudo-terminal with the program on it; `shown` is all that it wrote so far."""

    def __init__(self, vhost: Vhost, width: int, *arguments: str) -> None:
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        environment = clean_environment() | vhost.environment | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.before = termios.tcgetattr(follower)
        self._follower = follower
        self.process = subprocess.Popen(
            [*PYTHON, *arguments], env=environment, stdin=follower, stdout=follower, stderr=follower,
            start_new_session=True,
        )  # fmt: skip
        self.shown = b""

    def read(self) -> bytes:
        while select.select([self._leader], [], [], 0)[0]:
            self.shown += os.read(self._leader, 65536)
        return self.shown

    def frames(self) -> list[list[str]]:
        """What was drawn, frame by frame, as lines of text."""
        frames = re.split(rb"\x1b\[H", self.read().split(ALTERNATE, 1)[-1])[1:]
        drawn = [SEQUENCE.sub(b"", frame).decode(errors="replace").splitlines() for frame in frames]
        return [frame for frame in drawn if frame]

    def shows(self, text: str, seconds: float = 20.0) -> None:
        """Wait until a new frame has the text."""
        before = len(self.frames())
        eventually(lambda: any(text in "\n".join(frame) for frame in self.frames()[before:]), seconds, text)

    def type(self, keys: bytes) -> None:
        os.write(self._leader, keys)

    def end(self, seconds: float = 10) -> int:
        """The exit code; what it wrote last is read."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
            select.select([self._leader], [], [], 0.05)
        code = self.process.wait(1)
        self.read()
        return code

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self._follower) == self.before

    def is_stopped(self) -> bool:
        said = subprocess.run(["ps", "-o", "stat=", "-p", str(self.process.pid)], capture_output=True, check=True)
        return said.stdout.startswith(b"T")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._leader)
        os.close(self._follower)


@pytest.fixture
def open_terminal(vhost: Vhost) -> Iterator[Callable[..., Terminal]]:
    """Called with a width and arguments."""
    opened: list[Terminal] = []

    def run(width: int, *arguments: str) -> Terminal:
        opened.append(Terminal(vhost, width, *arguments))
        return opened[-1]

    yield run
    for terminal in opened:
        terminal.close()


@pytest.mark.parametrize("width", [80, 200])
def test_it_draws_in_place(vhost: Vhost, open_terminal: Callable[..., Terminal], width: int) -> None:
    """Frame over frame, never clearing, never wider than the terminal; and q leaves it as it was."""
    vhost.declare("a")
    vhost.declare("ü☃" * 40)
    terminal = open_terminal(width, "queues", "--watch", "200ms")
    terminal.shows("q ends")
    terminal.type(b"\x1b[A")  # an arrow
    with vhost.channel() as channel:
        channel.basic_publish("", "a", b"x")
        terminal.shows("no consumers")
    drawn = terminal.shown
    terminal.type(b"q")
    assert terminal.end() == 0
    assert CLEAR not in drawn.split(ALTERNATE, 1)[1]
    for frame in terminal.frames()[:-1]:
        assert len(frame) <= 24
        assert max(map(cell_len, frame)) <= width
    assert terminal.shown.rstrip().endswith(BACK) or BACK in terminal.shown[-40:]
    assert terminal.is_as_before()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGQUIT, 0), (signal.SIGTERM, 143)])
def test_signals_leave_the_terminal_as_it_was(
    vhost: Vhost, open_terminal: Callable[..., Terminal], number: int, code: int
) -> None:
    """Without a word."""
    terminal = open_terminal(80, "queues", "--watch")
    terminal.shows("q ends")
    terminal.process.send_signal(number)
    assert terminal.end() == code
    assert BACK in terminal.shown
    assert b"Traceback" not in terminal.shown
    assert terminal.is_as_before()


def test_a_management_api_that_goes_and_comes_back(vhost: Vhost, open_terminal: Callable[..., Terminal]) -> None:
    """While there is no answer it says since when, and shows the old figures as old."""
    vhost.declare("kept")
    api = Proxy(vhost.node.api_port)
    try:
        terminal = open_terminal(100, "queues", "--watch", "200ms", "--api-url", f"http://127.0.0.1:{api.port}/")
        terminal.shows("kept")
        api.cut(refuse=True)
        terminal.shows("No answer since ")
        api.mend()
        terminal.shows("q ends")
        terminal.type(b"q")
        assert terminal.end() == 0
    finally:
        api.close()


def test_what_matches_no_queue(vhost: Vhost, open_terminal: Callable[..., Terminal]) -> None:
    """It is named for as long as that is so: the queue may be yet to come."""
    terminal = open_terminal(80, "queues", "--watch", "200ms", "shop.42", "nope*")
    terminal.shows("No queue here matches 'shop.42' or 'nope*' at the moment")
    vhost.declare("shop.42")
    terminal.shows("No queue here matches 'nope*' at the moment")
    vhost.declare("nope.1")
    terminal.shows("nope.1")
    assert "No queue" not in "\n".join(terminal.frames()[-1])
    terminal.type(b"q")
    assert terminal.end() == 0


def test_it_goes_on_after_a_stop(vhost: Vhost, open_terminal: Callable[..., Terminal]) -> None:
    """Ctrl-Z gives the terminal back, `fg` draws again."""
    terminal = open_terminal(80, "queues", "--watch")
    terminal.shows("q ends")
    terminal.process.send_signal(signal.SIGTSTP)
    eventually(terminal.is_stopped)
    assert BACK in terminal.read()
    terminal.process.send_signal(signal.SIGCONT)
    eventually(lambda: terminal.read().count(ALTERNATE) == 2)
    terminal.type(b"q")
    assert terminal.end() == 0


def get_one(vhost: Vhost, holders: int, name: str | None = "getter") -> pika.BlockingConnection:
    """A client that takes a message of `q` and forgets it; then the broker knows of so many."""
    parameters = pika.URLParameters(vhost.url)
    parameters.client_properties = {"connection_name": name} if name else {}
    connection = pika.BlockingConnection(parameters)
    channel = connection.channel()
    channel.basic_publish("", "q", b"x")
    assert channel.basic_get("q")[0] is not None
    path = "/api/channels?columns=vhost,messages_unacknowledged"
    held = {"vhost": vhost.name, "messages_unacknowledged": 1}
    eventually(lambda: vhost.api("GET", path).count(held) == holders)
    eventually(lambda: vhost.row("q").get("messages_unacknowledged") == holders)
    return connection


def test_release_asks(vhost: Vhost, open_terminal: Callable[..., Terminal]) -> None:
    """On a terminal, with the name of the holder; no is no, and yes is yes. What workers moved is still to be done."""
    vhost.declare("q")
    vhost.declare("q.returned")
    vhost.publish("2", "3", "4", queue="q.returned")
    eventually(lambda: vhost.figures("q.returned") == (3, 0))
    connection = get_one(vhost, 1)
    for answer, figures in ((b"n\n", (0, 1)), (b"y\n", (1, 0))):
        terminal = open_terminal(80, "release", "q", "--holder", "getter")
        eventually(lambda terminal=terminal: b"Close 1 connection? [y/N]" in terminal.read())  # type: ignore[misc]
        assert b"getter (127.0.0.1:" in terminal.shown
        terminal.type(answer)
        assert terminal.end() == 0
        assert vhost.figures("q") == figures
    assert b"Gave back 1 message of 'q' (1 ready, 0 held now, 3 in 'q.returned'); closed getter" in terminal.shown
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="rqtool release"):
        connection.process_data_events(5)


def test_release_takes_what_holders_shows(
    vhost: Vhost, open_terminal: Callable[..., Terminal], rqtool: Program
) -> None:
    """Of a client without a name too."""
    vhost.declare("q")
    connection = get_one(vhost, 1, name=None)
    terminal = open_terminal(80, "queues", "--holders")
    assert terminal.end() == 0
    [heading, row] = (re.split(" {2,}", line) for line in SEQUENCE.sub(b"", terminal.shown).decode().splitlines())
    released = rqtool("release", "q", "--holder", row[heading.index("client")], "--yes")
    assert (released.code, vhost.figures("q")) == (0, (1, 0)), released.stderr
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="rqtool release"):
        connection.process_data_events(5)


def test_release_closes_what_it_asked_about(vhost: Vhost, open_terminal: Callable[..., Terminal]) -> None:
    """By the time of the answer another client may hold messages, too: nobody was asked about that one."""
    vhost.declare("q")
    asked_about = get_one(vhost, 1)
    terminal = open_terminal(80, "release", "q", "--holder", "getter")
    eventually(lambda: b"Close 1 connection? [y/N]" in terminal.read(), what=lambda: terminal.shown.decode())
    another = get_one(vhost, 2)
    terminal.type(b"y\n")
    assert terminal.end(30) == 0
    assert vhost.figures("q") == (1, 1)
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="rqtool release"):
        asked_about.process_data_events(5)
    another.close()
