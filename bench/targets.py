"""What rqtool is meant to reach, and whether it did. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Target:
    """A bound for a comparison; `at_least` or, for times and sizes, at most."""

    bound: float
    at_least: bool = True

    def met(self, figure: float) -> bool:
        return figure >= self.bound if self.at_least else figure <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"


TARGETS = {
    ("rqtool send", "raw frames"): Target(0.8),
    ("rqtool send, whole process", "amqp-publish"): Target(0.65),
    ("rqtool send", "dramatiq"): Target(10),
    ("rqtool send", "celery"): Target(10),
    ("rqtool work --call", "dramatiq, 8 threads"): Target(4),
    ("rqtool work --call", "dramatiq, 1 thread"): Target(4),
    ("rqtool work --call", "dramatiq, prefetch 16"): Target(4),
    ("rqtool work --call", "pika, single acks"): Target(0.6),
    ("rqtool work -- cat", "amqp-consume cat"): Target(0.95),
    ("rqtool work -j 2 -- cat", "amqp-consume cat"): Target(1.5),
    ("rqtool --help", "import typer"): Target(1.3, at_least=False),
    ("rqtool send x", "import typer, pika"): Target(1.4, at_least=False),
    ("send, 5,000,000 lines", "send, 10,000 lines"): Target(10, at_least=False),
    ("2 workers", "1 worker"): Target(0.95),
    ("4 workers", "2 workers"): Target(0.95),
    ("8 workers", "4 workers"): Target(0.95),
}
"""By the two rows that are compared."""
