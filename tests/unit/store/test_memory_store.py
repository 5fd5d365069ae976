"""Kept answers in memory: within their time and their bounds."""

from proxy.exchange.ports import Scope
from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.response_cache import CachedResponse
from proxy.store.memory_store import MemoryStore
from tests.simulation.virtual import VirtualClock, simulated

ADA = Scope("r-1", (b"ada",))


def kept(body: bytes) -> CachedResponse:
    """Return an answer to keep."""
    return CachedResponse(Response(200, b"", Fields(()), body), 0.0, 0)


@simulated
async def test_an_answer_is_there_for_its_time() -> None:
    """Each has its own."""
    clock = VirtualClock()
    store = MemoryStore(clock)
    await store.put(b"short", kept(b"s"), 1.0, ADA, None)
    await store.put(b"long", kept(b"l"), 5.0, ADA, None)
    await clock.sleep(2.0)
    assert (await store.look(b"short", ADA)).kept is None
    assert (await store.look(b"long", ADA)).kept == kept(b"l")


@simulated
async def test_bodies_and_heads_count() -> None:
    """The oldest gives way to a new one; what is over the bound alone is not kept, and drops what it would replace."""
    store = MemoryStore(VirtualClock(), max_bytes=100)
    for key in (b"a", b"b", b"c"):
        await store.put(key, kept(bytes(40)), 5.0, ADA, None)
    assert [(await store.look(key, ADA)).kept is not None for key in (b"a", b"b", b"c")] == [False, True, True]
    await store.put(b"b", kept(bytes(200)), 5.0, ADA, None)
    assert (await store.look(b"b", ADA)).kept is None
