"""A TCP proxy on 127.0.0.1 that cuts, stalls, slows and slices what passes: the network's faults, at will."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Literal

Direction = Literal["to_broker", "to_client"]
BOTH: tuple[Direction, Direction] = ("to_broker", "to_client")
_BASIC_ACK = b"\x00\x3c\x00\x50"
"""Class and method of a confirm: https://www.rabbitmq.com/amqp-0-9-1-reference."""
_CHUNK = 64 * 1024
_PULSE = 0.02


class Proxy:
    """Passes everything on to `port` until told otherwise; what is told holds for connections that stand, too."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._lock = threading.Lock()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._stalled: set[Direction] = set()
        self._piece = _CHUNK
        self._pause = 0.0
        self._refusing = False
        self._closed = False
        self.passed: dict[Direction, int] = {"to_broker": 0, "to_client": 0}
        self.confirms = 0
        """How often the broker confirmed something; one confirm may be for many messages."""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, *, refuse: bool = False) -> None:
        """Reset every connection; `refuse`: and every further one, until `mend`."""
        self._refusing = refuse
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for side in pair:
                _reset(side)

    def stall(self, *directions: Direction) -> None:
        """Pass nothing more on in these directions (none: both), without a word; connections stay open."""
        self._stalled = set(directions or BOTH)

    def slow(self, piece: int, pause: float) -> None:
        """Pass on `piece` bytes at a time, each after a pause in seconds."""
        self._piece, self._pause = piece, pause

    def mend(self) -> None:
        """Pass everything on again, also what was held back."""
        self._stalled = set()
        self._piece, self._pause, self._refusing = _CHUNK, 0.0, False

    def mend_after_cut(self) -> None:
        """Reset every connection, what was held back is lost with them; then pass everything on again."""
        self.cut()
        self.mend()

    def close(self) -> None:
        self._closed = True
        self._listener.close()
        self.cut(refuse=True)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                self.connections += 1
                if self._refusing:
                    _reset(client)
                    continue
                broker = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                if self._closed:
                    return
                _reset(client)
                continue
            with self._lock:
                is_refused = self._refusing  # since the look above
                if not is_refused:
                    self._pairs.append((client, broker))
            if is_refused:
                _reset(client)
                _reset(broker)
                continue
            for side in (client, broker):
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for source, sink, direction in ((client, broker, "to_broker"), (broker, client, "to_client")):
                threading.Thread(target=self._pump, args=(source, sink, direction), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        try:
            while data := self._read(source):
                while direction in self._stalled and not self._closed:
                    time.sleep(_PULSE)
                if self._pause:
                    time.sleep(self._pause)
                sink.sendall(data)
                self.passed[direction] += len(data)
                if direction == "to_client":
                    self.confirms += data.count(_BASIC_ACK)
            sink.shutdown(socket.SHUT_WR)
        except (OSError, ValueError):  # ValueError: closed while it was waited for
            _reset(source)
            _reset(sink)

    def _read(self, source: socket.socket) -> bytes:
        # In short waits: a close resets nothing while somebody waits in recv.
        while not select.select([source], [], [], _PULSE)[0]:
            continue
        return source.recv(self._piece)


def _reset(side: socket.socket) -> None:
    """RST, not FIN: the other side learns of it as of a broken line."""
    with suppress(OSError):
        side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        side.close()
