"""Where a user's private broker lives, and whether there is one."""

from __future__ import annotations

from pathlib import Path

from rqtool.endpoint.urls import Endpoint, parse_api_urls
from rqtool.errors import UsageError


def default_home() -> Path:
    """The private broker's folder in the user's state directory (XDG_STATE_HOME on Linux).

    Raises UsageError if this user has none: without HOME, and without an entry in the system's list of users; also for
    an apostrophe, since a node that asks a shell how full its disk is (3.10 to 4.3) would hang while it starts.
    """
    from platformdirs import user_state_path

    try:
        state = user_state_path("rqtool")
    except RuntimeError:
        state = Path()
    if not state.is_absolute():
        raise UsageError("This user has no home for a private broker", "Set XDG_STATE_HOME to a folder of yours")
    if "'" in str(state):
        what = f"RabbitMQ can't start in {state}, which has an apostrophe"
        raise UsageError(what, "Set XDG_STATE_HOME to a folder without one")
    return state / "broker"


def private_endpoint() -> Endpoint | None:
    """The broker that `rqtool broker start` started for this user, if it ever did; `stopped` if no node is running.
    Includes nodes that are down: they may be back when a client looks for another node.
    """
    try:
        home = default_home()
        home.stat()
    except (UsageError, OSError):  # none, or another user's
        return None
    from rqtool.private_broker.cluster import PrivateBroker  # 15 ms

    members = PrivateBroker(home).members()
    if not members[0].amqp_port:
        return None
    urls = tuple(node.broker_url for node in members)
    api_urls = parse_api_urls(",".join(node.api_url for node in members), urls[0])
    return Endpoint(urls, api_urls, stopped=not any(node.pid for node in members))
