"""The store that the settings name: what is kept, what is claimed, and who else hears of writes."""

from collections.abc import Callable
from typing import Protocol

from proxy.clock import Clock
from proxy.config.settings import StoreTable as StoreSettings
from proxy.exchange.ports import Claims, Replicas, Store
from proxy.policy.invalidation import Invalidations
from proxy.store.local_claims import LocalClaims
from proxy.store.memory_store import MemoryStore

MEMORY = "memory://"


class StoreBundle(Protocol):
    """A store's parts, and their life."""

    kept: Store
    claims: Claims
    invalidations: Invalidations
    replicas: Replicas | None

    async def start(self) -> None:
        """Reach the store, or begin to try; a store that is down is no reason not to start."""
        ...

    def shed(self) -> None:
        """Let go of what this process keeps only to be quick."""
        ...

    def make_room(self, most: int) -> None:
        """Keep at most `most` bytes of cached responses in this process, and as many of stored ones."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryBundle:
    """A store in this process: it is here, and holds nothing that must be closed."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._memory = MemoryStore(clock, settings.max_entries, settings.max_bytes)
        self.kept: Store = self._memory
        self._claims = LocalClaims(clock, settings.max_entries, settings.max_bytes)
        self.claims: Claims = self._claims
        self.invalidations = Invalidations()
        self.replicas: Replicas | None = None

    async def start(self) -> None:
        """Begin."""

    def shed(self) -> None:
        """Drop kept answers. Used keys stay: to forget one would let it be done twice."""
        self._memory.shed()

    def make_room(self, most: int) -> None:
        """Keep at most `most` bytes of answers of either kind; the answers of who keeps most go first."""
        self._memory.make_room(most)
        self._claims.make_room(most)

    async def close(self) -> None:
        """End."""


def open_store(settings: StoreSettings, name: str, clock: Clock, on_error: Callable[[str], None]) -> StoreBundle:
    """Return the store at the settings' URL; `name` tells this process from other replicas."""
    if settings.url == MEMORY:
        return MemoryBundle(settings, clock)
    from proxy.store.shared import RedisBundle  # 0.2 s and 7 MiB, where there is a Redis

    return RedisBundle(settings, name, clock, on_error)
