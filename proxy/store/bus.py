"""What replicas tell each other through Redis: that an answer landed, that a write made something old (I7).

Two tasks a sidecar, whatever its load: one listens, one sends. A request leaves a word here, and waits 50 ms at most.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog

from proxy.clock import Clock
from proxy.store.link import LIMIT_S, UNREACHABLE, Link, StoreDown

RECONNECT_S = 0.25
CONNECT_S = 1.0
ERRANDS = 10_000  # that are remembered while Redis is away; the oldest give way

Errand = Callable[[], Awaitable[object]]
News = dict[str, Any]
log = structlog.get_logger("backstay.store")


class Bus:
    """The listener and the sender of one sidecar.

    `on_news` is given every word of another replica, and `on_return` is run when Redis is reached again, before anybody
    reads from it. Errands are run in order, after an outage too. A landing wakes whoever waits for its token, and
    everybody when the link goes down.
    """

    def __init__(self, link: Link, name: str, clock: Clock) -> None:
        self._link = link
        self._name = name
        self._clock = clock
        self._channels = (link.key("landed"), link.key("news"))
        self._landings: dict[str, list[asyncio.Future[None]]] = {}
        self._errands: deque[Errand] = deque()
        self._done = asyncio.Event()  # set anew whenever the sender has nothing left to do
        self._work = asyncio.Event()
        self._session: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._heard_before = False
        self.on_news: Callable[[News], None] = lambda news: None
        self.on_return: Callable[[], Awaitable[object]] | None = None
        link.when_down = self._down

    # the tasks

    async def start(self) -> None:
        """Try once to reach Redis, then keep at it in the background. Never raises for a Redis that is down."""
        loop, reached = asyncio.get_running_loop(), asyncio.Event()
        self._tasks = [
            loop.create_task(self._keep_listening(reached)),
            loop.create_task(self._keep_sending()),
        ]
        await reached.wait()

    async def close(self) -> None:
        """End both tasks, after a last try to do what is left."""
        if self._link.up and self._errands:
            await self.told()
        for task in (*self._tasks, self._session):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep_listening(self, tried: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._session = loop.create_task(self._listen(tried))
            await asyncio.wait({self._session})
            if not self._session.cancelled() and (bug := self._session.exception()) is not None:
                log.error("store_listener_failed", exc_info=bug)
            self._wake_all()
            tried.set()
            await self._clock.sleep(RECONNECT_S)

    async def _listen(self, reached: asyncio.Event) -> None:
        """Subscribe, take the link up, and hear what comes until something fails."""
        try:
            async with self._link.client.pubsub() as pubsub:
                async with asyncio.timeout(CONNECT_S):
                    await pubsub.subscribe(*self._channels)
                    for _ in self._channels:  # else a landing could slip through between the two
                        await pubsub.get_message(timeout=CONNECT_S)
                    await self._catch_up()
                self._link.reached()
                reached.set()
                async for message in pubsub.listen():
                    self._heard(message)
        except UNREACHABLE as error:
            self._link.failed("listen", error)

    async def _catch_up(self) -> None:
        """Do what could not be done while Redis was away, before anybody reads from it again."""
        if self._heard_before and self.on_return is not None:
            await self.on_return()
        self._heard_before = True
        while self._errands:
            await self._errands[0]()
            self._errands.popleft()

    def _heard(self, message: dict[str, object]) -> None:
        data = message["data"]
        if message["type"] != "message" or not isinstance(data, bytes):
            return
        if message["channel"] == self._channels[0].encode():
            for landing in self._landings.pop(data.decode(), ()):
                _wake(landing)
            return
        news = orjson.loads(data)
        if news.pop("from") != self._name:
            self.on_news(news)

    def _down(self) -> None:
        if self._session is not None:
            self._session.cancel()
        self._wake_all()

    def _wake_all(self) -> None:
        landings, self._landings = self._landings, {}
        for waiting in landings.values():
            for landing in waiting:
                _wake(landing)
        self._done.set()

    async def _keep_sending(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while self._errands and self._link.up:
                try:
                    await self._link.run("send", self._errands[0])
                except StoreDown:
                    break  # it stays first; the listener does it when Redis is back
                self._errands.popleft()
            self._done.set()

    # what requests do

    def errand(self, do: Errand) -> None:
        """Have something done soon, in order. Beyond `ERRANDS` the oldest is forgotten."""
        if len(self._errands) >= ERRANDS:
            self._errands.popleft()
            self.overflowed = True
        self._errands.append(do)
        self._work.set()

    async def told(self) -> None:
        """Wait, for at most 50 ms, until every errand so far is done; not at all while Redis is away."""
        if not self._link.up or not self._errands:
            return
        self._done.clear()
        with contextlib.suppress(TimeoutError):  # the sender notices by itself, and takes the link down
            async with asyncio.timeout(LIMIT_S):
                await self._done.wait()

    def word(self, news: News) -> tuple[str, bytes]:
        """Return the channel and the message that tell the other replicas."""
        return self._channels[1], orjson.dumps({"from": self._name, **news})

    @property
    def landed_channel(self) -> str:
        """Return where landings are told."""
        return self._channels[0]

    def landing(self, token: str) -> asyncio.Future[None]:
        """Return what is set when `token` lands, or when nobody can tell any more."""
        landing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._landings.setdefault(token, []).append(landing)
        return landing

    def forget(self, token: str, landing: asyncio.Future[None]) -> None:
        """Take back an interest in a landing."""
        waiting = self._landings.get(token)
        if waiting is not None and landing in waiting:
            waiting.remove(landing)
            if not waiting:
                del self._landings[token]


def _wake(landing: asyncio.Future[None]) -> None:
    if not landing.done():
        landing.set_result(None)
