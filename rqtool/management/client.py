"""A client of the broker: a connection, and what its client says about itself. Pure.

https://www.rabbitmq.com/docs/connections#client-provided-names
"""

from __future__ import annotations

from dataclasses import dataclass

from rqtool.management.fields import Row, at, number, table, text
from rqtool.management.samples import LAG, last_change, read_samples
from rqtool.text import printable


@dataclass(frozen=True, slots=True)
class Client:
    """A connection and what its client says about itself. None: not said.

    `connection` is the broker's name for it. `rqtool`: it is one of ours, in this role. `silent_seconds`: for how long
    the broker has received nothing, not even the heartbeats agreed on; 0 while it receives something.
    """

    connection: str
    name: str | None = None
    host: str | None = None
    pid: int | None = None
    address: str | None = None
    user: str | None = None
    product: str | None = None
    rqtool: str | None = None
    runs: str | None = None
    silent_seconds: float = 0.0

    @property
    def names(self) -> set[str]:
        """The names by which a user may choose it: all that rqtool shows of it, except the product alone."""
        shown = {self.name, self.address, self.connection, self.described, self.label}
        return {name for each in shown if each for name in (each, printable(each))}

    @property
    def label(self) -> str:
        """The client's name and what it runs, in short. Without a name, its address: the product is not unique."""
        name = self.name or self.address or self.connection
        return f"{name}, {self.runs}" if self.runs else name

    @property
    def described(self) -> str:
        """Its name, and how to find it."""
        if self.rqtool is not None and self.name is not None:
            return f"{self.name} running {self.runs}" if self.runs else self.name
        if self.name is None:
            what = f"an unnamed {self.product or 'client'}"
            where = [self.address or self.connection, f"user {self.user}" if self.user else ""]
        else:
            what, where = self.name, [self.address or "", f"pid {self.pid}" if self.pid else ""]
        where = [part for part in where if part]
        return f"{what} ({', '.join(where)})" if where else what


def read_client(row: Row) -> Client:
    """Read a row of the API's list of connections."""
    given = table(row.get("client_properties"))
    ours = table(given.get("rqtool"))
    hosts = (ours.get("host"), given.get("hostname"), given.get("host"), row.get("peer_host"))
    pids = (ours.get("pid"), given.get("pid"), given.get("process_id"))
    return Client(
        connection=str(row.get("name")),
        name=text(row.get("user_provided_name") or given.get("connection_name")),
        host=next(filter(None, map(text, hosts)), None),
        pid=next(filter(None, map(_pid, pids)), None),
        address=read_address(row),
        user=text(row.get("user")),
        product=text(given.get("product")),
        rqtool=text(ours.get("role")),
        runs=text(ours.get("runs")),
        silent_seconds=_silence(row),
    )


def _silence(row: Row) -> float:
    """Seconds since the last octet, where they are more than the agreed heartbeat allows; else 0."""
    heartbeat = number(row.get("timeout"))
    octets = read_samples(row, "recv_oct_details")
    if not heartbeat or not octets:
        return 0.0
    # The API repeats a single report for all times, also for those before the connection was opened.
    connected = (number(row.get("connected_at")) or 0) / 1000
    heard = last_change(octets) or max(octets[-1].time, connected or octets[0].time)
    silent = octets[0].time - heard
    # Heartbeats come twice per agreed interval; samples are 5 s apart, and one may be late.
    return silent if silent > max(heartbeat + LAG, 3 * LAG) else 0.0


def read_address(row: object) -> str | None:
    """Host and port of a client, from a row of connections or a channel's `connection_details`."""
    host, port = text(at(row, "peer_host")), at(row, "peer_port")
    if host is None:
        return None
    host = f"[{host}]" if ":" in host else host
    return f"{host}:{port}" if isinstance(port, int) else host


def _pid(value: object) -> int | None:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else number(value)
