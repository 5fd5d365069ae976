"""One Redis, and whether it answers. A request waits for it 50 ms at the most, and not at all while it is down."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

T = TypeVar("T")

LIMIT_S = 0.05
_LAST_LOOK_S = 0.005  # of LIMIT_S: after a stall of ours the answer may be here and not read yet
UNREACHABLE = (RedisError, OSError, TimeoutError)
log = structlog.get_logger("backstay.store")


class StoreDown(Exception):  # noqa: N818 - a state of affairs, which each caller turns into an answer of its own
    """Redis did not answer in time, or is known to be down."""


class Link:
    """The connections to one Redis.

    The first command that fails takes the link down, and then nobody asks until its listener has reached Redis again:
    an outage costs each request nothing. `on_error` counts every failure; the log has one line for each change.
    """

    def __init__(self, url: str, namespace: str, on_error: Callable[[str], None]) -> None:
        pool = ConnectionPool.from_url(url, retry=Retry(NoBackoff(), 0), socket_connect_timeout=1.0)
        self.namespace = f"{namespace}:"
        self.cache = RedisCache(
            connection_pool_class=lambda **_: pool, namespace=self.namespace, timeout=0,
            serializer=NullSerializer(encoding=None),
        )  # fmt: skip
        self.client: Redis = self.cache.client
        self.when_down: Callable[[], None] | None = None
        self._on_error = on_error
        self._up = False

    @property
    def up(self) -> bool:
        """Tell whether it answered last time."""
        return self._up

    def key(self, *parts: str) -> str:
        """Return a key in our namespace."""
        return self.namespace + ":".join(parts)

    async def run(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """Return what a command brings within `LIMIT_S`. Raise StoreDown, at once while the link is down."""
        if not self._up:
            raise StoreDown(operation)
        return await self.try_anyway(operation, command, LIMIT_S)

    async def try_anyway(self, operation: str, command: Callable[[], Awaitable[T]], limit_s: float) -> T:
        """Run a command whether the link is up or not; a failure takes it down."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as limit:
                nearly = limit_s - _LAST_LOOK_S
                timer = loop.call_later(nearly, lambda: limit.reschedule(loop.time() + _LAST_LOOK_S))
                try:
                    return await command()
                finally:
                    timer.cancel()
        except UNREACHABLE as error:
            self.failed(operation, error)
            raise StoreDown(operation) from error

    def failed(self, operation: str, error: Exception) -> None:
        """Count a failure, and take the link down."""
        self._on_error(operation)
        if self._up:
            self._up = False
            log.warning("store_down", operation=operation, error=str(error) or type(error).__name__)
            if self.when_down is not None:
                self.when_down()

    def reached(self) -> None:
        """Take the link up."""
        if not self._up:
            self._up = True
            log.info("store_up")

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose(close_connection_pool=True)
