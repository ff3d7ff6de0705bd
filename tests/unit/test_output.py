"""Streams of all kinds, written without ever waiting for the reader."""

from __future__ import annotations

import os
import pty
import select
import socket
import tempfile
import termios
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from rqtool.output import Output, is_writable, reader_is_gone
from tests.tools import eventually

DATA = bytes(range(256)) * 4000
"""More than any stream holds."""
NOBODY_READS = r"Broken pipe|Input/output error"

# An Output lives as long as its process, and so does what it opens.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


class Stream:
    """Two ends of a stream of some kind."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.reader, self.writer = getattr(self, f"_{kind}")(folder)
        self.output = Output(self.writer)
        if kind == "fifo":  # which can't be opened anew while it has no reader
            self.reader = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        self._open = {self.reader, self.writer}

    def _pipe(self, _: Path) -> tuple[int, int]:
        return os.pipe()

    def _fifo(self, folder: Path) -> tuple[int, int]:
        os.mkfifo(folder / "fifo")
        reader = os.open(folder / "fifo", os.O_RDONLY | os.O_NONBLOCK)
        writer = os.open(folder / "fifo", os.O_WRONLY)
        os.close(reader)
        return -1, writer

    def _socket(self, _: Path) -> tuple[int, int]:
        reader, writer = socket.socketpair()
        return reader.detach(), writer.detach()

    def _terminal(self, _: Path) -> tuple[int, int]:
        reader, writer = pty.openpty()
        tty.setraw(writer)
        return reader, writer

    def read(self) -> bytes:
        """What is there by now."""
        return os.read(self.reader, 65536) if select.select([self.reader], [], [], 0.0)[0] else b""

    def close_reader(self) -> None:
        os.close(self.reader)
        self._open.discard(self.reader)

    def close(self) -> None:
        for number in self._open | {self.output.fileno()}:
            os.close(number)
        del self.output


@pytest.fixture(params=["pipe", "fifo", "socket", "terminal"])
def stream(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stream]:
    stream = Stream(request.param, tmp_path)
    yield stream
    stream.close()


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Stream]:
    stream = Stream("terminal", tmp_path)
    yield stream
    stream.close()


def _wait_and_flush(output: Output, seconds: float) -> None:
    """As an event loop does when the stream becomes writable."""
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    if poll.poll(seconds * 1000):
        output.flush()


def test_what_does_not_fit_waits_until_it_is_read(stream: Stream) -> None:
    """Everything arrives, in order, and the stream stays blocking for programs that share it."""
    for piece in (DATA[:10], DATA[10:1000], DATA[1000:], DATA):
        stream.output.write(piece)
    assert stream.output.is_waiting
    assert os.get_blocking(stream.writer)
    received = b""
    deadline = time.monotonic() + 20
    while len(received) < 2 * len(DATA):
        assert time.monotonic() < deadline, len(received)
        received += stream.read()
        if stream.output.is_waiting:
            _wait_and_flush(stream.output, 0.01)
    assert received == DATA * 2
    assert not stream.output.is_waiting


def test_what_fits_is_written_at_once(stream: Stream) -> None:
    """Without a call of `flush`."""
    stream.output.write(b"line\n")
    assert not stream.output.is_waiting
    assert stream.read() == b"line\n"


def test_it_is_not_writable_while_it_is_full(stream: Stream) -> None:
    """An event loop that waits for it does not spin."""
    stream.output.write(DATA)
    poll = select.poll()
    poll.register(stream.output, select.POLLOUT)

    def is_full() -> bool:
        stream.output.flush()
        return not poll.poll(0)

    def has_room() -> bool:
        stream.read()
        return bool(poll.poll(0))

    eventually(is_full)
    eventually(has_room)


def test_whether_its_reader_is_gone(stream: Stream) -> None:
    """It is known without writing anything."""
    assert not reader_is_gone(stream.writer)
    stream.close_reader()
    assert reader_is_gone(stream.writer)


def test_without_a_reader_it_is_an_error(stream: Stream) -> None:
    """What is waiting is dropped, now and later."""
    stream.output.write(DATA)
    assert not reader_is_gone(stream.writer)
    stream.close_reader()
    assert reader_is_gone(stream.writer)
    for act in (stream.output.flush, lambda: stream.output.write(DATA), lambda: stream.output.write(b"x")):
        with pytest.raises(OSError, match=NOBODY_READS):
            act()
        assert not stream.output.is_waiting


@pytest.mark.parametrize("stream", ["pipe", "fifo", "socket"], indirect=True)
def test_is_writable(stream: Stream) -> None:
    """It waits no longer than it may. A broken stream counts as writable: the write will raise."""
    stream.output.write(DATA)
    started = time.monotonic()
    assert not is_writable(stream.writer, 0.2)
    assert 0.2 <= time.monotonic() - started < 5
    stream.close_reader()
    assert is_writable(stream.writer)


def test_a_terminal_whose_flow_is_stopped(terminal: Stream) -> None:
    """Ctrl-S delays the output and nothing else."""
    termios.tcflow(terminal.writer, termios.TCOOFF)
    terminal.output.write(b"line\n")
    assert terminal.output.is_waiting
    assert terminal.read() == b""
    terminal.output.flush()
    assert terminal.output.is_waiting
    termios.tcflow(terminal.writer, termios.TCOON)
    _wait_and_flush(terminal.output, 20)
    assert not terminal.output.is_waiting
    assert eventually(terminal.read) == b"line\n"


def test_a_file_takes_all() -> None:
    """At the position that it shares with other programs."""
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"before")
        output = Output(file.fileno())
        output.write(DATA)
        assert not output.is_waiting
        file.write(b"behind")
        file.seek(0)
        assert file.read() == b"before" + DATA + b"behind"
        assert not reader_is_gone(file.fileno())


def test_what_can_not_be_written_is_an_error() -> None:
    """A full disk, and a stream that is closed."""
    with open("/dev/full", "wb", buffering=0) as full:
        output = Output(full.fileno())
        with pytest.raises(OSError, match="No space left"):
            output.write(b"x")
        assert not output.is_waiting
        assert not reader_is_gone(full.fileno())
    closed = os.dup(0)
    os.close(closed)
    output = Output(closed)
    with pytest.raises(OSError, match="Bad file descriptor"):
        output.write(b"x")
    assert not output.is_waiting
