"""Kept answers in this process, within bounds; aiocache's memory cache has none, and a timer for each value."""

from proxy.clock import Clock
from proxy.exchange.ports import Look, Mark, Scope
from proxy.http.message import held_bytes
from proxy.policy.bounded import Bounded
from proxy.policy.response_cache import CachedResponse

DROPPED_AT_ONCE = 500  # values, some 2 ms


class MemoryStore:
    """At most `max_entries` answers and `max_bytes` of bodies and heads; the oldest of who keeps most give way."""

    up = True

    def __init__(self, clock: Clock, max_entries: int = 10_000, max_bytes: int = 33_554_432) -> None:
        self._clock = clock
        self._bounds = max_entries, max_bytes
        self._kept: Bounded[bytes, CachedResponse] = Bounded(max_entries, max_bytes)

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is kept under `key`; whoever reads it asks the seals whether it is still fresh."""
        held = self._kept.get(key, self._clock.now())
        return Look(None if held is None else held.value)

    async def put(self, key: bytes, kept: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Keep an answer for at most `ttl_s` seconds, unless it alone is over the bound."""
        now = self._clock.now()
        self._kept.put(key, kept, len(key) + held_bytes(kept.response), now + ttl_s, now, scope.holder)

    def shed(self) -> None:
        """Keep nothing any more."""
        self._kept = Bounded(*self._bounds)

    def make_room(self, most: int) -> None:
        """Keep at most `most` bytes, after some calls; the answers of who keeps most go first."""
        self._kept.make_room(most, DROPPED_AT_ONCE)

    def forget(self, beginning: bytes) -> None:
        """Keep nothing any more under keys that begin so."""
        for key in [key for key, _ in self._kept.items() if key.startswith(beginning)]:
            self._kept.drop(key)

    async def drop(self, key: bytes) -> None:
        """Keep nothing under `key` any more."""
        self._kept.drop(key)
