"""Tasks that may have ended a process that they shared: they run apart from others until they have ended. Pure."""

from __future__ import annotations

from collections import OrderedDict

from rqtool.run.task import Task

MOST = 1000


class Suspects:
    """The last MOST of them."""

    def __init__(self) -> None:
        self._keys: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def __contains__(self, task: Task) -> bool:
        return bool(self._keys) and _key(task) in self._keys

    def add(self, *tasks: Task) -> None:
        self._keys |= {_key(task): None for task in tasks}
        while len(self._keys) > MOST:
            self._keys.popitem(last=False)

    def discard(self, task: Task) -> None:
        if self._keys:
            self._keys.pop(_key(task), None)


def _key(task: Task) -> tuple[str, bytes]:
    """What tells tasks apart well enough to let one run alone."""
    return task.message_id, task.body[:1000]
