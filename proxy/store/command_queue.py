"""Pipeline commands to Redis in order on one connection.

A burst of a hundred claims costs one round trip instead of a hundred.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import Any

from redis.exceptions import RedisError

from proxy.store.health import refuses
from proxy.store.redis_connection import RedisConnection, StoreDown

BATCH = 256
BATCH_BYTES = 1_048_576  # Redis reads a batch well within a millisecond
MOST_QUEUED = 10_000  # commands that wait while Redis is slow or down,
MOST_QUEUED_BYTES = 16_777_216  # and their total bytes; the oldest are dropped

Argument = bytes | str | int


class _Command:
    """One command, with the future of its response; None if no caller waits."""

    __slots__ = ("arguments", "reply", "size")

    def __init__(self, arguments: tuple[Argument, ...], reply: "asyncio.Future[Any] | None") -> None:
        self.arguments = arguments
        self.reply = reply
        self.size = sum(len(argument) for argument in arguments if not isinstance(argument, int))


class _Queue:
    """Commands that wait to be sent, and their size in bytes."""

    __slots__ = ("_commands", "size")

    def __init__(self) -> None:
        self._commands: deque[_Command] = deque()
        self.size = 0

    def __len__(self) -> int:
        return len(self._commands)

    def add(self, command: _Command) -> None:
        """Add a command at the end."""
        self._commands.append(command)
        self.size += command.size

    def take(self) -> _Command:
        """Take the oldest command."""
        command = self._commands.popleft()
        self.size -= command.size
        return command

    def take_batch(self) -> list[_Command]:
        """Take the next batch: at least one command."""
        batch = [self.take()]
        size = batch[0].size
        while self._commands and len(batch) < BATCH and size + self._commands[0].size <= BATCH_BYTES:
            batch.append(self.take())
            size += batch[-1].size
        return batch

    def put_back(self, commands: Iterable[_Command]) -> None:
        """Put the commands without a waiter back to the front, in order."""
        for command in reversed([command for command in commands if command.reply is None]):
            self._commands.appendleft(command)
            self.size += command.size


class CommandQueue:
    """A queue of commands, sent in order while Redis is up: a compensation runs after the command that it undoes."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._queue = _Queue()
        self._pump: asyncio.Task[None] | None = None

    async def execute(self, operation: str, *arguments: Argument) -> Any:
        """Return a command's response within the time limit. Raise StoreDown."""
        if not self._connection.up:
            raise StoreDown(operation)
        try:
            return await self._connection.in_time(self._enqueue(arguments))
        except TimeoutError:
            self._connection.late(operation)
            raise StoreDown(operation) from None

    def _enqueue(self, arguments: tuple[Argument, ...]) -> "asyncio.Future[Any]":
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._add(_Command(arguments, reply))
        self._wake()
        return reply

    def fire_and_forget(self, *arguments: Argument) -> None:
        """Queue a command without waiting for it; it survives an outage."""
        self._add(_Command(arguments, None))
        if self._connection.up:
            self._wake()

    def _add(self, command: _Command) -> None:
        while self._queue and (len(self._queue) >= MOST_QUEUED or self._queue.size + command.size > MOST_QUEUED_BYTES):
            _give(self._queue.take(), StoreDown("the queue is full"))
        self._queue.add(command)

    async def catch_up(self, *first: tuple[Argument, ...]) -> None:
        """Run these commands and then the queue of the outage. Raise StoreDown.

        Failed `first` commands are not queued again.
        """
        if await self._send([_Command(arguments, None) for arguments in first]):
            raise StoreDown("refused")
        while self._queue:
            await self._send_batch()

    def _wake(self) -> None:
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        while self._queue and self._connection.up:
            try:
                await self._send_batch()
            except StoreDown:
                continue  # commands without a waiter stay queued until the next batch or the reconnection

    async def _send_batch(self) -> None:
        batch = self._queue.take_batch()
        try:
            refused = await self._send(batch)
        except StoreDown:
            self._queue.put_back(batch)
            raise
        if refused:
            self._queue.put_back(refused)
            raise StoreDown("refused")

    async def _send(self, batch: list[_Command]) -> list[_Command]:
        """Run commands; return those that Redis refuses for now. Raise StoreDown."""
        try:
            replies = await self._connection.try_anyway("send", lambda: self._execute(batch))
        except StoreDown:
            for command in batch:
                _give(command, StoreDown("send"))
            raise
        refused: list[_Command] = []
        for command, reply in zip(batch, replies, strict=True):
            if isinstance(reply, RedisError):
                self._connection.failed("send", reply)
                refused += [command] if refuses(reply) else []
            _give(command, reply)
        return refused

    def _execute(self, batch: list[_Command]) -> Awaitable[list[Any]]:
        return self._connection.client.ask([command.arguments for command in batch])

    async def close(self) -> None:
        """Run the rest of the queue if Redis is up."""
        if self._pump is not None:
            await asyncio.wait({self._pump})


def _give(command: _Command, reply: object) -> None:
    if command.reply is None or command.reply.done():
        return
    if isinstance(reply, StoreDown | RedisError):
        command.reply.set_exception(StoreDown(str(reply)))
    else:
        command.reply.set_result(reply)
