"""`python -m tests.soak`: see `--help`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.soak.broker import Broker
from tests.soak.course import ALL_SECONDS, Course
from tests.soak.journal import Journal
from tests.soak.ledger import Account
from tests.soak.report import line, report
from tests.soak.scenario import draw


class OutOfTimeError(Exception):
    """The whole soak has outlived its deadline."""


def main() -> int:
    """Run a soak; 0 where every account is settled, else 1, and the folder with all logs stays."""
    options = _options()
    _forget_the_callers_settings()
    folder = Path(tempfile.mkdtemp(prefix="rqtool-soak-"))
    journal = Journal(folder / "journal.log")
    scenario = draw(options.seed, options.minutes * 60, options.nodes, options.kind)
    _end_in_time(scenario.seconds + ALL_SECONDS)
    course: Course | None = None
    account: Account | None = None
    broker: Broker | None = None
    try:
        broker = Broker(folder / "broker", options.nodes, journal)
        course = Course(scenario, broker, folder, journal)
        account = course.run()
    except OutOfTimeError:
        journal.hang("the whole soak")
    except Exception:  # whatever it is, the report is written
        journal.trouble(traceback.format_exc())
    finally:
        signal.alarm(0)
        if course is not None:
            course.end()
        if broker is not None:
            broker.stop()
    faults, counts = (course.faults, course.counts) if course is not None else ([], {})
    told = report(scenario, options.nodes, account, faults, counts, journal.hung, journal.troubles)
    if told["ok"]:
        shutil.rmtree(folder)
    else:
        told["logs"] = str(folder)
        (folder / "report.json").write_text(line(told))
    print(line(told), flush=True)
    return 0 if told["ok"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=sys.modules["tests.soak"].__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, required=True, help="decides the load, the faults and their moments")
    parser.add_argument("--minutes", type=float, default=3, help="how long there are faults (default: 3)")
    parser.add_argument("--nodes", type=int, choices=[1, 3], default=1, help="of the private broker (default: 1)")
    parser.add_argument("--kind", choices=["classic", "quorum"], default="classic", help="of the main queue")
    return parser.parse_args()


def _forget_the_callers_settings() -> None:
    """Nothing of the caller's reaches the soak, but for which RabbitMQ is tried."""
    for name in [name for name in os.environ if name.startswith(("RQTOOL_", "AMQP_"))]:
        if name != "RQTOOL_RABBITMQ_SERVER":
            del os.environ[name]


def _end_in_time(seconds: float) -> None:
    def expired(*_: object) -> None:
        raise OutOfTimeError

    def told_to_stop(number: int, _: object) -> None:
        sys.exit(128 + number)

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(round(seconds))
    signal.signal(signal.SIGTERM, told_to_stop)


if __name__ == "__main__":
    sys.exit(main())
