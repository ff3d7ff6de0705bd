"""One private RabbitMQ node: its files, its process. https://www.rabbitmq.com/docs/configure and
https://www.rabbitmq.com/docs/networking.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from rqtool.endpoint.urls import BrokerURL
from rqtool.errors import RqtoolError, Unreachable
from rqtool.private_broker.ports import poll, speaks_amqp, speaks_http

START_SECONDS = 120.0
"""A node of a cluster waits for the other nodes before it answers."""
STOP_SECONDS = 30.0
_LOOK = 0.05
_EXEC_SECONDS = 2.0
"""A process has no arguments in the middle of exec(), which takes longer on a busy machine; the server does several."""
_STATE = ("pid", "amqp_port", "api_port", "dist_port", "epmd_port")

# +fnu: names of files are UTF-8 in any locale; in that of cron the node would not find its own folder in /home/jörg.
# Idle schedulers that spin for work take a small machine's cores from the other nodes and from the clients. When a wait
# or delay queue passes on a message while the node starts, the exchange or queue may be missing yet. The broker tries
# again after three minutes, and meanwhile everything due in that queue waits; here after ten seconds.
_ERLANG = (
    "-kernel inet_dist_use_interface {127,0,0,1} +fnu +sbwt none +sbwtdcpu none +sbwtdio none "
    "-rabbit dead_letter_worker_publisher_confirm_timeout 10000"
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its folder, its broker's folder, its pid (0: it does not run) and its ports on 127.0.0.1.

    All nodes of a broker share its port mapper (epmd) and its login, an administrator with all rights on every vhost.
    """

    name: str
    home: Path
    broker_home: Path
    pid: int
    amqp_port: int
    api_port: int
    dist_port: int
    epmd_port: int
    user: str
    password: str = field(repr=False)

    @property
    def broker_url(self) -> BrokerURL:
        return BrokerURL(tls=False, host="127.0.0.1", port=self.amqp_port, user=self.user, password=self.password)

    @property
    def amqp_url(self) -> str:
        """The address with user and password: for programs, not for output."""
        return self.broker_url.full

    @property
    def api_url(self) -> str:
        """The address with neither user nor password."""
        return f"http://127.0.0.1:{self.api_port}/"

    @property
    def full_api_url(self) -> str:
        """The address with user and password: for programs, not for output."""
        return f"http://{self.user}:{self.password}@127.0.0.1:{self.api_port}/"

    @property
    def log(self) -> Path:
        return self.home / "log" / "rabbit.log"

    @property
    def is_new(self) -> bool:
        """Whether it has never run, so it has no data."""
        return not any((self.home / "data").glob("*"))

    @property
    def environment(self) -> dict[str, str]:
        """The environment that makes rabbitmq-server and rabbitmqctl this node, and no other on the machine."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.broker_home),  # the Erlang cookie is read from there
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.home / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "rabbitmq-env.conf"),  # absent: not this machine's
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _ERLANG,
            "RABBITMQ_CTL_ERL_ARGS": "+fnu",
            "RUNNING_UNDER_SYSTEMD": "1",  # the script then becomes the VM, so its pid is the one to kill
        }


def remembered(name: str, home: Path, broker_home: Path, user: str, password: str) -> Node:
    """Return the node in `home` as it was last started; ports and pid are 0 if it never was."""
    try:
        state = json.loads((home / "node.json").read_text())
        known = {key: int(state[key]) for key in _STATE}
    except (OSError, ValueError, KeyError, TypeError):
        known = dict.fromkeys(_STATE, 0)
    return Node(name=name, home=home, broker_home=broker_home, user=user, password=password, **known)


def launch(
    node: Node, server: Path, peers: Sequence[str], settings: Mapping[str, str]
) -> tuple[Node, subprocess.Popen[bytes]]:
    """Start the node's process. `peers` are the names of the nodes that a new node joins; `settings` are further lines
    of rabbitmq.conf.
    """
    for folder in (node.home, node.home / "log", node.home / "data", node.home / "conf.d"):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lines = {
        "listeners.tcp.1": f"127.0.0.1:{node.amqp_port}",
        "management.tcp.ip": "127.0.0.1",
        "management.tcp.port": str(node.api_port),
        "log.dir": str(node.home / "log"),
        "log.file": "rabbit.log",
        # For a new database. https://www.rabbitmq.com/docs/access-control
        "default_user": node.user,
        "default_pass": node.password,
    }
    if peers:
        # https://www.rabbitmq.com/docs/cluster-formation
        lines["cluster_formation.peer_discovery_backend"] = "classic_config"
        lines |= {f"cluster_formation.classic_config.nodes.{n}": peer for n, peer in enumerate(peers, 1)}
    lines |= settings
    write_private(node.home / "rabbitmq.conf", "".join(f"{key} = {value}\n" for key, value in lines.items()))
    write_private(node.home / "enabled_plugins", "[rabbitmq_management].\n")
    with (node.home / "log" / "startup.log").open("wb") as log:
        child = subprocess.Popen(
            # The VM ignores a flag that it doesn't know; `runs` finds the node by it.
            [server, "-rqtool_home", str(node.home)],
            env=node.environment,
            cwd=node.home,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    node = replace(node, pid=child.pid)
    write_private(node.home / "node.json", json.dumps({k: v for k, v in asdict(node).items() if k in _STATE}))
    return node, child


def wait_until_ready(nodes: Sequence[Node], start_again: Callable[[Node], Node], again: Collection[str]) -> None:
    """Return when AMQP and the management API answer on each of these nodes, which wait for each other. Those with the
    names `again` are started again, once, if they end. Raises Unreachable, after ending the node.
    """
    deadline = time.monotonic() + START_SECONDS
    waiting, left = list(nodes), set(again)
    while waiting:
        node = waiting.pop(0)
        if not runs(node):
            if node.name not in left:
                raise _not_ready(node, "ended while starting")
            left.remove(node.name)
            waiting.append(start_again(node))
        elif not (speaks_amqp(node.amqp_port) and speaks_http(node.api_port)):
            if time.monotonic() > deadline:
                end([node])
                raise _not_ready(node, f"did not answer within {START_SECONDS:.0f} s")
            waiting.append(node)
            time.sleep(_LOOK)


def _not_ready(node: Node, problem: str) -> Unreachable:
    return Unreachable(f"The private RabbitMQ node {problem}: {_last_words(node)}", f"Read {node.home / 'log'}")


def end(nodes: Sequence[Node]) -> None:
    """Stop the nodes, all at once; SIGKILL after STOP_SECONDS. Raises RqtoolError if one can't be killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for node in nodes:
            if runs(node):
                os.kill(node.pid, number)
        if poll(lambda: not any(runs(node) for node in nodes), STOP_SECONDS):
            return
    pids = ", ".join(str(node.pid) for node in nodes if runs(node))
    raise RqtoolError(f"The private RabbitMQ (pid {pids}) can't be killed")


def runs(node: Node) -> bool:
    """Whether the node's process is alive: its arguments name its home, so another process with its pid is not it."""
    if node.pid <= 0:
        return False
    deadline = time.monotonic() + _EXEC_SECONDS
    while (arguments := _command_line(node.pid)) is None and time.monotonic() < deadline:
        time.sleep(_LOOK)
    return f" {node.home} " in f" {arguments} "


def _command_line(pid: int) -> str | None:
    """The arguments of a process; empty if it has ended, None in the middle of exec()."""
    try:
        if Path("/proc/self/cmdline").exists():
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            # The state follows the name, which is in parentheses. https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
            has_ended = not arguments and Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"ZX"
            return arguments.decode(errors="surrogateescape") if arguments or has_ended else None
        ps = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
        return subprocess.run(ps, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def _last_words(node: Node) -> str:
    for log in (node.home / "log" / "startup.log", node.log):
        if log.exists() and (text := log.read_text(errors="replace").strip()):
            return text.splitlines()[-1].strip()
    return "it left no log"
