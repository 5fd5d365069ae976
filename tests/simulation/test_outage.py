"""A dead backend under 200 requests a second for a virtual minute: the calls it gets, and how the circuit recovers."""

import pytest

from proxy.http.message import Request
from proxy.http.problems import Reason
from proxy.policy.breaker import CircuitMode
from tests.simulation.scripted import Play, Step, answers, fails, hangs, refuses
from tests.simulation.virtual import now_ms, simulated
from tests.simulation.world import Visitor, World, finish

PACE_MS = 5.0
MINUTE_MS = 60_000.0
PERIOD_MS = 30_000.0

DEAD = {
    "refused": refuses(),
    "blackholed": fails(Reason.CONNECTION_TIMEOUT, after_s=1.0, sent=False),
    "silent": hangs(),
}


def transitions(world: World, kind: str) -> list[str]:
    """Return the transitions of the circuit that opened: timeouts of one route open that route's own."""
    return world.transitions_of("load") if kind == "silent" else world.transitions


def dead_until(step: Step, back_ms: float) -> Play:
    """Play a backend that fails so until it is back."""

    def play(request: Request, number: int) -> Step:
        return answers(after_s=0.01) if now_ms() >= back_ms else step

    return play


async def storm(world: World, until_ms: float, pace_ms: float = PACE_MS) -> list[Visitor]:
    """Let a new client ask for a report of its own every `pace_ms`."""
    visitors: list[Visitor] = []
    while now_ms() < until_ms:
        visitors.append(world.get(f"r{len(visitors)}"))
        await world.clock.sleep(pace_ms / 1000)
    return visitors


@pytest.mark.parametrize("kind", DEAD)
@simulated
async def test_a_dead_backend_is_spared(kind: str) -> None:
    """It gets the calls that opened the circuit, those under way then, and two probes at once a period."""
    world = World(dead_until(DEAD[kind], 1e12))
    visitors = await storm(world, MINUTE_MS)
    opened_ms = next(v.client.at_ms for v in visitors if v.exchange.attempts[-1].result == "destination_unavailable")
    await finish(*visitors)
    before = [call for call in world.upstream.calls if call.at_ms <= opened_ms]
    under_way = min(opened_ms, 2000.0) / PACE_MS
    assert len(before) <= 5 + under_way * 2  # each request under way may have had its second attempt begun
    probes = [call.at_ms for call in world.upstream.calls if call.at_ms > opened_ms]
    assert all(at >= PERIOD_MS for at in probes)
    assert len(probes) <= 2 * len([t for t in transitions(world, kind) if t == "HALF_OPEN"])
    assert len(visitors) == 12_000
    fast = [v for v in visitors if v.came_ms > opened_ms and v.exchange.attempts[0].status is None]
    assert sorted(v.waited_ms for v in fast)[len(fast) // 2] == 0
    assert world.at_rest()


@pytest.mark.parametrize("kind", DEAD)
@simulated
async def test_it_comes_back_within_a_probe_period_and_without_a_flood(kind: str) -> None:
    """After the backend returns, at most two calls at once until the circuit is closed, and then everybody."""
    back_ms = 40_000.0
    world = World(dead_until(DEAD[kind], back_ms))
    visitors = await storm(world, back_ms + 2 * PERIOD_MS, 4 * PACE_MS)
    await finish(*visitors)
    first_ok = next(v.client.at_ms for v in visitors if v.status == 200)
    assert back_ms <= first_ok <= back_ms + PERIOD_MS + 2000
    assert transitions(world, kind)[-1] == "CLOSED"
    closed_ms = first_ok + 4 * PACE_MS * 4
    assert all(v.status == 200 for v in visitors if v.came_ms > closed_ms)
    probing = [call for call in world.upstream.calls if back_ms <= call.at_ms < closed_ms]
    for call in probing:
        at_once = [other for other in probing if call.at_ms - 10 < other.at_ms <= call.at_ms]
        assert len(at_once) <= 4  # two probes, and the first that follow once two have succeeded


@simulated
async def test_the_budget_holds_under_a_storm() -> None:
    """10,000 failing requests with the breaker forced closed cost the upstream at most 1.25 calls each."""
    world = World([answers(503)])
    world.breaker.force(CircuitMode.FORCED_CLOSED, 0.0)
    visitors = []
    for number in range(10_000):
        visitors.append(world.get(f"r{number}"))
        await world.clock.sleep(0.005)
    await finish(*visitors)
    assert 10_000 < len(world.upstream.calls) <= 12_500
    assert {v.status for v in visitors} == {503}
    assert world.at_rest()
