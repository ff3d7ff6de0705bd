"""What the tests of `rqtool dead` share: a dead queue, what is in it, and a terminal."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import threading

import pika

from tests.tools import PYTHON, Program, Vhost, clean_environment, eventually

DEAD = "task_queue.dead"
KINDS = ["classic", "quorum"]


def declare(vhost: Vhost, kind: str = "classic", **more: str | int) -> None:
    """The task queue and its dead queue, as rqtool makes them."""
    vhost.declare("task_queue", **{"x-queue-type": kind})
    limit: dict[str, str | int] = {"x-delivery-limit": 100_000} if kind == "quorum" else {}
    vhost.declare(DEAD, **({"x-queue-type": kind} | limit | more))


def properties_of(**more: object) -> pika.BasicProperties:
    return pika.BasicProperties(**more)  # type: ignore[no-untyped-call]


def bury(vhost: Vhost, *bodies: bytes, ids: list[str] | None = None, headers: dict[str, object] | None = None) -> None:
    """Put tasks into the dead queue, by default with an id for each, and wait until they are there.

    A confirm for each would take minutes: the channel stays open until they are there.
    """
    before = vhost.ready(DEAD)
    with vhost.channel(confirms=False) as channel:
        for number, body in enumerate(bodies):
            message_id = ids[number] if ids else f"id-{body.decode(errors='replace')}"
            channel.basic_publish(
                "", DEAD, body, properties_of(message_id=message_id, headers=headers, delivery_mode=2)
            )
        eventually(lambda: vhost.ready(DEAD) == before + len(bodies))


def numbered(count: int) -> list[bytes]:
    return [b"%d" % n for n in range(count)]


def listed(rqtool: Program, *arguments: str) -> list[dict[str, object]]:
    ended = rqtool("dead", "list", "--json", *arguments)
    assert ended.code == 0, ended
    return list(json.loads(ended.stdout))


def bodies_of(rows: list[dict[str, object]]) -> list[str]:
    return [str(row["body"]) for row in rows]


class Terminal:
    """The program on a terminal."""

    def __init__(self, vhost: Vhost, *arguments: str) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [*PYTHON, "dead", *arguments],
            env=clean_environment() | vhost.environment | {"COLUMNS": "200", "TERM": "xterm"},
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.shown = b""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self.leader, 4096):
                self.shown += chunk
        except OSError:
            return  # the other end was closed

    def type(self, text: bytes) -> None:
        os.write(self.leader, text)

    def wait(self) -> int:
        code = self.process.wait(30)
        self._reader.join(10)
        os.close(self.leader)
        return code
