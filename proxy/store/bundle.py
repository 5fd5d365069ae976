"""The store that the settings choose: cached responses, claims, invalidations and messages to replicas."""

from collections.abc import Callable
from typing import Protocol

from proxy.clock import Clock
from proxy.config.settings import StoreTable as StoreSettings
from proxy.exchange.ports import Claims, Replicas, Store
from proxy.policy.invalidation import Invalidations
from proxy.store.erased import Erased
from proxy.store.local_claims import LocalClaims
from proxy.store.memory_store import MemoryStore

MEMORY = "memory://"
SQLITE = "sqlite://"


class StoreBundle(Protocol):
    """The components of a store, and their lifecycle."""

    responses: Store
    claims: Claims
    invalidations: Invalidations
    replicas: Replicas | None
    clock: Clock  # of the ages and lifetimes of cached responses

    @property
    def waiting(self) -> int:
        """Return how many commits wait for the disk."""
        ...

    async def start(self) -> None:
        """Connect to the store, or retry in the background: the sidecar starts without it."""
        ...

    def shed(self) -> None:
        """Drop what this process caches."""
        ...

    def make_room(self, most: int) -> None:
        """Keep at most `most` bytes of cached responses in this process, and as many of stored ones."""
        ...

    async def erase(self, subject: str) -> Erased:
        """Erase every response of a subject. Used keys stay used, because forgetting one could execute it twice."""
        ...

    def on_erasure_elsewhere(self, call: Callable[[str], object]) -> None:
        """Call `call` with each subject that another replica has erased."""
        ...

    async def close(self) -> None:
        """Release all resources."""
        ...


class MemoryBundle:
    """A store in this process, without resources to close."""

    def __init__(self, settings: StoreSettings, clock: Clock) -> None:
        self._memory = MemoryStore(clock, settings.max_entries, settings.max_bytes)
        self.responses: Store = self._memory
        self._claims = LocalClaims(clock, settings.max_entries, settings.max_bytes)
        self.claims: Claims = self._claims
        self.invalidations = Invalidations()
        self.replicas: Replicas | None = None
        self.clock = clock
        self.waiting = 0

    async def start(self) -> None:
        """Do nothing: the store is ready."""

    def shed(self) -> None:
        """Drop cached responses. Used keys stay, because forgetting one could execute it twice."""
        self._memory.shed()

    def make_room(self, most: int) -> None:
        """Reduce responses of either kind to `most` bytes; the heaviest holders' are dropped first."""
        self._memory.make_room(most)
        self._claims.make_room(most)

    async def erase(self, subject: str) -> Erased:
        """Erase every response of a subject."""
        self.invalidations.drop_subject(subject)
        return Erased(self._memory.erase(subject), len(self._claims.erase(subject)))

    def on_erasure_elsewhere(self, call: Callable[[str], object]) -> None:
        """Do nothing: there are no other replicas."""

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def open_store(settings: StoreSettings, name: str, clock: Clock, on_error: Callable[[str], None]) -> StoreBundle:
    """Return the store of the configured URL; `name` identifies this process among replicas."""
    if settings.url == MEMORY:
        return MemoryBundle(settings, clock)
    if settings.url.startswith(SQLITE):
        from proxy.store.disk.disk_bundle import DiskBundle

        return DiskBundle(settings, clock, on_error)
    from proxy.store.shared import RedisBundle  # takes 0.2 s and 7 MiB

    return RedisBundle(settings, name, clock, on_error)
