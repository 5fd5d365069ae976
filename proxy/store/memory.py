"""Kept answers in this process, within bounds; aiocache's memory cache has none, and a timer for each value."""

from proxy.clock import Clock
from proxy.message import Response
from proxy.parts import Look, Mark, Scope
from proxy.policy.kept import Kept
from proxy.store.bounded import Bounded


class MemoryStore:
    """At most `max_entries` answers and `max_bytes` of bodies and heads; the oldest give way."""

    up = True

    def __init__(self, clock: Clock, max_entries: int = 10_000, max_bytes: int = 67_108_864) -> None:
        self._clock = clock
        self._kept: Bounded[bytes, Kept] = Bounded(max_entries, max_bytes)

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is kept under `key`; whoever reads it asks the seals whether it is still fresh."""
        held = self._kept.get(key, self._clock.now())
        return Look(None if held is None else held.value)

    async def put(self, key: bytes, kept: Kept, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Keep an answer for at most `ttl_s` seconds, unless it alone is over the bound."""
        now = self._clock.now()
        self._kept.put(key, kept, _size(key, kept.response), now + ttl_s, now)


def _size(key: bytes, response: Response) -> int:
    body = len(response.body) if isinstance(response.body, bytes) else 0
    return len(key) + body + sum(len(name) + len(value) for name, value in response.fields.lines)
