"""The tutorial's pretended work: a function like any other that `--call` names."""

from __future__ import annotations

import asyncio


async def work(body: bytes) -> None:
    """Take a second for each dot in the body."""
    await asyncio.sleep(body.count(b"."))
