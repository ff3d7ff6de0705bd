"""The broker's refusals → the user's errors: what no further try changes, and what is "not now". Pure.

The texts are those of RabbitMQ 3.10 to 4.3. Limits: https://www.rabbitmq.com/docs/vhosts#limits,
https://www.rabbitmq.com/docs/user-limits
"""

from __future__ import annotations

import re

from rqtool.errors import AccessRefused, RqtoolError, Unreachable

_ACCESS_REFUSED, _NOT_ALLOWED = 403, 530

_CLOSE_ONE = "It goes on when one is closed; or raise the limit (rabbitmqctl {})"
_NOT_NOW: tuple[tuple[str, str, str], ...] = (
    (
        r"vhost '(?P<vhost>.*)' refused for user .*: connection limit \((?P<most>\d+)\) is reached",
        "The vhost {vhost!r} has as many connections as its limit allows (max-connections={most})",
        _CLOSE_ONE.format("set_vhost_limits"),
    ),
    (
        r"refused for user '(?P<user>.*)': user connection limit \((?P<most>\d+)\) is reached",
        "User {user!r} has as many connections as its limit allows (max-connections={most})",
        _CLOSE_ONE.format("set_user_limits"),
    ),
    (
        r"channels opened for user '.*' has reached the maximum allowed user limit of \(?(?P<most>\d+)",
        "The user has as many channels as its limit allows (max-channels={most})",
        _CLOSE_ONE.format("set_user_limits"),
    ),
    (
        r"queue limit in vhost '(?P<vhost>.*)' \((?P<most>\d+)\) is reached",
        "The vhost {vhost!r} has as many queues as its limit allows (max-queues={most})",
        "Delete one that nobody needs; or raise the limit (rabbitmqctl set_vhost_limits)",
    ),
    (
        r"(?P<text>[^:'\s][^:']*(?:\blimit\b[^']* is reached|has reached the maximum allowed)\b.*)",
        "The broker is at a limit: {text}",
        "It goes on when there is room again; or raise the limit in the broker's configuration",
    ),
    (
        r"(?P<text>.*is down or inaccessible.*)",
        "The node that holds the queue is down: {text}",
        "Start that node again; a quorum queue (--type quorum) lives on several",
    ),
    (
        r"vhost '(?P<vhost>[^']*)' is down",
        "The vhost {vhost!r} is down",
        "The broker's log says why; start it again with: rabbitmqctl restart_vhost -p {vhost}",
    ),
    (
        r"queue '(?P<queue>.*)' in vhost '(?P<vhost>.*)' in exclusive use",
        "Another program consumes queue {queue!r} exclusively",
        "It goes on when that one has ended; see it with: rabbitmqctl list_consumers -p {vhost}",
    ),
)
"""Text, what happened, what to do: the first that fits."""


def not_now(text: str) -> Unreachable | None:
    """Return the error for what passes without a change of rights or names, and is waited out; None: it is no such."""
    for pattern, what, what_to_do in _NOT_NOW:
        if found := re.search(pattern, text, re.DOTALL):
            words = found.groupdict()
            return Unreachable(what.format(**words), what_to_do.format(**words))
    return None


def refused(code: int, text: str, doing: str) -> RqtoolError | None:
    """Return the error for AMQP's reply code and text; None: it is no refusal. `doing`: what was tried."""
    if (passing := not_now(text)) is not None:
        return passing
    if code == _NOT_ALLOWED and (found := re.search(r"vhost '?(.*?)'? not found", text, re.DOTALL)):
        return AccessRefused(
            f"The vhost {found[1]!r} does not exist",
            f"Create it with: rabbitmqctl add_vhost {found[1]}; or name another one at the end of the URL",
        )
    if code == _NOT_ALLOWED and (found := re.search(r"vhost '(.*)' refused for user '(.*)'", text, re.DOTALL)):
        return AccessRefused(
            f"User {found[2]!r} may not enter the vhost {found[1]!r}",
            f"Grant it with: rabbitmqctl set_permissions -p {found[1]} {found[2]} '.*' '.*' '.*'",
        )
    if code in (_ACCESS_REFUSED, _NOT_ALLOWED):
        return AccessRefused(
            f"The broker refused {doing}: {text}", "Ask for the permission (rabbitmqctl set_permissions)"
        )
    return None
