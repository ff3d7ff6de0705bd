"""Profiles: named brokers in `config.toml`, such as

[staging]
url = "amqps://me:secret@staging.example/"
vhost = "mail"
tls-ca = "/etc/ssl/staging.pem"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from os.path import expanduser  # that of Path fails where there is no such home
from pathlib import Path

from rqtool.errors import UsageError

KEYS = ("url", "url-file", "api-url", "vhost", "tls-ca", "tls-cert", "tls-key", "insecure")
"""What a profile may set: the options of these names."""
_FILES = ("url-file", "tls-ca", "tls-cert", "tls-key")

Values = dict[str, str | bool | Path | None]


def config_file(environment: Mapping[str, str] = os.environ) -> Path:
    """`rqtool/config.toml` in the user's configuration folder."""
    folder = environment.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(expanduser(folder), "rqtool", "config.toml")


def read_profile(file: Path, name: str) -> Values:
    """Return the settings of a profile by the options' parameter names. Its files are relative to the folder of `file`.

    Raises UsageError for an unusable file, an unknown profile or an unknown key. It quotes no value, since values may
    contain passwords.
    """
    try:
        profiles = tomllib.loads(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not TOML"
        raise UsageError(f"Profile {name!r}: {file} can't be read: {why}", f"Write a table [{name}] into it") from None
    table = profiles.get(name)
    if not isinstance(table, dict):
        names = ", ".join(key for key, value in profiles.items() if isinstance(value, dict)) or "none"
        raise UsageError(f"There is no profile {name!r} in {file}", f"It has: {names}")
    for key, value in table.items():
        if key not in KEYS:
            raise UsageError(f"Profile {name!r} has an unknown key {key!r}", f"Use some of: {', '.join(KEYS)}")
        kind = bool if key == "insecure" else str
        if not isinstance(value, kind):
            raise UsageError(
                f"Profile {name!r}: {key} is no {'true or false' if kind is bool else 'text'}", "Correct it"
            )
    paths = {key: file.parent / expanduser(table[key]) for key in _FILES if key in table}
    return {key.replace("-", "_"): value for key, value in (table | paths).items()}


def with_profile(given: Values, profile: Values) -> tuple[Values, list[str]]:
    """Fill in what is not `given` from a profile. Returns the values, and the keys of the profile that are ignored.

    If another broker is given than the profile's, the whole profile is ignored: mixing the API of one with the tasks of
    the other would mislead, and `insecure` is not meant for it.
    """
    elsewhere = bool(given.get("url") or given.get("url_file")) and ("url" in profile or "url_file" in profile)
    ignored = [key for key in profile if given.get(key) is not None or elsewhere]
    return given | {key: value for key, value in profile.items() if key not in ignored}, ignored
