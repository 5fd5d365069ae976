"""The virtual loop: hours pass in no time, and a test that cannot continue fails."""

import asyncio

import pytest

from tests.simulation.virtual import VirtualClock, VirtualLoop, now_ms, simulated


@simulated
async def test_an_hour_passes_in_no_time() -> None:
    """A sleep of an hour takes an hour of virtual time; in ours the test would reach its time limit."""
    await VirtualClock().sleep(3600)
    assert now_ms() == 3_600_000


@simulated
async def test_timers_fire_in_their_order() -> None:
    """Two sleepers wake at their own times, the earlier one first."""
    order: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await VirtualClock().sleep(seconds)
        order.append((name, now_ms()))

    await asyncio.gather(sleeper("late", 0.2), sleeper("early", 0.1))
    assert order == [("early", 100), ("late", 200)]


def test_a_hang_is_an_error() -> None:
    """Where everybody waits and no timer is set, the loop raises instead of standing still."""

    async def hang() -> None:
        await asyncio.get_running_loop().create_future()

    loop = VirtualLoop()
    try:
        with pytest.raises(RuntimeError, match="hang for ever"):
            loop.run_until_complete(hang())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        loop.close()
