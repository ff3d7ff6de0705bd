"""`python -m bench [--quick] [SECTION]...`: measure, on a private broker, and write RESULTS.md and its picture.

Sections: stream, calls, commands, startup, latency, memory, growth; all of them where none is named. What other
sections, and runs with other RabbitMQ versions, found before stays. RQTOOL_RABBITMQ_SERVER chooses the server.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from bench import report, results
from bench.broker import Broker, private_broker
from bench.process import PEERS, ROOT
from bench.texts import TITLES
from bench.turns import Size

HERE = ROOT / "bench"
FOLDER = HERE / "results"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", choices=[[], *TITLES])
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    chosen = parser.parse_args()
    with private_broker() as broker:
        path = FOLDER / f"{results.series(broker.rabbitmq)}.json"
        date, used = results.now(), versions(broker)
        for name in chosen.sections or TITLES:
            print(f"{name}, RabbitMQ {broker.rabbitmq}", file=sys.stderr, flush=True)
            groups = import_module(f"bench.sections.{name}").measure(broker, Size(chosen.quick))
            section = results.Section(date, chosen.quick, results.machine(), used, groups)
            # Each at once: a run that is interrupted has not been for nothing.
            results.write(path, results.read(path) | {name: section})
            write_report()
            for group in groups:
                print(*report.table(group), "", sep="\n")


def write_report() -> None:
    """Write RESULTS.md and its picture from all results that there are."""
    paths = sorted(FOLDER.glob("*.json"), key=lambda path: [int(part) for part in path.stem.split(".")])
    (HERE / "RESULTS.md").write_text(report.render({path.stem: results.read(path) for path in paths}))
    subprocess.run([PEERS / "python", "-m", "bench.picture", HERE / "results.svg", *paths], cwd=ROOT, check=True)


def versions(broker: Broker) -> dict[str, str]:
    """Return those of everything that takes part."""
    code = "from importlib.metadata import version as v; print(v('dramatiq'), v('celery'), v('pika'))"
    peers = subprocess.run([PEERS / "python", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    return {
        "RabbitMQ": broker.rabbitmq,
        "Erlang": broker.erlang,
        "Python": platform.python_version(),
        "rqtool": version("rqtool"),
        "pika": version("pika"),
        "dramatiq": peers[0],
        "celery": peers[1],
        "pika of dramatiq": peers[2],
        "amqp-tools": _amqp_tools(),
    }


def _amqp_tools() -> str:
    """The tools don't say; the package does, where there are packages."""
    if not Path("/usr/bin/dpkg-query").exists():
        return "unknown"
    query = ["dpkg-query", "--showformat", "${Version}", "--show", "amqp-tools"]
    return subprocess.run(query, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
