"""Whole commands from start to end, beside what the interpreter and the modules alone take."""

from __future__ import annotations

from bench.broker import Broker
from bench.figures import Group, Sample
from bench.process import PYTHON, RQTOOL, Command, run
from bench.turns import Size, Turn, measured

QUEUE = "bench-startup"
ROUNDS = 15
HELP, SEND, QUEUES = "rqtool --help", "rqtool send x", "rqtool queues"
TYPER, PIKA = "import typer", "import typer, pika"


def measure(broker: Broker, size: Size) -> list[Group]:  # noqa: ARG001 - a command has but one size
    """Wall-clock time, and CPU time beside it."""
    broker.fresh(QUEUE)
    control = broker.node.environment

    def once(command: Command, environment: dict[str, str] | None = None) -> Turn:
        def timed() -> Sample:
            ended = run(command, environment or broker.environment)
            return Sample(ended.seconds * 1000, ended.cpu)

        return Turn(timed)

    typer, pika = once([PYTHON, "-c", TYPER]), once([PYTHON, "-c", PIKA])
    publish = ["amqp-publish", f"--url={broker.url}", f"--routing-key={QUEUE}", "--persistent", "--body=x"]
    return [
        measured("Help", "ms", {HELP: once([RQTOOL, "--help"]), TYPER: typer}, HELP, ROUNDS),
        measured(
            "One task",
            "ms",
            {SEND: once([RQTOOL, "send", "--queue", QUEUE, "x"]), PIKA: pika, "amqp-publish": once(publish)},
            SEND,
            ROUNDS,
        ),
        measured(
            "The queues",
            "ms",
            {
                QUEUES: once([RQTOOL, "queues"]),
                TYPER: typer,
                "rabbitmqctl list_queues": once([broker.rabbitmqctl, "list_queues"], control),
            },
            QUEUES,
            ROUNDS,
        ),
    ]
