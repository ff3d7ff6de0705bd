"""The private broker's one user: its password on disk, and how RabbitMQ gets to know it.

A new database gets this user as its `default_user` (https://www.rabbitmq.com/docs/access-control). One that is older
than the user, as version 0.4 made it with `guest` alone, or whose password was lost, gets it from rabbitmqctl: the
Erlang cookie lets us in, whatever users there are.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from rqtool.endpoint.urls import ApiURL
from rqtool.errors import AccessRefused, RqtoolError
from rqtool.private_broker.node import Node, write_private
from rqtool.private_broker.server import find_server

USER = "rqtool"
GUEST = "guest"
"""RabbitMQ's usual user, whose password everybody knows."""
_IMPORT_SECONDS = 120.0
_ALL_RIGHTS = {"configure": ".*", "write": ".*", "read": ".*"}


class Login(NamedTuple):
    """A user and its password; not for output."""

    user: str
    password: str


def stored_login(home: Path) -> Login:
    """Return the login of the broker in `home`; without a password there, `guest`, as version 0.4 left it."""
    try:
        password = _file(home).read_text().strip()
    except (OSError, UnicodeDecodeError):
        password = ""
    return Login(USER, password) if password else Login(GUEST, GUEST)


def own_login(home: Path) -> Login:
    """Return the login that the broker in `home` is to have: the stored one, or a new random one."""
    stored = stored_login(home)
    return stored if stored.user == USER else Login(USER, secrets.token_hex(20))


def store_login(node: Node) -> None:
    """Write down the node's password as that of its broker. Raises OSError."""
    write_private(_file(node.broker_home), f"{node.password}\n")


def admit(node: Node) -> None:
    """Have the broker of a node that answers take its login, and delete `guest`; the data stay.

    Where the broker does not know the login yet, it is stored when it does, and not earlier: until then clients get in
    as `guest`. Harmless when all of that is done already. Raises RqtoolError where rabbitmqctl fails, OSError,
    Unreachable.
    """
    from rqtool.management.api import Management, having  # a look for the private broker need not wait for HTTP

    api = Management([ApiURL(node.api_url.rstrip("/"), node.user, node.password)])
    try:
        users = api.rows("/api/users", {"columns": "name"})
    except AccessRefused:
        _import_user(node)
        for vhost in api.rows("/api/vhosts", {"columns": "name"}) or []:
            api.put(f"/api/permissions/{quote(vhost['name'], safe='')}/{node.user}", _ALL_RIGHTS)
        users = api.rows("/api/users", {"columns": "name"})
        store_login(node)
    if having(users or [], [GUEST]):
        api.delete(f"/api/users/{GUEST}")


def _file(home: Path) -> Path:
    return home / "password"


def _import_user(node: Node) -> None:
    """Make the user, or give it this password and its rights back. By a file: other users see arguments."""
    definitions = node.broker_home / "user.json"
    user = {"name": node.user, "password": node.password, "tags": ["administrator"]}
    write_private(definitions, json.dumps({"users": [user]}))
    try:
        ended = subprocess.run(
            [find_server().with_name("rabbitmqctl"), "-q", "import_definitions", str(definitions)],
            env=node.environment,
            cwd=node.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        why = f"rabbitmqctl did not end within {_IMPORT_SECONDS:.0f} s"
    else:
        if ended.returncode == 0:
            return
        why = next(iter((ended.stderr or ended.stdout).strip().splitlines()[-1:]), f"exit code {ended.returncode}")
    finally:
        definitions.unlink(missing_ok=True)
    raise RqtoolError(f"The private broker's user can't be made: {why}", f"Read {node.log}")
