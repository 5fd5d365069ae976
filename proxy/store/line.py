"""Commands to Redis, in order on one connection. Those of one moment travel together.

A burst of a hundred claims costs one round trip; with a connection for each it would cost a hundred.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable
from typing import Any

from redis.exceptions import RedisError

from proxy.store.link import Link, StoreDown

BATCH = 256
ERRANDS = 10_000  # that are remembered while Redis is away; the oldest give way

Argument = bytes | str | int


class _Command:
    """One command, and who waits for its answer: nobody, for an errand."""

    __slots__ = ("answer", "arguments")

    def __init__(self, arguments: tuple[Argument, ...], answer: "asyncio.Future[Any] | None") -> None:
        self.arguments = arguments
        self.answer = answer


class Line:
    """A queue of commands, sent while the link is up. What is taken back later is surely carried out later."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._queue: deque[_Command] = deque()
        self._pump: asyncio.Task[None] | None = None

    async def ask(self, operation: str, *arguments: Argument) -> Any:
        """Return a command's answer within the link's limit. Raise StoreDown."""
        return await self._link.run(operation, lambda: self._ask(arguments))

    def _ask(self, arguments: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.append(_Command(arguments, answer))
        self._wake()
        return answer

    def errand(self, *arguments: Argument) -> None:
        """Have a command carried out soon; after an outage, if there is one. Nobody waits for it."""
        if len(self._queue) >= ERRANDS:
            _give(self._queue.popleft(), StoreDown("the queue is full"))
        self._queue.append(_Command(arguments, None))
        if self._link.up:
            self._wake()

    async def catch_up(self) -> None:
        """Carry out what could not be while Redis was away. Raise StoreDown."""
        while self._queue:
            await self._send_batch()

    def _wake(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._queue and self._link.up:
            try:
                await self._send_batch()
            except StoreDown:
                return  # errands stay; the listener has them sent when Redis is back

    async def _send_batch(self) -> None:
        batch = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
        try:
            answers = await self._link.try_anyway("send", lambda: self._execute(batch))
        except StoreDown:
            self._queue.extendleft(command for command in reversed(batch) if command.answer is None)
            for command in batch:
                _give(command, StoreDown("send"))
            raise
        for command, answer in zip(batch, answers, strict=True):
            if isinstance(answer, RedisError):
                self._link.failed("send", answer)
            _give(command, answer)

    def _execute(self, batch: list[_Command]) -> Awaitable[list[Any]]:
        pipeline = self._link.client.pipeline(transaction=False)
        for command in batch:
            pipeline.execute_command(*command.arguments)
        return pipeline.execute(raise_on_error=False)

    async def close(self) -> None:
        """Carry out what is left, if Redis is there."""
        if self._pump is not None:
            await asyncio.wait({self._pump})


def _give(command: _Command, answer: object) -> None:
    if command.answer is None or command.answer.done():
        return
    if isinstance(answer, StoreDown | RedisError):
        command.answer.set_exception(StoreDown(str(answer)))
    else:
        command.answer.set_result(answer)
