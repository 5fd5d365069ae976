"""The connection to Redis. A command may take 50 ms (store.timeout), and none is sent while the store is down."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiocache import RedisCache
from aiocache.serializers import NullSerializer
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected

from proxy.errors import StartError
from proxy.store.checked_redis import CheckedRedis
from proxy.store.health import Health, StoreState, cure
from proxy.store.replies import UNREACHABLE

T = TypeVar("T")

CONNECTIONS = 16
BLINK_S = 1.0  # seconds; a longer outage is not waited out
AGAIN_S = 0.01  # seconds between two tries of a command that failed at once
COMPLAINS_EVERY_S = 10.0  # seconds between log entries about damaged values
_STEP_S = 0.005
_CLOSED = (Disconnected, ConnectionError, RuntimeError)
log = structlog.get_logger("backstay.store")


class StoreDown(Exception):  # noqa: N818 - a state, which each caller handles in its own way
    """Redis did not respond in time, or is known to be down."""


class Patience:
    """A time limit that counts only while the event loop is responsive: Redis' time, not the loop's delay.

    A burst of requests can block the loop for longer than the limit, with the response unread in the socket.
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
        """Stop the timer."""
        self._timer.cancel()


class RedisConnection:
    """The connections to one Redis.

    While it is down no command is sent until the listener has reached it again, so an outage delays no request.
    `on_error` counts every failure; the log has one line for each change of state.
    """

    def __init__(self, url: str, namespace: str, limit_s: float, on_error: Callable[[str], None]) -> None:
        """Take the store's URL. Raise StartError if it is invalid."""
        self._namespace = namespace
        self._limit_s = limit_s
        self.cache = RedisCache(
            connection_pool_class=lambda **_: _pool(url), namespace=namespace, timeout=0,
            serializer=NullSerializer(encoding=None),
        )  # fmt: skip
        self.client = CheckedRedis(connection_pool=self.cache.client.connection_pool)
        self.cache.client = self.client
        self.when_down: Callable[[], None] | None = None
        self._on_error = on_error
        self._health = Health(limit_s)
        self._reached_before = False
        self._down_since = 0.0
        self._complains_at = 0.0  # rate limit of log entries about damaged values
        self._waiting: dict[asyncio.Future[None], None] = {}  # in the order of arrival

    @property
    def up(self) -> bool:
        """Tell whether Redis works, as far as is known."""
        return self._health.state is StoreState.UP

    def key(self, *parts: str) -> str:
        """Return a key in the configured namespace."""
        return ":".join((self._namespace, *parts))  # aiocache's format

    async def run(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """Return a command's result within the limit. Raise StoreDown, at once while Redis is down."""
        if not self.up:
            raise StoreDown(operation)
        return await self.try_anyway(operation, command)

    async def try_anyway(self, operation: str, command: Callable[[], Awaitable[T]]) -> T:
        """Run a command regardless of the state, and count its result.

        A command on a closed connection is run again on a new one, because Redis and load balancers close idle
        connections. So `command` may be called twice and must be idempotent.
        """
        try:
            found = await self.in_time(self._run_again(command) if self.up else command())
        except UNREACHABLE as error:
            self.failed(operation, error)
            raise StoreDown(operation) from error
        self._health.answered()
        return found

    async def in_time(self, awaited: Awaitable[T]) -> T:
        """Return the awaited result within the limit. Raise TimeoutError."""
        async with asyncio.timeout(None) as limit:
            patience = Patience(limit, self._limit_s)
            try:
                return await awaited
            finally:
                patience.end()

    def late(self, operation: str) -> None:
        """Count a request that continued without Redis. The state depends on its commands, not on this count."""
        self._on_error(operation)

    def damaged(self, operation: str, damage: str) -> None:
        """Count an unreadable value; log it at a limited rate."""
        self._on_error(operation)
        now = asyncio.get_running_loop().time()
        if now >= self._complains_at:
            self._complains_at = now + COMPLAINS_EVERY_S
            log.warning("store_value_damaged", operation=operation, error=damage, detail="it is not used")

    async def _run_again(self, command: Callable[[], Awaitable[T]]) -> T:
        try:
            return await command()
        except _CLOSED:
            await self.client.connection_pool.disconnect(inuse_connections=False)  # the others were idle for longer
            return await command()

    def failed(self, operation: str, error: Exception) -> None:
        """Count a failure, and mark Redis as down if there are too many."""
        self._on_error(operation)
        now = asyncio.get_running_loop().time()
        if not self._health.failed(error, now):
            return
        self._down_since = now
        text, help_ = str(error) or type(error).__name__, cure(error, reached_before=self._reached_before)
        log.warning("store_down", operation=operation, error=text, **({"cure": help_} if help_ else {}))
        if self.when_down is not None:
            self.when_down()

    def reached(self) -> None:
        """Mark Redis as up."""
        self._reached_before = True
        if self._health.reached():
            log.info("store_up")
            waiting, self._waiting = self._waiting, {}
            for one in waiting:
                if not one.done():
                    one.set_result(None)

    async def back(self, until: float) -> bool:
        """Wait for a moment if Redis is up, else until it is, at most until the loop's time `until`; tell if it is up.

        It waits only during a short outage, not if Redis is down for long or was never reached.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        until = min(until, now + AGAIN_S if self.up else self._down_since + BLINK_S)
        if self._reached_before and now < until:
            waiting = loop.create_future()
            self._waiting[waiting] = None
            timer = loop.call_at(until, _give_up, waiting)
            try:
                await waiting
            finally:
                timer.cancel()
                self._waiting.pop(waiting, None)
        return self.up

    async def close(self) -> None:
        """Close every connection."""
        await self.client.aclose(close_connection_pool=True)


def _give_up(waiting: "asyncio.Future[None]") -> None:
    if not waiting.done():
        waiting.set_result(None)


def _pool(url: str) -> BlockingConnectionPool:
    try:
        pool = BlockingConnectionPool.from_url(
            url, max_connections=CONNECTIONS, timeout=None, retry=Retry(NoBackoff(), 0), socket_connect_timeout=1.0
        )  # fmt: skip
        pool.connection_class(**pool.connection_kwargs)  # an invalid option raises an error here
    except (ValueError, TypeError) as error:
        raise StartError(f"the store's URL (store.url) cannot be used: {error}") from None
    return pool
