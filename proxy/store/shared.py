"""A store that every replica shares: one Redis, and those who use it."""

from collections.abc import Callable

from proxy.clock import Clock
from proxy.config.settings import Store as StoreSettings
from proxy.parts import Claims, Replicas, Store
from proxy.policy.freshness import Seals
from proxy.store import scripts
from proxy.store.bus import Bus
from proxy.store.claims import LocalClaims
from proxy.store.line import Line
from proxy.store.link import Link
from proxy.store.redis_claims import RedisClaims
from proxy.store.redis_kept import RedisStore
from proxy.store.seals import SharedSeals


class RedisShelf:
    """A store in Redis."""

    def __init__(self, settings: StoreSettings, name: str, clock: Clock, on_error: Callable[[str], None]) -> None:
        self._link = Link(settings.url, settings.namespace, settings.timeout, on_error)
        self._line = Line(self._link)
        self._bus = Bus(self._link, self._line, name, clock)
        self._bus.scripts += scripts.ALL
        here = LocalClaims(clock, settings.max_entries, settings.max_bytes)
        self._claims = RedisClaims(self._link, self._line, self._bus, name, here)
        self.seals: Seals = SharedSeals(self._link, self._line, self._bus, name, clock.now)
        self.kept: Store = RedisStore(
            self._link, self._line, self.seals, clock, settings.max_entries, settings.max_bytes
        )
        self.claims: Claims = self._claims
        self.replicas: Replicas | None = self._bus

    async def start(self) -> None:
        """Reach Redis, or begin to try."""
        await self._bus.start()

    def shed(self) -> None:
        """Keep what there is: kept answers are Redis's, and a used key that is forgotten could be done twice."""

    async def close(self) -> None:
        """Tell what is left to tell, and close every connection."""
        self._claims.close()
        await self._line.close()
        await self._bus.close()
        await self._link.close()
