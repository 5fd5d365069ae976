"""The store in Redis, which all replicas share."""

from collections.abc import Callable

from proxy.clock import Clock
from proxy.config.settings import StoreTable as StoreSettings
from proxy.exchange.ports import Claims, Replicas, Store
from proxy.policy.invalidation import Invalidations
from proxy.store import scripts
from proxy.store.command_queue import CommandQueue
from proxy.store.local_claims import LocalClaims
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_claims import RedisClaims
from proxy.store.redis_connection import RedisConnection
from proxy.store.redis_responses import RedisStore
from proxy.store.shared_invalidations import SharedInvalidations


class RedisBundle:
    """A store in Redis."""

    def __init__(self, settings: StoreSettings, name: str, clock: Clock, on_error: Callable[[str], None]) -> None:
        self._connection = RedisConnection(settings.url, settings.namespace, settings.timeout, on_error)
        self._commands = CommandQueue(self._connection)
        self._pubsub = ReplicaPubSub(self._connection, self._commands, name, clock)
        self._pubsub.scripts += scripts.ALL
        self._here = LocalClaims(clock, settings.max_entries, settings.max_bytes)
        self._claims = RedisClaims(self._connection, self._commands, self._pubsub, name, self._here)
        self.invalidations: Invalidations = SharedInvalidations(
            self._connection, self._commands, self._pubsub, name, clock.now
        )
        self.kept: Store = RedisStore(
            self._connection, self._commands, self.invalidations, clock, settings.max_entries, settings.max_bytes
        )
        self.claims: Claims = self._claims
        self.replicas: Replicas | None = self._pubsub

    async def start(self) -> None:
        """Connect to Redis, or retry in the background."""
        await self._pubsub.start()

    def shed(self) -> None:
        """Do nothing: responses are in Redis, and forgetting a used key could execute it twice."""

    def make_room(self, most: int) -> None:
        """Keep at most `most` bytes of stored answers here; cached ones are in Redis."""
        self._here.make_room(most)

    async def close(self) -> None:
        """Send the remaining commands and close every connection."""
        self._claims.close()
        await self._commands.close()
        await self._pubsub.close()
        await self._connection.close()
