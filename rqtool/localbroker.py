"""A private RabbitMQ node on this machine: for trying out, for the demo, for the tests.

It belongs to one user: loopback only, free ports, own node name, cookie and Erlang port mapper (epmd), data in the
user's state directory. No root is needed. Environment and files: https://www.rabbitmq.com/docs/configure and
https://www.rabbitmq.com/docs/networking.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rqtool.errors import RqtoolError, Unreachable
from rqtool.ports import free_ports, is_free, poll, speaks_amqp, speaks_http, stop_epmd
from rqtool.rabbitmq_server import find_server

NODE_NAME = "rqtool@localhost"
START_SECONDS = 90.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its home, its pid (0: not started) and its ports on 127.0.0.1."""

    home: Path
    pid: int
    amqp_port: int
    api_port: int
    dist_port: int
    epmd_port: int

    @property
    def amqp_url(self) -> str:
        """The address with neither user nor password: RabbitMQ's usual `guest`, who may come from loopback only."""
        return f"amqp://127.0.0.1:{self.amqp_port}/"

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.api_port}/"

    @property
    def log(self) -> Path:
        return self.home / "log" / "rabbit.log"

    @property
    def environment(self) -> dict[str, str]:
        """What rabbitmq-server, and rabbitmqctl beside it, need to be this node and no other on the machine."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RABBITMQ_", "ERL_"))}
        return inherited | {
            "HOME": str(self.home),  # the Erlang cookie is read from there
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": NODE_NAME,
            "RABBITMQ_DIST_PORT": str(self.dist_port),
            "RABBITMQ_MNESIA_BASE": str(self.home / "data"),
            "RABBITMQ_LOG_BASE": str(self.home / "log"),
            "RABBITMQ_CONFIG_FILE": str(self.home / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(self.home / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.home / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.home / "rabbitmq-env.conf"),  # absent: not this machine's
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.home / "enabled_plugins"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "RUNNING_UNDER_SYSTEMD": "1",  # the script then becomes the VM, and its pid is the one to kill
        }


class LocalBroker:
    """The private broker that lives in `home`; `settings` are further lines of rabbitmq.conf."""

    def __init__(self, home: Path, settings: Mapping[str, str] | None = None) -> None:
        self.home = home
        self._settings = dict(settings or {})
        self._state = home / "node.json"
        self._child: subprocess.Popen[bytes] | None = None

    def status(self) -> Node | None:
        """The node if its process runs, else None; a reboot, a crash, a pid that is another program's count as gone."""
        node = self._remembered()
        return node if node is not None and _runs(node) else None

    def start(self) -> Node:
        """Start the node and return it when AMQP and the management API answer. Starting twice is harmless.

        Ports are kept from one start to the next where they are still free, so that clients come back by themselves.
        Raises Unreachable where no RabbitMQ is installed or the node does not come up.
        """
        with self._lock():
            node = self.status()
            if node is None:
                node = self._launch(find_server())
            return self._wait_until_ready(node)

    def stop(self) -> Node | None:
        """Stop the node, its data stays; SIGKILL after STOP_SECONDS. Returns what was stopped, None for nothing."""
        with self._lock():
            node = self.status()
            if node is not None:
                self._end(node)
            remembered = self._remembered()
            if remembered is not None:
                stop_epmd(remembered.epmd_port)
            return node

    def _remembered(self) -> Node | None:
        try:
            state = json.loads(self._state.read_text())
            return Node(home=self.home, **{k: int(state[k]) for k in _STATE_KEYS})
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _launch(self, server: Path) -> Node:
        node = self._withfree_ports()
        for folder in (node.home, node.home / "log", node.home / "data", node.home / "conf.d"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write_files(node)
        with (node.home / "log" / "startup.log").open("wb") as log:
            self._reap()
            self._child = subprocess.Popen(
                # The VM ignores a flag that it doesn't know; `_runs` finds the node by it.
                [server, "-rqtool_home", str(node.home)],
                env=node.environment,
                cwd=node.home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        node = replace(node, pid=self._child.pid)
        state = {k: v for k, v in asdict(node).items() if k in _STATE_KEYS}
        _write_private(self._state, json.dumps(state))
        return node

    def _withfree_ports(self) -> Node:
        old = self._remembered()
        if old is not None:
            # What survived its node (kill -9) holds the port mapper's port with a name that is no more.
            stop_epmd(old.epmd_port)
        with free_ports(4) as fresh:
            ports = dict(zip(_PORT_KEYS, fresh, strict=True))
        if old is not None:
            ports |= {key: getattr(old, key) for key in _PORT_KEYS if is_free(getattr(old, key))}
        return Node(home=self.home, pid=0, **ports)

    def _write_files(self, node: Node) -> None:
        lines = {
            "listeners.tcp.1": f"127.0.0.1:{node.amqp_port}",
            "management.tcp.ip": "127.0.0.1",
            "management.tcp.port": str(node.api_port),
            "log.dir": str(node.home / "log"),
            "log.file": "rabbit.log",
        }
        conf = "".join(f"{key} = {value}\n" for key, value in (lines | self._settings).items())
        _write_private(node.home / "rabbitmq.conf", conf)
        _write_private(node.home / "enabled_plugins", "[rabbitmq_management].\n")
        cookie = node.home / ".erlang.cookie"
        if not cookie.exists():
            _write_private(cookie, secrets.token_hex(20))
            cookie.chmod(0o400)

    def _wait_until_ready(self, node: Node) -> Node:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if not _runs(node):
                break
            if speaks_amqp(node.amqp_port) and speaks_http(node.api_port):
                return node
            time.sleep(0.1)
        problem = "ended while starting" if not _runs(node) else f"did not answer within {START_SECONDS:.0f} s"
        if _runs(node):
            self._end(node)
        self._reap()
        stop_epmd(node.epmd_port)
        raise Unreachable(f"The private RabbitMQ node {problem}: {_last_words(node)}", f"Read {node.home / 'log'}")

    def _end(self, node: Node) -> None:
        os.kill(node.pid, signal.SIGTERM)
        if not poll(lambda: not _runs(node), STOP_SECONDS):
            os.kill(node.pid, signal.SIGKILL)
            if not poll(lambda: not _runs(node), STOP_SECONDS):
                raise RqtoolError(f"The private node (pid {node.pid}) can't be killed")
        self._reap()

    def _reap(self) -> None:
        """Where we started the node ourselves and it has ended, a zombie is left."""
        if self._child is not None:
            self._child.wait()
            self._child = None

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


_PORT_KEYS = ("amqp_port", "api_port", "dist_port", "epmd_port")
_STATE_KEYS = ("pid", *_PORT_KEYS)


def default_home() -> Path:
    """The private node's home in the user's state directory (XDG_STATE_HOME on Linux)."""
    from platformdirs import user_state_path

    return user_state_path("rqtool") / "broker"


def running_node() -> Node | None:
    """The node that `rqtool broker start` left running for this user, if any."""
    return LocalBroker(default_home()).status()


def _runs(node: Node) -> bool:
    """Whether the node's process is alive: its arguments hold its home, those of a pid given anew don't."""
    if node.pid <= 0:
        return False
    for _ in range(3):
        arguments = _command_line(node.pid)
        if arguments:
            return str(node.home) in arguments
        # Empty: gone, a zombie, or for a moment in the middle of exec().
        time.sleep(0.01)
    return False


def _command_line(pid: int) -> str:
    try:
        if Path("/proc/self/cmdline").exists():
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        answer = subprocess.run(
            ["ps", "-ww", "-o", "args=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return answer.stdout
    except OSError:
        return ""


def _write_private(path: Path, text: str) -> None:
    """Write a file that nobody else can read, whole or not at all."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def _last_words(node: Node) -> str:
    for log in (node.home / "log" / "startup.log", node.log):
        try:
            lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
        except OSError:
            continue
        if lines:
            return lines[-1]
    return "it left no log"
