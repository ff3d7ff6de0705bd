"""How a soak ended, as one line of JSON. Pure."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tests.soak.ledger import Account, Inflicted
from tests.soak.scenario import Scenario

EXAMPLES = 10


def report(
    scenario: Scenario,
    nodes: int,
    account: Account | None,
    faults: Sequence[Inflicted],
    counts: Mapping[str, int],
    hung: Sequence[str],
    troubles: Sequence[str],
) -> dict[str, Any]:
    """`account` is None where it did not come to that. `ok` is the verdict."""
    told: dict[str, Any] = {
        "ok": account is not None and account.settled and not hung and not troubles,
        "seed": scenario.seed,
        "minutes": round(scenario.seconds / 60, 2),
        "nodes": nodes,
        "kind": scenario.kind,
        **counts,
    }
    if account is not None:
        told |= {
            "lost": len(account.lost),
            "unexpected": len(account.unexpected),
            "healthy_but_dead": len(account.buried_alive),
            "left": len(account.left),
            "ghosts": len(account.ghosts),
            "duplicates": dict(account.duplicates),
            "excess": dict(account.excess),
            "examples": {
                "lost": _some(account.lost),
                "unexpected": _some(account.unexpected),
                "healthy_but_dead": _some(account.buried_alive),
                "left": _some(account.left),
                "ghosts": _some(account.ghosts),
            },
            "errors_of_healthy_but_dead": _errors(account.buried_alive.values()),
        }
    return told | {
        "hung": list(hung),
        "troubles": list(troubles),
        "faults": [[round(fault.at, 1), round(fault.healed, 1), fault.kind, fault.on] for fault in faults],
    }


def line(told: Mapping[str, Any]) -> str:
    return json.dumps(told)


def _some(names: Collection[str]) -> list[str]:
    return sorted(names)[:EXAMPLES]


def _errors(errors: Collection[str]) -> dict[str, int]:
    """The first lines of the errors, without the numbers that differ."""
    kinds = Counter(re.sub(r"\S*\d\S*", "…", (error.splitlines() or [""])[0])[:120] for error in errors)
    return dict(kinds.most_common(EXAMPLES))
