"""The guard of the hot path: what a request costs in calls, which no machine's mood changes."""

import asyncio
from pathlib import Path

import pytest
import uvloop

from tests.benchmarks.hot_path import count_calls
from tests.benchmarks.plane import LOADS, Plane

# Python calls a request that everything together may make; lowered whenever the path gets cheaper, never raised.
BUDGET = {"plain": 152, "browser": 159, "unlike": 192}


@pytest.mark.parametrize("kind", BUDGET)
def test_a_request_makes_no_more_calls_than_its_budget(kind: str, tmp_path: Path) -> None:
    """Every policy, the audit trail and the metrics are on: what is added here is paid by every request."""

    async def counted() -> tuple[float, str]:
        plane = Plane(tmp_path)
        await plane.sidecar.start()
        calls = await count_calls(plane.whole, LOADS[kind])
        await plane.sidecar.stop()
        return calls.python, f"{calls.rooms()}"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        made, rooms = runner.run(counted())
    assert made <= BUDGET[kind], rooms
