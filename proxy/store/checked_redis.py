"""A Redis client that uses a reply only if it belongs to the command that was sent.

Every exchange ends with a PING that has a unique argument. The reply to it shows that no reply was repeated, dropped,
or left over from an earlier command. Otherwise the connection is closed and no reply of the exchange is used.
"""

from collections.abc import Sequence
from itertools import count
from secrets import token_hex
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from proxy.store.replies import Command, OutOfStep, check, understood

_OURS = token_hex(8).encode()  # names this process in each PING: a reply to another process does not match
_exchanges = count(1)


class CheckedRedis(Redis):
    """The commands of `Redis`; each returns what Redis sent, without further conversion."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Return the reply to a command. Raise RedisError, also if the reply does not belong to the command."""
        (reply,) = await self.ask([args])
        if isinstance(reply, ResponseError):
            raise reply
        return reply

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """Return the replies to commands, errors among them, after one round trip. Raise RedisError."""
        pool = self.connection_pool
        try:
            connection = await understood(pool.get_connection())  # type: ignore[no-untyped-call]
        except OutOfStep:
            await pool.disconnect(inuse_connections=False)  # the failed connection is in the pool again
            raise
        try:
            return await _exchange(connection, commands)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            await pool.release(connection)


async def _exchange(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Send commands and read their replies. Raise OutOfStep if they do not belong together."""
    await _close_if_unread(connection)  # sending opens it again
    last = b"%b-%x" % (_OURS, next(_exchanges))
    await understood(connection.send_packed_command(connection.pack_commands([*commands, ("PING", last)])))
    replies: list[Any] = []
    for command in commands:
        reply = await _read(connection)
        check(command, reply)
        if reply == last:
            raise OutOfStep("a reply is missing")
        replies.append(reply)
    if await understood(connection.read_response()) != last:
        raise OutOfStep("the replies do not end with the one to the last command")
    await _close_if_unread(connection)
    return replies


async def _read(connection: AbstractConnection) -> Any:
    """Return the next reply, which may be an error."""
    try:
        return await understood(connection.read_response())
    except ResponseError as error:
        return error


async def _close_if_unread(connection: AbstractConnection) -> None:
    """Close a connection without a pending command if it has unread bytes or has reached its end."""
    look = getattr(connection, "can_read", None) or connection.can_read_destructive  # the name before redis 8
    if await look():
        await connection.disconnect(nowait=True)
