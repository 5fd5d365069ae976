"""A simulated Redis: it speaks RESP 2 and 3 over the simulated network and runs the product's scripts in Lua 5.1.

It may be slow (it reads nothing for a while, then all at once), away, failed over to a copy that is some time behind,
restarted empty, or refuse writes.
"""

import asyncio
from collections.abc import Callable
from copy import copy
from hashlib import sha1
from random import Random
from typing import Any

from lupa.lua51 import LuaRuntime

from tests.simulation.whole.loop import Process, SimulatedLoop
from tests.simulation.whole.network import Network

OK = "OK"  # a status; bytes are a bulk string
Stored = dict[bytes, tuple[bytes, float]]  # value, and when it expires in the loop's time

_LUA = LuaRuntime(encoding=None, unpack_returned_tuples=True)
_WRAP = "return function(KEYS, ARGV, call) local redis = {call = call} %s end"
_COMPILED: dict[bytes, Any] = {}


class Refused(Exception):  # noqa: N818 - an error of RESP
    """An error reply."""


def _compiled(script: bytes) -> Any:
    if script not in _COMPILED:
        _COMPILED[script] = _LUA.execute(_WRAP.encode() % script)
    return _COMPILED[script]


class RedisServer:
    """One Redis at an address, which outlives its processes."""

    def __init__(self, network: Network, loop: SimulatedLoop, random: Random, address: str) -> None:
        self._network = network
        self._loop = loop
        self._random = random
        self._address = address
        self._data: Stored = {}
        self._behind: Stored = {}  # what the copy knows
        self._scripts: dict[bytes, bytes] = {}
        self._channels: dict[bytes, dict[_Connection, None]] = {}
        self._clients: dict[_Connection, None] = {}
        self._stalled_until = 0.0
        self._waiting: dict[_Connection, None] = {}
        self.refuses_writes = False
        self.told: Callable[[str], None] = lambda text: None
        self.process = Process("redis", random)
        network.name(address, "redis")
        self.start()

    # what happens to it

    def start(self) -> None:
        """Accept connections."""
        self._network.listen(self._address, 6379, self.process, lambda: _Connection(self))

    def stop(self) -> None:
        """Go away: its connections are reset, and new ones refused."""
        self._network.close(self._address, 6379)
        for client in tuple(self._clients):
            client.transport.get_extra_info("socket").lingers = False
            client.transport.abort()
        self._channels.clear()
        self._waiting.clear()

    def restart_empty(self) -> None:
        """Come back without data."""
        self._data.clear()
        self._scripts.clear()
        self.start()

    def copy(self) -> None:
        """Bring the copy up to date; a failover loses what is written later."""
        self._behind = copy(self._data)

    def fail_over(self) -> None:
        """Come back as the copy."""
        self._data = copy(self._behind)
        self._scripts.clear()
        self.start()

    def stall(self, seconds: float) -> None:
        """Read nothing for a while, then all that has arrived, connection by connection."""
        self._stalled_until = self._loop.time() + seconds
        self._loop.call_later(seconds, self._catch_up, context=self.process.context)

    def _catch_up(self) -> None:
        waiting, self._waiting = list(self._waiting), {}
        self._random.shuffle(waiting)
        for client in waiting:
            client.execute()

    def is_stalled(self, client: "_Connection") -> bool:
        """Tell whether this client must wait."""
        if self._loop.time() < self._stalled_until:
            self._waiting[client] = None
            return True
        return False

    # clients

    def enter(self, client: "_Connection") -> None:
        self._clients[client] = None

    def leave(self, client: "_Connection") -> None:
        self._clients.pop(client, None)
        self._waiting.pop(client, None)
        for listening in self._channels.values():
            listening.pop(client, None)

    # commands

    def run(self, client: "_Connection", words: list[bytes]) -> Any:
        """Return the reply to a command."""
        name = words[0].upper().decode()
        if name in ("SUBSCRIBE", "PING", "CLIENT", "SCRIPT", "EVALSHA", "HELLO"):
            return getattr(self, f"_{name.lower()}")(client, words[1:])
        return self.call(*words)

    def _hello(self, client: "_Connection", words: list[bytes]) -> Any:
        client.protocol = int(words[0])
        return {b"server": b"redis", b"proto": client.protocol}

    def _client(self, client: "_Connection", words: list[bytes]) -> Any:
        return OK

    def _ping(self, client: "_Connection", words: list[bytes]) -> Any:
        if client.subscribed and client.protocol == 2:
            return [b"pong", words[0] if words else b""]
        return words[0] if words else "PONG"

    def _subscribe(self, client: "_Connection", words: list[bytes]) -> Any:
        for channel in words:
            self._channels.setdefault(channel, {})[client] = None
            client.subscribed += 1
            client.push([b"subscribe", channel, client.subscribed])
        return _SAID

    def _script(self, client: "_Connection", words: list[bytes]) -> Any:
        digest = sha1(words[1], usedforsecurity=False).hexdigest().encode()
        self._scripts[digest] = words[1]
        return digest

    def _evalsha(self, client: "_Connection", words: list[bytes]) -> Any:
        digest, count, *rest = words
        if digest not in self._scripts:
            raise Refused("NOSCRIPT No matching script. Please use EVAL.")
        if self.refuses_writes:
            raise Refused("READONLY You can't write against a read only replica.")
        keys, arguments = rest[: int(count)], rest[int(count) :]
        found = _compiled(self._scripts[digest])(_LUA.table(*keys), _LUA.table(*arguments), self._call_of_lua)
        return _from_lua(found)

    def _call_of_lua(self, *words: Any) -> Any:
        found = self.call(*(b"%d" % word if isinstance(word, int | float) else word for word in words))
        return False if found is None else found

    def call(self, *words: bytes) -> Any:
        """Run a command on the data."""
        name, arguments = words[0].upper().decode(), words[1:]
        if self.refuses_writes and name in ("SET", "PSETEX", "DEL", "UNLINK", "PUBLISH"):
            raise Refused("READONLY You can't write against a read only replica.")
        run: Callable[..., Any] | None = getattr(self, f"_do_{name.lower()}", None)
        if run is None:
            raise Refused(f"ERR unknown command '{name}'")
        return run(*arguments)

    def _live(self, key: bytes) -> bytes | None:
        value, until = self._data.get(key, (b"", 0.0))
        if until <= self._loop.time():
            self._data.pop(key, None)
            return None
        return value

    def _do_get(self, key: bytes) -> bytes | None:
        return self._live(key)

    def _do_mget(self, *keys: bytes) -> list[bytes | None]:
        return [self._live(key) for key in keys]

    def _do_set(self, key: bytes, value: bytes, *options: bytes) -> str | None:
        words = [option.upper() for option in options]
        if b"NX" in words and self._live(key) is not None:
            return None
        life_s = int(options[words.index(b"PX") + 1]) / 1000 if b"PX" in words else 1e9
        self._data[key] = value, self._loop.time() + life_s
        return OK

    def _do_psetex(self, key: bytes, life_ms: bytes, value: bytes) -> str:
        self._data[key] = value, self._loop.time() + int(life_ms) / 1000
        return OK

    def _do_del(self, *keys: bytes) -> int:
        present = [key for key in keys if self._live(key) is not None]
        for key in present:
            del self._data[key]
        return len(present)

    def _do_exists(self, *keys: bytes) -> int:
        return sum(self._live(key) is not None for key in keys)

    def _do_pttl(self, key: bytes) -> int:
        if self._live(key) is None:
            return -2
        return int((self._data[key][1] - self._loop.time()) * 1000)

    def _do_publish(self, channel: bytes, message: bytes) -> int:
        listening = tuple(self._channels.get(channel, ()))
        for client in listening:
            client.push([b"message", channel, message])
        return len(listening)


