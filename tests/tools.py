"""What tests share: running the program, asking the broker, waiting for conditions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

import pika
import urllib3
from pika.adapters.blocking_connection import BlockingChannel

from rqtool.private_broker.node import Node

T = TypeVar("T")

ALL_RIGHTS = {"configure": ".*", "write": ".*", "read": ".*"}

DEADLINE = 60.0
"""Seconds that nothing takes on a machine with time to spare. One with 15 processes in line for each core keeps it."""

PYTHON = [sys.executable, "-m", "rqtool"]

_KEPT = ("HOME", "PATH", "TMPDIR", "LANG", "LC_ALL", "LC_CTYPE", "RQTOOL_RABBITMQ_SERVER")


def clean_environment(**more: str) -> dict[str, str]:
    """What every login has, and `more`. What else the caller's environment holds must not decide a test: Python's own
    variables change when output is written and what is left in folders.
    """
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | more


def eventually(
    condition: Callable[[], T], seconds: float = DEADLINE, what: Callable[[], str] | str = "", *, every: float = 0.02
) -> T:
    """Return the first true value of `condition()`, or fail with the last one it gave, and `what`, as it is then.

    It is asked `every` so many seconds, and less often where asking costs time: starting a process, asking the broker.
    What waits so takes a third of a core at most.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            said = what() if callable(what) else what or condition
            raise AssertionError(f"not within {seconds:.0f} s: {said}; the last value was {value!r}")
        time.sleep(max(every, 2 * (time.monotonic() - asked)))


def throughout(condition: Callable[[], object], seconds: float, *, every: float = 0.25) -> None:
    """Fail unless `condition()` is true at every look within these seconds, and at their end."""
    end = time.monotonic() + seconds
    while True:
        left = end - time.monotonic()
        assert condition(), f"not for {seconds} s: {condition}"
        if left <= 0:
            return
        time.sleep(min(every, left))


@dataclass(frozen=True)
class Ended:
    """How a run of the program ended."""

    code: int
    stdout: str
    stderr: str


Run = Callable[..., Ended]
"""Runs the program with these arguments."""


