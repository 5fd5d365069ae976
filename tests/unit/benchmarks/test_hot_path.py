"""The report on the hot path: every lane responds, and calls are counted by package."""

import asyncio
from pathlib import Path

import pytest

from proxy.build import COMPILED
from tests.benchmarks.hot_path import best_us, count_calls, lanes
from tests.benchmarks.plane import LOADS, Plane
from tests.loop import CheckedLoop


@pytest.mark.parametrize("kind", LOADS)
def test_every_lane_is_timed_and_its_calls_are_counted(kind: str, tmp_path: Path) -> None:
    """The figures depend on the machine, so only their presence is checked."""

    async def measured() -> tuple[dict[str, float], dict[str, float]]:
        plane = Plane(tmp_path)
        await plane.sidecar.start()
        costs = await best_us(lanes(plane), LOADS[kind], 1)
        calls = await count_calls(plane.whole, LOADS[kind])
        await plane.sidecar.stop()
        return costs, calls.rooms()

    with asyncio.Runner(loop_factory=CheckedLoop) as runner:
        costs, rooms = runner.run(measured())
    assert costs.keys() == {"whole", "bare"} | (set() if COMPILED else {"wire"})
    assert min(costs.values()) > 0
    assert COMPILED or {"server", "upstream", "policy", "audit", "observe", "page"} <= rooms.keys()
