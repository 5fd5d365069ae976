"""The gauges show what holds for the next request, whoever decided it."""

from proxy.policy.breaker import CircuitMode
from tests.wire.kit import Wire

GET = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
STATE = 'backstay_circuit_state{circuit="backend"} '


async def test_a_forced_circuit_shows_in_the_gauge(wire: Wire) -> None:
    """An operator's override takes precedence over the breaker's own state, which goes on beneath it."""
    breaker = wire.sidecar._assembly.breakers["backend"]
    assert wire.counted(f"{STATE}0.0")
    breaker.force(CircuitMode.FORCED_OPEN, 0.0)
    assert wire.counted(f"{STATE}2.0")
    client = await wire.client()
    await client.send(GET)
    assert (await client.message()).status == 503
    breaker.force(CircuitMode.AUTO, 0.0)
    assert wire.counted(f"{STATE}0.0")
