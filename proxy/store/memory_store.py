"""Cached responses in this process, within bounds. aiocache's memory cache has no bounds and a timer for each value."""

from proxy.clock import Clock
from proxy.exchange.ports import Look, Mark, Scope
from proxy.http.message import held_bytes
from proxy.policy.bounded import Bounded
from proxy.policy.response_cache import CachedResponse

DROPPED_AT_ONCE = 500  # values, about 2 ms


class MemoryStore:
    """Cache at most `max_entries` responses of `max_bytes`; the oldest of the heaviest holder are evicted first."""

    up = True

    def __init__(self, clock: Clock, max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._bounds = max_entries, max_bytes
        self._responses: Bounded[bytes, CachedResponse] = Bounded(max_entries, max_bytes)

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is cached under `key`; the caller checks its freshness."""
        held = self._responses.get(key, self._clock.now())
        return Look(None if held is None else held.value)

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Cache a response for at most `ttl_s` seconds, unless it alone exceeds the limit."""
        now = self._clock.now()
        self._responses.put(key, cached, len(key) + held_bytes(cached.response), now + ttl_s, now, scope.holder)

    def shed(self) -> None:
        """Drop everything."""
        self._responses = Bounded(*self._bounds)

    def make_room(self, most: int) -> None:
        """Reduce the cache to `most` bytes over several calls; the heaviest holders' responses are dropped first."""
        self._responses.make_room(most, DROPPED_AT_ONCE)

    def forget(self, beginning: bytes) -> None:
        """Drop everything under keys with this prefix."""
        for key in [key for key, _ in self._responses.items() if key.startswith(beginning)]:
            self._responses.drop(key)

    def erase(self, subject: str) -> int:
        """Drop every response of a subject; return how many there were."""
        keys = [key for key, held in self._responses.items() if held.value.subject == subject]
        for key in keys:
            self._responses.drop(key)
        return len(keys)

    async def drop(self, key: bytes) -> None:
        """Drop what is cached under `key`."""
        self._responses.drop(key)
