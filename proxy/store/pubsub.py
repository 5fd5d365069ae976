"""Messages between replicas through Redis pub/sub: landings of flights, and invalidations by writes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import structlog
from redis.asyncio.client import PubSub
from redis.exceptions import ConnectionError as Disconnected

from proxy.clock import Clock
from proxy.store.command_queue import Argument, CommandQueue
from proxy.store.redis_connection import RedisConnection, StoreDown
from proxy.store.replies import UNREACHABLE, OutOfStep, understood

RECONNECT_S = 0.25
CONNECT_S = 1.0
PROBE_S = 1.0  # seconds; a Redis that refuses writes is noticed within this time, even without traffic
SILENT = 3  # probes without any message, pongs included

Message = dict[str, Any]
log = structlog.get_logger("backstay.store")


class ReplicaPubSub:
    """Listen in one task, and mark Redis as up when it was reached.

    `on_message` gets every message of another replica. The commands that `on_reconnect` returns run when Redis is
    reached again, before any read. A landing wakes the waiters for its token; a lost connection wakes all.
    """

    def __init__(self, connection: RedisConnection, commands: CommandQueue, name: str, clock: Clock) -> None:
        self._connection = connection
        self._commands = commands
        self._name = name
        self._clock = clock
        self.landed_channel, self.invalidation_channel = connection.key("landed"), connection.key("news")
        self._channels = (self.landed_channel.encode(), self.invalidation_channel.encode())
        self._landings: dict[str, list[asyncio.Future[None]]] = {}
        self._session: asyncio.Task[bool] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reached_before = False
        self.scripts: list[str] = []
        self.on_message: Callable[[Message], None] = lambda message: None
        self.on_reconnect: Callable[[], tuple[tuple[Argument, ...], ...]] = lambda: ()
        connection.when_down = self._down

    async def start(self) -> None:
        """Try once to reach Redis, then retry in the background. Does not raise if Redis is down."""
        tried = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._keep_listening(tried))
        await tried.wait()

    async def close(self) -> None:
        """Stop listening."""
        for task in (self._task, self._session):
            if task is not None:
                task.cancel()
        if self._task is not None:
            await asyncio.wait({self._task})

    async def _keep_listening(self, tried: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._session = loop.create_task(self._listen(tried))
            await asyncio.wait({self._session})
            self._wake_all()
            tried.set()
            if not _listened(self._session):
                await self._clock.sleep(RECONNECT_S)

    async def _listen(self, tried: asyncio.Event) -> bool:
        """Subscribe, mark Redis as up, and receive messages until a failure; tell whether the subscription succeeded.

        If so, reconnect at once: Redis may have closed only this connection. Commands continue meanwhile.
        """
        listening = False
        try:
            async with self._connection.client.pubsub() as pubsub:
                async with asyncio.timeout(CONNECT_S):
                    await understood(pubsub.subscribe(*self._channels))
                    for channel in self._channels:  # until both are confirmed; otherwise a landing could be missed
                        _confirmed(channel, await understood(pubsub.get_message(timeout=CONNECT_S)))
                    for script in self.scripts:
                        await self._connection.client.script_load(script)
                    await self._catch_up()
                self._connection.reached()
                tried.set()
                listening = True
                await self._receive_all(pubsub)
        except StoreDown:
            return listening  # already counted
        except UNREACHABLE as error:
            if not listening or isinstance(error, OutOfStep):
                self._connection.failed("listen", error)
        return listening

    async def _receive_all(self, pubsub: PubSub) -> None:
        """Receive messages; during silence, probe that Redis accepts writes. Raise Disconnected, OutOfStep."""
        silent = 0
        while silent <= SILENT:
            message = await understood(pubsub.get_message(timeout=PROBE_S))
            if message is not None:
                silent = 0
                self._received(message)
                continue
            silent += 1
            await pubsub.ping()
            with suppress(StoreDown):  # the connection has already counted the failure
                await self._commands.execute("probe", *self._probe())
        raise Disconnected("the connection of the subscription sends no data")

    def _probe(self) -> tuple[Argument, ...]:
        """Return a write command without effect. A Redis that refuses it is not a working store."""
        return "SET", self._connection.key("probe", self._name), "", "PX", 1000

    async def _catch_up(self) -> None:
        """Run the commands of the outage before Redis is read again. Raise StoreDown."""
        await self._commands.catch_up(self._probe(), *(self.on_reconnect() if self._reached_before else ()))
        self._reached_before = True

    def _received(self, received: dict[str, Any]) -> None:
        data, channel = received["data"], received["channel"]
        if received["type"] == "pong" and data == b"":
            return
        if received["type"] == "subscribe" and channel in self._channels:
            raise Disconnected("the client made the connection anew: messages may be lost")
        if received["type"] != "message" or not isinstance(data, bytes) or channel not in self._channels:
            raise OutOfStep("what was received is no message of a channel that was subscribed to")
        if channel == self._channels[0]:
            self.landed(data.decode(errors="replace"))
            return
        try:
            message: Message = orjson.loads(data)
            if message.pop("from") == self._name:
                return
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            self.damaged(f"{type(error).__name__}: {error}")
        else:
            self.on_message(message)

    def damaged(self, damage: str) -> None:
        """Count an unreadable message, and invalidate everything: it may have been about any write."""
        self._connection.damaged("news", damage)
        self.on_message({"what": "drop_all", "subject": None, "owners": []})

    def _down(self) -> None:
        if self._session is not None:
            self._session.cancel()
        self._wake_all()

    def _wake_all(self) -> None:
        landings, self._landings = self._landings, {}
        for waiting in landings.values():
            for landing in waiting:
                _wake(landing)

    # used by requests

    async def flushed(self) -> None:
        """Wait, for at most 50 ms, until Redis has received all messages so far; return at once while it is down."""
        try:
            await self._commands.execute("told", "PING")
        except StoreDown:
            return  # after the outage all replicas invalidate everything

    def encode(self, message: Message) -> bytes:
        """Return the encoded message for the other replicas."""
        return orjson.dumps({"from": self._name, **message})

    def landing(self, token: str) -> asyncio.Future[None]:
        """Return a future that is set when `token` lands, or when Redis goes down."""
        landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._landings.setdefault(token, []).append(landing)
        return landing

    def landed(self, token: str) -> None:
        """Wake this process's waiters for `token`."""
        for landing in self._landings.pop(token, ()):
            _wake(landing)

    def forget(self, token: str, landing: asyncio.Future[None]) -> None:
        """Remove a waiter."""
        waiting = self._landings.get(token)
        if waiting is not None and landing in waiting:
            waiting.remove(landing)
            if not waiting:
                del self._landings[token]


def _confirmed(channel: bytes, received: dict[str, Any] | None) -> None:
    """Raise OutOfStep for anything else than the confirmation of a subscription, TimeoutError for nothing."""
    if received is None:
        raise TimeoutError
    if received["type"] != "subscribe" or received["channel"] != channel:
        raise OutOfStep("a subscription was not confirmed")


def _listened(session: asyncio.Task[bool]) -> bool:
    """Tell whether the ended session had subscribed."""
    if session.cancelled():
        return False
    bug = session.exception()
    if bug is not None:
        log.error("store_listener_failed", exc_info=bug)
    return bug is None and session.result()


def _wake(landing: asyncio.Future[None]) -> None:
    if not landing.done():
        landing.set_result(None)
