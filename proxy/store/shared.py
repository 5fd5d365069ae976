"""The store in Redis, which all replicas share."""

from collections.abc import Callable

from proxy.clock import Clock
from proxy.config.settings import StoreTable as StoreSettings
from proxy.exchange.ports import Claims, Replicas, Store
from proxy.policy.invalidation import Invalidations
from proxy.store import scripts
from proxy.store.command_queue import CommandQueue
from proxy.store.erased import Erased
from proxy.store.local_claims import LocalClaims
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_claims import RedisClaims
from proxy.store.redis_connection import RedisConnection, StoreDown
from proxy.store.redis_erasure import RedisErasure
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
        self._erasure = RedisErasure(self._connection, self._commands)
        self._also_erase: Callable[[str], object] | None = None
        invalidations = SharedInvalidations(self._connection, self._commands, self._pubsub, name, clock.now)
        invalidations.on_drop_subject = self._erased_elsewhere
        self.invalidations: Invalidations = invalidations
        self.responses: Store = RedisStore(
            self._connection, self._commands, self.invalidations, clock, settings.max_entries, settings.max_bytes
        )
        self.claims: Claims = self._claims
        self.replicas: Replicas | None = self._pubsub
        self.clock = clock
        self.waiting = 0

    async def start(self) -> None:
        """Connect to Redis, or retry in the background."""
        await self._pubsub.start()

    def shed(self) -> None:
        """Do nothing: responses are in Redis, and forgetting a used key could execute it twice."""

    def make_room(self, most: int) -> None:
        """Reduce this process's stored responses to `most` bytes; cached ones are in Redis."""
        self._here.make_room(most)

    async def erase(self, subject: str) -> Erased:
        """Erase every response of a subject here, in Redis, and in each replica that receives the message."""
        self.invalidations.drop_subject(subject)
        here = self._here.erase(subject)
        try:
            cached, there = await self._erasure.erase(subject)
        except StoreDown:
            return Erased(0, len(here), complete=False)
        return Erased(len(cached), len(here | there))

    def on_erasure_elsewhere(self, call: Callable[[str], object]) -> None:
        """Call `call` with each subject that another replica erases."""
        self._also_erase = call

    def _erased_elsewhere(self, subject: str) -> None:
        self._here.erase(subject)
        if self._also_erase is not None:
            self._also_erase(subject)

    async def close(self) -> None:
        """Send the remaining commands and close every connection."""
        self._claims.close()
        await self._commands.close()
        await self._pubsub.close()
        await self._connection.close()
