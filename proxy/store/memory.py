"""Kept answers in this process. aiocache's memory cache holds them; it has no bound, so the bounds are ours."""

from collections import OrderedDict

from aiocache import SimpleMemoryCache

from proxy.message import Response
from proxy.parts import Look, Mark, Scope
from proxy.policy.kept import Kept


class MemoryStore:
    """At most `max_entries` answers and `max_bytes` of bodies and heads; the oldest give way.

    aiocache removes an entry when its time is over by a timer of its own, so what is counted here may briefly be more
    than what is there, never less. Its `timeout` is switched off: the memory does not wait, and asking costs 20 µs.
    """

    up = True

    def __init__(self, max_entries: int = 10_000, max_bytes: int = 67_108_864) -> None:
        self._cache = SimpleMemoryCache(timeout=0)
        self._sizes: OrderedDict[bytes, int] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def held_bytes(self) -> int:
        """Return the bytes counted against the bound."""
        return self._bytes

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is kept under `key`; whoever reads it asks the seals whether it is still fresh."""
        found = await self._cache.get(key)
        return Look(found if isinstance(found, Kept) else None)

    async def put(self, key: bytes, kept: Kept, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Keep an answer for at most `ttl_s` seconds, unless it alone is over the bound."""
        size = _size(key, kept.response)
        if size > self._max_bytes:
            return
        self._forget(key)
        self._sizes[key] = size
        self._bytes += size
        while len(self._sizes) > self._max_entries or self._bytes > self._max_bytes:
            oldest = next(iter(self._sizes))
            self._forget(oldest)
            await self._cache.delete(oldest)
        await self._cache.set(key, kept, ttl=ttl_s)

    def _forget(self, key: bytes) -> None:
        self._bytes -= self._sizes.pop(key, 0)

    async def close(self) -> None:
        """Drop everything, the timers too."""
        for key in tuple(self._sizes):
            self._forget(key)
            await self._cache.delete(key)


def _size(key: bytes, response: Response) -> int:
    body = len(response.body) if isinstance(response.body, bytes) else 0
    return len(key) + body + sum(len(name) + len(value) for name, value in response.fields.lines)
