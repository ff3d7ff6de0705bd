"""Where this machine's rabbitmq-server is, and how to get one where there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rqtool.errors import Unreachable, UsageError

SERVER_VARIABLE = "RQTOOL_RABBITMQ_SERVER"
_NAME = "rabbitmq-server"
_USUAL_PLACES = (
    # Before PATH: the rabbitmq-server in Debian's and Red Hat's /usr/sbin is a wrapper that insists on root.
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
DOCKER = "docker run -d -p 127.0.0.1:5672:5672 -p 127.0.0.1:15672:15672 rabbitmq:4-management"


def find_server() -> Path:
    """Return rabbitmq-server's path: RQTOOL_RABBITMQ_SERVER (the program or its folder), PATH, the usual places.

    Raises UsageError where the variable leads nowhere, Unreachable where there is none, with the command that helps.
    """
    override = os.environ.get(SERVER_VARIABLE)
    if override:
        return _overridden(Path(override))
    on_path = shutil.which(_NAME)
    if on_path and not Path(on_path).parent.match("/usr/sbin"):
        return Path(on_path)
    for place in _USUAL_PLACES:
        candidate = Path(place) / _NAME
        if os.access(candidate, os.X_OK):
            return candidate
    if on_path:
        return Path(on_path)
    raise Unreachable(
        "No RabbitMQ server is installed here", f"Install it with: {_install_command()}; or run one with: {DOCKER}"
    )


def _overridden(path: Path) -> Path:
    program = path / _NAME if path.is_dir() else path
    if not os.access(program, os.X_OK) or program.is_dir():
        raise UsageError(f"{SERVER_VARIABLE} names {program}, which can't be run", f"Set it to the path of {_NAME}")
    return program.absolute()


def _install_command() -> str:
    if sys.platform == "darwin":
        return "brew install rabbitmq"
    for tool, command in (
        ("apt-get", "apt-get install -y rabbitmq-server"),
        ("dnf", "dnf install -y rabbitmq-server"),
        ("zypper", "zypper install -y rabbitmq-server"),
        ("apk", "apk add rabbitmq-server"),
        ("pacman", "pacman -S rabbitmq"),
    ):
        if shutil.which(tool):
            return command if os.geteuid() == 0 else f"sudo {command}"
    return "your system's package manager (package rabbitmq-server)"
