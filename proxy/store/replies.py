"""Tell whether a reply of Redis belongs to the command that was sent, by the reply's shape and the value's name.

If a proxy, a library or Redis repeats, drops or swaps one reply, all later replies on the connection belong to other
commands. Without this check, one user's data would be sent to another user.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.exceptions import InvalidResponse, RedisError, ResponseError

from proxy.store.packing import names_another
from proxy.store.scripts import CLAIM, SHA, TAKE_OVER

T = TypeVar("T")
Command = Sequence[Any]  # a name, and its arguments
_Shape = Callable[[Command, Any], bool]

UNREACHABLE = (RedisError, OSError, TimeoutError, RuntimeError)  # uvloop raises RuntimeError for a closed connection


class OutOfStep(InvalidResponse):
    """A reply does not belong to the command that was sent. Nothing more is read from this connection."""


def check(command: Command, reply: Any) -> None:
    """Raise OutOfStep if the reply does not belong to the command. An error is a valid reply to every command."""
    shape = _SCRIPTS.get(command[1], _is_nothing) if command[0] == "EVALSHA" else _SHAPES[command[0]]
    if not isinstance(reply, ResponseError) and not shape(command, reply):
        raise OutOfStep(f"the reply to {command[0]} does not belong to it")


async def understood(reading: Awaitable[T]) -> T:
    """Return the result of `reading`. Raise OutOfStep for bytes that the Redis client cannot parse."""
    try:
        return await reading
    except (InvalidResponse, RecursionError) as error:
        raise OutOfStep(f"a reply cannot be parsed: {type(error).__name__}") from error
    except UNREACHABLE:
        raise
    except Exception as error:
        raise OutOfStep(f"a reply cannot be parsed: {type(error).__name__}") from error


def _is_nothing(command: Command, reply: Any) -> bool:
    return reply is None


def _is_ok(command: Command, reply: Any) -> bool:
    return isinstance(reply, bytes) and reply == b"OK"


def _is_ok_or_nothing(command: Command, reply: Any) -> bool:
    return reply is None or _is_ok(command, reply)


def _is_pong(command: Command, reply: Any) -> bool:
    return isinstance(reply, bytes) and reply == b"PONG"


def _is_number(command: Command, reply: Any) -> bool:
    return type(reply) is int  # not a bool, which RESP3 has


def _is_text(command: Command, reply: Any) -> bool:
    return isinstance(reply, bytes)


def _is_sha(command: Command, reply: Any) -> bool:
    return isinstance(reply, bytes) and reply.decode("latin-1") == SHA.get(command[1])


def _is_value(command: Command, reply: Any) -> bool:
    return _is_value_of(command[1], reply)


def _are_values(command: Command, reply: Any) -> bool:
    """Tell whether there is one value for each key, in order."""
    keys = command[1:]
    return isinstance(reply, list) and len(reply) == len(keys) and all(map(_is_value_of, keys, reply))


def _is_value_of(key: str, value: Any) -> bool:
    return value is None or (isinstance(value, bytes) and not names_another(key, value))


def _is_page(command: Command, reply: Any) -> bool:
    """Tell whether this is a cursor and a list of names."""
    if not isinstance(reply, list) or len(reply) != 2:
        return False
    cursor, names = reply
    return (
        isinstance(cursor, bytes)
        and cursor.isdigit()
        and isinstance(names, list)
        and all(isinstance(name, bytes) for name in names)
    )


def _is_claimed(command: Command, reply: Any) -> bool:
    """Tell whether this is the claim's key, the value found under it, and two lifetimes."""
    if not isinstance(reply, list) or len(reply) != 4:
        return False
    key, found, *lifetimes = reply
    return _is_key(command, key) and _is_value_of(command[3], found) and all(type(one) is int for one in lifetimes)


def _is_taken_over(command: Command, reply: Any) -> bool:
    return isinstance(reply, list) and len(reply) == 2 and _is_key(command, reply[0]) and type(reply[1]) is int


def _is_key(command: Command, key: Any) -> bool:
    """Tell whether a script's reply names the first key that it was called with."""
    return isinstance(key, bytes) and key == str(command[3]).encode()


_SHAPES: dict[str, _Shape] = {
    "PING": _is_pong,
    "SET": _is_ok_or_nothing,
    "PSETEX": _is_ok,
    "GET": _is_value,
    "GETRANGE": _is_text,
    "MGET": _are_values,
    "DEL": _is_number,
    "UNLINK": _is_number,
    "SCAN": _is_page,
    "SCRIPT LOAD": _is_sha,
}
_SCRIPTS: dict[str, _Shape] = {SHA[CLAIM]: _is_claimed, SHA[TAKE_OVER]: _is_taken_over}  # the others return nothing
