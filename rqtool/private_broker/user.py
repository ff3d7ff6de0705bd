"""The private broker's only user: its password file, and its creation in RabbitMQ.

A new database is created with it as `default_user` (https://www.rabbitmq.com/docs/access-control). In one without a
stored password (version 0.4 left `guest` alone, or the password was lost) rabbitmqctl creates it: that needs the Erlang
cookie and no user.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import NamedTuple

from rqtool.private_broker.node import Node, write_private
from rqtool.private_broker.rabbitmqctl import rabbitmqctl

USER = "rqtool"
GUEST = "guest"
"""RabbitMQ's default user, with a well-known password."""
_FILE = "password"
_ALL_RIGHTS = {"configure": ".*", "write": ".*", "read": ".*"}


class Login(NamedTuple):
    """A user and its password; not for output."""

    user: str
    password: str


def stored_login(home: Path) -> Login:
    """Return the login of the broker in `home`; `guest` if it has no password file, as version 0.4 left it."""
    try:
        password = (home / _FILE).read_text().strip()
    except (OSError, UnicodeDecodeError):
        password = ""
    return Login(USER, password) if password else Login(GUEST, GUEST)


def own_login(home: Path) -> Login:
    """Return the login to start the broker in `home` with: the stored one, or one with a new random password."""
    stored = stored_login(home)
    return stored if stored.user == USER else Login(USER, secrets.token_hex(20))


def store_login(node: Node) -> None:
    """Store the node's password for its broker. Raises OSError."""
    write_private(node.broker_home / _FILE, f"{node.password}\n")


def admit(node: Node) -> None:
    """Create the node's user in its running broker, or reset its password, and delete `guest`; data are kept.

    Its password is stored after that: until then clients log in as `guest`. Repeating it is harmless. Raises
    RqtoolError if rabbitmqctl fails, OSError.
    """
    user = {"name": node.user, "password": node.password, "tags": ["administrator"]}
    vhosts = json.loads(rabbitmqctl(node, "list_vhosts", "--formatter", "json"))
    permissions = [{"user": node.user, "vhost": vhost["name"], **_ALL_RIGHTS} for vhost in vhosts]
    definitions = node.broker_home / "user.json"  # other users can read arguments
    write_private(definitions, json.dumps({"users": [user], "permissions": permissions}))
    try:
        rabbitmqctl(node, "import_definitions", str(definitions))
    finally:
        definitions.unlink(missing_ok=True)
    if any(each["user"] == GUEST for each in json.loads(rabbitmqctl(node, "list_users", "--formatter", "json"))):
        rabbitmqctl(node, "delete_user", GUEST)
    store_login(node)
