"""`python -m bench.peers.raw_send QUEUE FILE COUNT`: publish the file's first lines as frames encoded beforehand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench import bodies
from bench.peers.clock import clock
from bench.peers.frames import Wire, encoded


def main(queue: str, file: str, count: str) -> None:
    """The clock runs from the connection's beginning to the last confirm."""
    frames, ends = encoded(queue, bodies.read(Path(file), int(count)))
    with clock(), Wire(os.environ["RQTOOL_URL"]) as wire:
        wire.publish(frames, ends)


if __name__ == "__main__":
    main(*sys.argv[1:])