class Running:
    """The program at work. Output goes to files, so that nobody has to read it for the program to go on."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out = out
        self._err = err

    @property
    def stdout(self) -> str:
        return self._out.read_bytes().decode(errors="surrogateescape")

    @property
    def stderr(self) -> str:
        return self._err.read_bytes().decode(errors="surrogateescape")

    def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def close_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def wait(self, seconds: float = DEADLINE) -> Ended:
        code = self.process.wait(seconds)
        return Ended(code, self.stdout, self.stderr)

    def says(self, text: str, seconds: float = DEADLINE, times: int = 1) -> None:
        eventually(lambda: (self.stdout + self.stderr).count(text) >= times, seconds, lambda: f"{text!r} in {self}")

    def __repr__(self) -> str:
        return f"stdout: {self.stdout[-500:]!r} stderr: {self.stderr[-500:]!r}"


class Program:
    """Runs rqtool as a user does: as a process, with an environment, in a folder."""

    def __init__(self, environment: Mapping[str, str], cwd: Path, program: Sequence[str] = ("-m", "rqtool")) -> None:
        self.environment = dict(environment)
        self.cwd = cwd
        self._program = [sys.executable, *program]
        self._started: list[Running] = []

    def start(
        self,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        stdin: int | None = subprocess.DEVNULL,
        name: str = "",
    ) -> Running:
        name = name or str(len(self._started))
        out, err = self.cwd / f".{name}.out", self.cwd / f".{name}.err"
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [*self._program, *arguments],
                env=clean_environment() | self.environment | dict(env or {}),
                cwd=self.cwd,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
            )
        running = Running(process, out, err)
        self._started.append(running)
        return running

    def __call__(
        self,
        *arguments: str,
        input: bytes = b"",  # noqa: A002
        seconds: float = DEADLINE,
        env: Mapping[str, str] | None = None,
    ) -> Ended:
        """Run to the end."""
        source = self.cwd / ".input"
        source.write_bytes(input)
        with source.open("rb") as stdin:
            return self.start(*arguments, env=env, stdin=stdin.fileno()).wait(seconds)

    def tuned(self, settings: str) -> Program:
        """The program with other values for some of its constants: a Python statement. It is ended with this one."""
        program = f"{settings}; from rqtool.cli.main import main; exit(main())"
        tuned = Program(self.environment, self.cwd, ("-c", program))
        tuned._started = self._started
        return tuned

    def log(self, name: str = "log") -> list[str]:
        """The lines that the commands of a test have written to a file in the folder, in order."""
        path = self.cwd / name
        return path.read_text().splitlines() if path.exists() else []

    def end_all(self) -> None:
        for running in self._started:
            if running.process.stdin is not None and not running.process.stdin.closed:
                running.process.stdin.close()
            if running.process.poll() is None:
                running.kill()


@dataclass
class Vhost:
    """A vhost of its own on a node, and eyes on what is in it that are not rqtool's. Without a user: the node's own."""

    node: Node
    name: str
    user: str = ""
    password: str = ""
    query: str = ""
    nodes: Sequence[Node] = ()
    """All of its cluster."""
    _pool: urllib3.PoolManager = field(default_factory=lambda: urllib3.PoolManager(retries=False, timeout=90))

    def __post_init__(self) -> None:
        if not self.user:
            self.user, self.password = self.node.user, self.node.password

    @property
    def url(self) -> str:
        return self.url_at(self.node.amqp_port)

    def url_at(self, port: int) -> str:
        login = f"{quote(self.user, safe='')}:{quote(self.password, safe='')}"
        return f"amqp://{login}@127.0.0.1:{port}/{quote(self.name, safe='')}{self.query}"

    @property
    def environment(self) -> dict[str, str]:
        nodes = self.nodes or [self.node]
        return {
            "RQTOOL_URL": ",".join(self.url_at(node.amqp_port) for node in nodes),
            "RQTOOL_API_URL": ",".join(node.api_url for node in nodes),
        }

    def api(self, method: str, path: str, body: object = None) -> Any:
        login = urllib3.make_headers(basic_auth=f"{self.node.user}:{self.node.password}")
        answer = self._pool.request(method, self.node.api_url.rstrip("/") + path, headers=login, json=body)
        assert answer.status < 300, (method, path, answer.status, answer.data)
        return answer.json() if answer.data else None

    @property
    def path(self) -> str:
        return quote(self.name, safe="")

    def create(self) -> None:
        self.api("PUT", f"/api/vhosts/{self.path}")
        self.api("PUT", f"/api/permissions/{self.path}/{self.node.user}", ALL_RIGHTS)
        if len(self.nodes) > 1:
            eventually(self._is_everywhere)

    def _is_everywhere(self) -> bool:
        states: dict[str, str] = self.api("GET", f"/api/vhosts/{self.path}")["cluster_state"]
        return list(states.values()) == ["running"] * len(self.nodes)

    def delete(self) -> None:
        self.api("DELETE", f"/api/vhosts/{self.path}")

    def row(self, queue: str) -> dict[str, Any]:
        """What the management API has of a queue."""
        found: dict[str, Any] = self.api("GET", f"/api/queues/{self.path}/{quote(queue, safe='')}")
        return found

    @contextmanager
    def channel(self, *, confirms: bool = True) -> Iterator[BlockingChannel]:
        """A channel. Without confirms a quorum queue can lose what was published when the channel closes."""
        connection = pika.BlockingConnection(pika.URLParameters(self.url))
        try:
            channel = connection.channel()
            if confirms:
                channel.confirm_delivery()
            yield channel
        finally:
            if connection.is_open:
                connection.close()

    def declare(self, queue: str, **arguments: str | int) -> None:
        """Make a queue, in the place of one of that name."""
        with self.channel() as channel:
            channel.queue_delete(queue)
            channel.queue_declare(queue, durable=True, arguments=arguments or None)

    def exists(self, queue: str) -> bool:
        return queue in {row["name"] for row in self.api("GET", f"/api/queues/{self.path}?disable_stats=true")}

    def publish(self, *bodies: bytes | str, queue: str = "task_queue") -> None:
        """Put tasks into a queue that is there, with an id for each, as `rqtool send` does. Each is confirmed."""
        with self.channel() as channel:
            for body in bodies:
                properties = pika.BasicProperties(delivery_mode=2, message_id=str(uuid4()))  # type: ignore[no-untyped-call]
                content = body if isinstance(body, bytes) else body.encode()
                channel.basic_publish("", queue, content, properties, mandatory=True)

    def ready(self, queue: str = "task_queue") -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.message_count)

    def consumers(self, queue: str = "task_queue") -> int:
        with self.channel() as channel:
            return int(channel.queue_declare(queue, passive=True).method.consumer_count)

    def figures(self, queue: str = "task_queue") -> tuple[int, int]:
        """Ready and unacknowledged, as the management API has them now."""
        rows = self.api("GET", f"/api/queues/{self.path}?disable_stats=true&enable_queue_totals=true")
        [row] = [row for row in rows if row["name"] == queue]
        return int(row.get("messages_ready", 0)), int(row.get("messages_unacknowledged", 0))

    def take_all(self, queue: str = "task_queue") -> list[tuple[pika.BasicProperties, bytes]]:
        """What is ready now, in order; it is taken out. What comes meanwhile stays: it is pushed to us too, and given
        back.
        """
        messages: list[tuple[pika.BasicProperties, bytes]] = []
        with self.channel() as channel:
            count = channel.queue_declare(queue, passive=True).method.message_count
            if count:
                for method, properties, body in channel.consume(queue, inactivity_timeout=10):
                    assert method is not None, f"{count} messages were ready, {len(messages)} came"
                    assert properties is not None
                    assert body is not None
                    messages.append((properties, body))
                    if len(messages) % 500 == 0 or len(messages) == count:
                        channel.basic_ack(method.delivery_tag, multiple=True)
                    if len(messages) == count:
                        break
        return messages

    def bodies(self, queue: str = "task_queue") -> list[bytes]:
        return [body for _, body in self.take_all(queue)]


def sigkill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    """Whether it runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # the latter if it ends between open() and read()
        return False


def lines(*tasks: bytes) -> bytes:
    return b"".join(task + b"\n" for task in tasks)
