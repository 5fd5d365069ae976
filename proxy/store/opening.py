"""The store that the settings name: what is kept, what is claimed, and who else hears of writes."""

from collections.abc import Callable
from typing import Protocol

from proxy.clock import Clock
from proxy.config.settings import Store as StoreSettings
from proxy.parts import Claims, Replicas, Store
from proxy.policy.freshness import Seals
from proxy.store.claims import LocalClaims
from proxy.store.memory import MemoryStore

MEMORY = "memory://"


class Shelf(Protocol):
    """A store's parts, and their life."""

    kept: Store
    claims: Claims
    seals: Seals
    replicas: Replicas | None

    async def start(self) -> None:
        """Reach the store, or begin to try; a store that is down is no reason not to start."""
        ...

    def shed(self) -> None:
        """Let go of what this process keeps only to be quick."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...


class MemoryShelf:
    """A store in this process: it is here, and holds nothing that must be closed."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._memory = MemoryStore(clock, settings.max_entries, settings.max_bytes)
        self.kept: Store = self._memory
        self.claims: Claims = LocalClaims(clock, settings.max_entries, settings.max_bytes)
        self.seals = Seals()
        self.replicas: Replicas | None = None

    async def start(self) -> None:
        """Begin."""

    def shed(self) -> None:
        """Drop kept answers. Used keys stay: to forget one would let it be done twice."""
        self._memory.shed()

    async def close(self) -> None:
        """End."""


def open_shelf(settings: StoreSettings, name: str, clock: Clock, on_error: Callable[[str], None]) -> Shelf:
    """Return the store at the settings' URL; `name` tells this process from other replicas."""
    if settings.url == MEMORY:
        return MemoryShelf(settings, clock)
    from proxy.store.shared import RedisShelf  # 0.2 s and 7 MiB, where there is a Redis

    return RedisShelf(settings, name, clock, on_error)