def _from_lua(value: Any) -> Any:
    """Convert a script's result as Redis does: false is nil, and a table ends at its first nil."""
    if value is None or value is False:
        return None
    if isinstance(value, int | float):
        return int(value)
    if isinstance(value, bytes | str):
        return value
    items, at = [], 1
    while (item := value[at]) is not None:
        items.append(_from_lua(item))
        at += 1
    return items


_SAID = object()  # the reply has been written


class _Connection(asyncio.Protocol):
    """One client of Redis."""

    def __init__(self, server: RedisServer) -> None:
        self._server = server
        self._unread = bytearray()
        self.subscribed = 0
        self.protocol = 2
        self.transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self._server.enter(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.leave(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._server.is_stalled(self):
            self.execute()

    def execute(self) -> None:
        """Run every complete command."""
        while (found := _command(self._unread)) is not None:
            words, size = found
            del self._unread[:size]
            try:
                self.reply(self._server.run(self, words))
            except Refused as refused:
                self.transport.write(b"-%b\r\n" % str(refused).encode())

    def reply(self, value: Any) -> None:
        """Write a reply."""
        if value is not _SAID:
            self.transport.write(_encoded(value, self.protocol))

    def push(self, items: list[Any]) -> None:
        """Write a message of a channel."""
        said = _encoded(items, self.protocol)
        self.transport.write(said if self.protocol == 2 else b">" + said[1:])


def _command(data: bytearray) -> tuple[list[bytes], int] | None:
    """Return a complete command and its size."""
    end = data.find(b"\r\n")
    if end < 0:
        return None
    at, words = end + 2, []
    for _ in range(int(data[1:end])):
        end = data.find(b"\r\n", at)
        if end < 0:
            return None
        size = int(data[at + 1 : end])
        at = end + 2 + size + 2
        if at > len(data):
            return None
        words.append(bytes(data[end + 2 : at - 2]))
    return words, at


def _encoded(value: Any, protocol: int) -> bytes:
    match value:
        case None:
            return b"$-1\r\n" if protocol == 2 else b"_\r\n"
        case int():
            return b":%d\r\n" % value
        case str():
            return b"+%b\r\n" % value.encode()
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(value), value)
        case dict():
            pairs = [part for pair in value.items() for part in pair]
            return b"%%%d\r\n%b" % (len(value), b"".join(_encoded(part, protocol) for part in pairs))
    return b"*%d\r\n%b" % (len(value), b"".join(_encoded(item, protocol) for item in value))
