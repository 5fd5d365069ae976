"""One Redis, and whether it answers. A request waits for it 50 ms (store.timeout), and not at all while it is down."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError

T = TypeVar("T")

CONNECTIONS = 16
_STEP_S = 0.005
UNREACHABLE = (RedisError, OSError, TimeoutError, RuntimeError)  # the last is uvloop's word for a closed connection
_CLOSED = (Disconnected, ConnectionError, RuntimeError)
log = structlog.get_logger("backstay.store")


class StoreDown(Exception):  # noqa: N818 - a state of affairs, which each caller turns into an answer of its own
    """Redis did not answer in time, or is known to be down."""


class Patience:
    """A time limit that runs only while the event loop has time: what Redis is given, not what we kept it waiting.

    A burst of requests can hold the loop for longer than the whole limit, with the answer in the socket unread.
    """

    __slots__ = ("_last", "_left_s", "_limit", "_loop", "_timer")

    def __init__(self, limit: asyncio.Timeout, limit_s: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit = limit
        self._left_s = limit_s
        self._last = self._loop.time()
        self._timer = self._loop.call_later(_STEP_S, self._step)

    def _step(self) -> None:
        now = self._loop.time()
        self._left_s -= min(now - self._last, 2 * _STEP_S)
        self._last = now
        if self._left_s <= 0:
            self._limit.reschedule(now)
        else:
            self._timer = self._loop.call_later(_STEP_S, self._step)

    def end(self) -> None:
        """Stop counting."""
        self._timer.cancel()


class Link:
    """The connections to one Redis.

    The first command that fails takes the link down, and then nobody asks until its listener has reached Redis again:
    an outage costs each request nothing. `on_error` counts every failure; the log has one line for each change.
    """

    def __init__(self, url: str, namespace: str, limit_s: float, on_error: Callable[[str], None]) -> None:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=None, retry=Retry(NoBackoff(), 0), socket_connect_timeout=1.0
        )  # fmt: skip
        self._namespace = namespace
        self._limit_s = limit_s
        self.cache = RedisCache(
            connection_pool_class=lambda **_: pool, namespace=namespace, timeout=0,
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
        return ":".join((self._namespace, *parts))  # as aiocache writes it

    async def run(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """Return what a command brings within the limit. Raise StoreDown, at once while the link is down."""
        if not self._up:
            raise StoreDown(operation)
        return await self.try_anyway(operation, command)

    async def try_anyway(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """Run a command whether the link is up or not; a failure takes it down.

        A command that met a closed connection is run once more, on a new one: Redis, or what stands before it, closes
        connections that were idle. So `command` may be called twice, and what it does twice must be done once.
        """
        try:
            async with asyncio.timeout(None) as limit:
                patience = Patience(limit, self._limit_s)
                try:
                    return await self._run_again(command) if self._up else await command()
                finally:
                    patience.end()
        except UNREACHABLE as error:
            self.failed(operation, error)
            raise StoreDown(operation) from error

    async def _run_again(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            return await command()
        except _CLOSED:
            await self.client.connection_pool.disconnect(inuse_connections=False)  # the others were idle for longer
            return await command()

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
