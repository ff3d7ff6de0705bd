"""Finds out why our stdout can't be written, without writing to it.

A command that writes to it only reports that it failed. This misses quotas, and anything that has changed since.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import stat
import sys

from rqtool.output import explain, reader_is_gone

_SPARE = 65_536
"""Bytes that a full disk may still show as free: a file system needs more for a write than its data."""


def why_unwritable(descriptor: int) -> str:
    """Return in a few words why a stream can't be written. Empty: it seems writable."""
    if reader_is_gone(descriptor):
        return _words(errno.EPIPE)
    status = os.fstat(descriptor)
    is_file = stat.S_ISREG(status.st_mode)
    if (is_file and _is_full(descriptor)) or _is_dev_full(status):
        return _words(errno.ENOSPC)
    if is_file and _is_at_limit(descriptor, status.st_size):
        return _words(errno.EFBIG)
    return ""


def _words(number: int) -> str:
    return explain(OSError(number, os.strerror(number)))


def _is_full(descriptor: int) -> bool:
    disk = os.fstatvfs(descriptor)
    return disk.f_blocks > 0 and disk.f_bavail * disk.f_frsize < _SPARE  # 0 blocks: it has no figures


def _is_dev_full(status: os.stat_result) -> bool:
    return sys.platform == "linux" and stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 7)


def _is_at_limit(descriptor: int, size: int) -> bool:
    """Whether a file is as long as RLIMIT_FSIZE lets it be."""
    limit, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit == resource.RLIM_INFINITY:
        return False
    appends = fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND
    return limit <= (size if appends else os.lseek(descriptor, 0, os.SEEK_CUR))
