"""Finding this machine's rabbitmq-server, or the command that installs one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from rqtool.errors import Unreachable, UsageError

SERVER_VARIABLE = "RQTOOL_RABBITMQ_SERVER"
_NAME = "rabbitmq-server"
_USUAL_PLACES = (
    "/usr/lib/rabbitmq/bin",
    "/opt/homebrew/sbin",
    "/usr/local/sbin",
    "/opt/homebrew/opt/rabbitmq/sbin",
    "/usr/local/opt/rabbitmq/sbin",
)
DOCKER = "docker run -d -p 127.0.0.1:5672:5672 -p 127.0.0.1:15672:15672 rabbitmq:4-management"


def find_server() -> Path:
    """Return the path of rabbitmq-server: RQTOOL_RABBITMQ_SERVER (the program or its folder), PATH, the usual places.

    Raises UsageError if the variable names no program, Unreachable if none is installed, with the command to install.
    """
    if override := os.environ.get(SERVER_VARIABLE):
        program = Path(override, _NAME) if Path(override).is_dir() else Path(override)
        if not os.access(program, os.X_OK) or program.is_dir():
            raise UsageError(f"{SERVER_VARIABLE} names {program}, which can't be run", f"Set it to the path of {_NAME}")
        return program.absolute()
    on_path = [Path(found)] if (found := shutil.which(_NAME)) else []
    usual = [Path(place, _NAME) for place in _USUAL_PLACES]
    # The rabbitmq-server in Debian's and Red Hat's /usr/sbin is a wrapper that insists on root: only as a last resort.
    candidates = [*usual, *on_path] if found and Path(found).parent.match("/usr/sbin") else [*on_path, *usual]
    for candidate in candidates:
        if os.access(candidate, os.X_OK):
            return candidate
    raise Unreachable(
        "No RabbitMQ server is installed here", f"Install it with: {_install_command()}; or run one with: {DOCKER}"
    )


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
