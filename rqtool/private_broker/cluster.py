"""A private RabbitMQ on this machine, one node or a cluster: for trying out, for the demo, for the tests.

It belongs to one user: loopback only, free ports, own node names, cookie and Erlang port mapper (epmd), data in the
user's state directory, and one login that only its owner can read. No root is needed.
"""

from __future__ import annotations

import fcntl
import secrets
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from rqtool.errors import RqtoolError, UsageError
from rqtool.private_broker.node import Node, end, launch, remembered, runs, wait_until_ready, write_private
from rqtool.private_broker.ports import free_ports, is_free, stop_epmd
from rqtool.private_broker.server import find_server
from rqtool.private_broker.user import Login, admit, own_login, store_login, stored_login


class PrivateBroker:
    """The private broker that lives in `home`; `settings` are further lines of rabbitmq.conf.

    Its first node lives in `home` itself, the others in folders below.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._settings = dict(settings or {})
        self._children: list[subprocess.Popen[bytes]] = []

    def members(self) -> tuple[Node, ...]:
        """Every node that it was started with; pid 0 where it does not run.

        A reboot, a crash, a pid that is another program's count as not running.
        """
        nodes = [self._node(1)]
        while (node := self._node(len(nodes) + 1)).amqp_port:
            nodes.append(node)
        return tuple(nodes)

    def running(self) -> tuple[Node, ...]:
        return tuple(node for node in self.members() if node.pid)

    def start(self, nodes: int | None = None) -> tuple[Node, ...]:
        """Start what does not run yet and return all nodes when AMQP and the management API answer on each.

        None: as many nodes as it has, one for a new broker. Nodes can be added, and join the others. Starting twice is
        harmless. Ports are kept from one start to the next where they are still free, so that clients come back by
        themselves. A broker that still has `guest`, as version 0.4 made it, gets a login of its own, running or not.
        Raises UsageError where it has more nodes, Unreachable where no RabbitMQ is installed or a node does not come
        up.
        """
        with self._lock():
            had = len(self.members())
            if nodes is not None and nodes < had:
                raise UsageError(
                    f"The private broker has {had} nodes already, and {nodes} are asked for",
                    f"Leave --nodes out; or, to begin anew, stop it and remove {self.home}",
                )
            login = own_login(self.home)
            members = [self._node(number, login) for number in range(1, (nodes or had) + 1)]
            if not all(node.pid for node in members):
                members = self._with_ports(members)
            launched: list[Node] = []
            try:
                if members[0].is_new:
                    store_login(members[0])
                for wave in _waves(members):
                    # One by one: those that were launched before one that fails must be ended.
                    launched.extend(self._launch(node, members[0]) for node in wave if not node.pid)
                    for node in wave:
                        wait_until_ready(next((new for new in launched if new.home == node.home), node))
                admit(members[0])
            except BaseException as error:
                end(launched)
                self._tidy(members[0].epmd_port)
                if isinstance(error, OSError):
                    raise RqtoolError(f"The private node can't be started: {error}", f"Look at {self.home}") from None
                raise
            return self.running()

    def stop(self) -> tuple[Node, ...]:
        """Stop every node, their data stay; SIGKILL where that takes too long. Returns what was stopped."""
        with self._lock():
            stopped = self.running()
            end(stopped)
            self._tidy(self._node(1).epmd_port)
            return stopped

    def _node(self, number: int, login: Login | None = None) -> Node:
        """The n-th node; without a login, with the stored one."""
        first = number == 1
        home = self.home if first else self.home / f"node{number}"
        name = "rqtool@localhost" if first else f"rqtool{number}@localhost"
        node = remembered(name, home, self.home, *(login or stored_login(self.home)))
        return node if runs(node) else replace(node, pid=0)

    def _launch(self, node: Node, first: Node) -> Node:
        cookie = self.home / ".erlang.cookie"
        if not cookie.exists():
            write_private(cookie, secrets.token_hex(20))
            cookie.chmod(0o400)
        peers = [] if node.name == first.name else [first.name, node.name]
        node, child = launch(node, find_server(), peers, self._settings)
        self._children.append(child)
        return node

    def _with_ports(self, members: Sequence[Node]) -> list[Node]:
        """Fresh ports for nodes that never ran, or whose old ones are taken; the port mapper is that of all."""
        running = [node for node in members if node.pid]
        if not running and (old := members[0].epmd_port):
            # What survived its nodes (kill -9) holds the port mapper's port with names that are no more.
            stop_epmd(old)
        with free_ports(1 + 3 * len(members)) as fresh:
            free = iter(fresh)
            epmd = next(free)
            epmd = running[0].epmd_port if running else _usable(members[0].epmd_port) or epmd
            return [
                replace(
                    node,
                    amqp_port=_usable(node.amqp_port) or next(free),
                    api_port=_usable(node.api_port) or next(free),
                    dist_port=_usable(node.dist_port) or next(free),
                    epmd_port=epmd,
                )
                if not node.pid
                else node
                for node in members
            ]

    def _tidy(self, epmd_port: int) -> None:
        """Take leave of children that have ended, and of the port mapper where no node needs it any more."""
        if self.running():
            return
        for child in self._children:
            child.wait()
        self._children.clear()
        if epmd_port:
            stop_epmd(epmd_port)

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = (self.home / "lock").open("w")
        except OSError as error:
            raise RqtoolError(
                f"The folder {self.home} can't be used: {error.strerror}", "Set XDG_STATE_HOME to one of yours"
            ) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _waves(members: Sequence[Node]) -> tuple[Sequence[Node], Sequence[Node]]:
    """Who is started first, and who then: nodes that know each other wait for each other, new ones join them."""
    known = [node for node in members if not node.is_new]
    new = [node for node in members if node.is_new]
    return (known, new) if known else (new[:1], new[1:])


def _usable(port: int) -> int:
    """An old port; 0 where there is none, or somebody else has it now."""
    return port if port and is_free(port) else 0


def default_home() -> Path:
    """The private broker's home in the user's state directory (XDG_STATE_HOME on Linux).

    Raises UsageError where this user has none: without HOME, and without an entry in the system's list of users.
    """
    from platformdirs import user_state_path

    try:
        state = user_state_path("rqtool")
    except RuntimeError:
        state = Path()
    if not state.is_absolute():
        raise UsageError("This user has no home for a private broker", "Set XDG_STATE_HOME to a folder of yours")
    return state / "broker"


def private_nodes() -> tuple[Node, ...]:
    """The nodes of the broker that `rqtool broker start` left running for this user, if any.

    All of them while one runs: those that are down may be back when a client looks for another node.
    """
    try:
        home = default_home()
    except UsageError:
        return ()
    members = PrivateBroker(home).members()
    return members if any(node.pid for node in members) else ()
