"""Cached responses in memory: within their time and their bounds."""

from proxy.exchange.ports import Scope
from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.bounded import Holder
from proxy.policy.response_cache import CachedResponse
from proxy.store.memory_store import DROPPED_AT_ONCE
from tests.settings import memory_store
from tests.simulation.virtual import VirtualClock, simulated

ADA = Scope("r-1", (b"ada",))


def cached(body: bytes) -> CachedResponse:
    """Return an answer to keep."""
    return CachedResponse(Response(200, b"", Fields(()), body), 0.0, 0)


@simulated
async def test_an_answer_is_there_for_its_time() -> None:
    """Each has its own."""
    clock = VirtualClock()
    store = memory_store(clock)
    await store.put(b"short", cached(b"s"), 1.0, ADA, None)
    await store.put(b"long", cached(b"l"), 5.0, ADA, None)
    await clock.sleep(2.0)
    assert (await store.look(b"short", ADA)).cached is None
    assert (await store.look(b"long", ADA)).cached == cached(b"l")


@simulated
async def test_bodies_and_heads_count() -> None:
    """The oldest gives way to a new one; what is over the bound alone is not kept, and drops what it would replace."""
    store = memory_store(VirtualClock(), max_bytes=100)
    for key in (b"a", b"b", b"c"):
        await store.put(key, cached(bytes(40)), 5.0, ADA, None)
    assert [(await store.look(key, ADA)).cached is not None for key in (b"a", b"b", b"c")] == [False, True, True]
    await store.put(b"b", cached(bytes(200)), 5.0, ADA, None)
    assert (await store.look(b"b", ADA)).cached is None


@simulated
async def test_where_memory_is_scarce_the_heaviest_keep_less() -> None:
    """Some at a time, so that nobody waits; who keeps little keeps it."""
    store, count = memory_store(VirtualClock()), DROPPED_AT_ONCE + 100
    await store.put(b"honest", cached(bytes(40)), 5.0, ADA, None)
    attacker = Scope("r-2", (b"eve",), Holder("203.0.113.9"))
    for number in range(count):
        await store.put(b"%d" % number, cached(bytes(100)), 5.0, attacker, None)
    left = []
    for _ in range(3):
        store.make_room(2_000)
        left.append(len(store._responses))
    assert left[0] == count + 1 - DROPPED_AT_ONCE
    assert left[1] == left[2] < 20
    assert (await store.look(b"honest", ADA)).cached is not None
