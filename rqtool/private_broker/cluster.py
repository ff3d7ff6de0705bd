"""A private RabbitMQ on this machine, one node or a cluster: to try things out, for the demo and the tests.

It belongs to one user: loopback only, free ports, own node names, cookie and Erlang port mapper (epmd), data in the
user's state directory, and one login that only its owner can read. It needs no root.
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
from rqtool.private_broker.ports import claim_port, stop_epmd
from rqtool.private_broker.rabbitmqctl import rabbitmqctl
from rqtool.private_broker.server import find_server
from rqtool.private_broker.user import Login, admit, own_login, store_login, stored_login


class PrivateBroker:
    """The private broker in `home`, which is the folder of its first node; the others have folders below.

    `settings` are further lines of rabbitmq.conf.
    """

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._settings = settings or {}
        self._children: list[subprocess.Popen[bytes]] = []

    def members(self) -> tuple[Node, ...]:
        """Every node that it was started with; pid 0 for those that are not running, such as after a crash or a reboot,
        even if another program now has the pid.
        """
        nodes = [self._node(1)]
        while (node := self._node(len(nodes) + 1)).amqp_port:
            nodes.append(node)
        return tuple(nodes)

    def running(self) -> tuple[Node, ...]:
        return tuple(node for node in self.members() if node.pid)

    def start(self, nodes: int | None = None) -> tuple[Node, ...]:
        """Start the nodes that are not running, and return all when AMQP and the management API answer on each, and
        each has joined. None: as many nodes as it has, one for a new broker. Additional nodes join the existing ones.
        Starting twice is harmless. Nodes keep their ports while these are free, so that clients reconnect by
        themselves. A broker of version 0.4, which has `guest`, gets a login of its own. Raises UsageError if it has
        more nodes, Unreachable if no RabbitMQ is installed or a node does not come up, RqtoolError if it does not join.
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
            first = members[0]
            known, new = ([node for node in members if node.is_new is is_new] for is_new in (False, True))
            launched: list[Node] = []

            def start_node(node: Node) -> Node:
                # At once in the list: if a later one fails, this one must be ended.
                launched.append(self._launch(node, first))
                return launched[-1]

            try:
                if first.is_new:
                    store_login(first)
                # Known nodes wait for each other, so they must start together; new ones join a running one.
                for wave in (known, new) if known else (new[:1], new[1:]):
                    # One that was just killed can still seem to run. And RabbitMQ 3.10 may refuse to start beside a
                    # node that is just starting (incompatible_feature_flags).
                    again = {node.name for node in wave if node.pid or len(wave) > 1}
                    wait_until_ready([node if node.pid else start_node(node) for node in wave], start_node, again)
                if stored_login(self.home) != login:
                    admit(first)
                # It listens before it counts as a member, and a vhost or queue that is made meanwhile leaves it out.
                for node in new:
                    if node.name != first.name:
                        rabbitmqctl(node, "await_startup")
            except BaseException as error:
                end(launched)
                self._clean_up(first.epmd_port)
                if isinstance(error, OSError):
                    raise RqtoolError(f"The private node can't be started: {error}", f"Look at {self.home}") from None
                raise
            return self.running()

    def stop(self) -> tuple[Node, ...]:
        """Stop all nodes, by SIGKILL if that takes too long; their data stay. Returns those that it stopped."""
        with self._lock():
            stopped = self.running()
            end(stopped)
            self._clean_up(self._node(1).epmd_port)
            return stopped

    def _node(self, number: int, login: Login | None = None) -> Node:
        """The n-th node, with the stored login unless one is given."""
        home, suffix = (self.home, "") if number == 1 else (self.home / f"node{number}", number)
        node = remembered(f"rqtool{suffix}@localhost", home, self.home, *(login or stored_login(self.home)))
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
        """Choose ports for the nodes that are not running: their old ones if free, else new ones. They share a port
        mapper.
        """
        running = next((node for node in members if node.pid), None)
        if running is None and members[0].epmd_port:
            # It may have outlived its nodes (kill -9), with their names still registered.
            stop_epmd(members[0].epmd_port)
        epmd_port = running.epmd_port if running else claim_port(members[0].epmd_port)
        return [
            node
            if node.pid
            else replace(
                node,
                amqp_port=claim_port(node.amqp_port),
                api_port=claim_port(node.api_port),
                dist_port=claim_port(node.dist_port),
                epmd_port=epmd_port,
            )
            for node in members
        ]

    def _clean_up(self, epmd_port: int) -> None:
        """When no node is running any more: reap the child processes and end the port mapper."""
        if self.running():
            return
        while self._children:
            self._children.pop().wait()
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
