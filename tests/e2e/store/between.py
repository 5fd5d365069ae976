"""What stands between a sidecar and its Redis, and tampers with replies: it repeats, drops, swaps or replaces them."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.e2e.raw import BROKEN

Words = list[bytes]
Tamper = Callable[[Words, bytes], list[bytes]]
"""Takes a command's words, none for a push, and the reply; returns what is sent in its place."""


def honest(words: Words, reply: bytes) -> list[bytes]:
    """Pass a reply on."""
    return [reply]


class Between:
    """A proxy that understands the protocol of Redis. `tamper` may be changed at any time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()  # one a client,
        self._ways: set[asyncio.Task[None]] = set()  # and both ways of each
        self.tamper: Tamper = honest
        self.connections = 0
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Connect one client with Redis."""
        self.connections += 1
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        asked: deque[Words] = deque()
        to_read, to_write = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.ensure_future(self._commands(reader, to_write, asked)),
            asyncio.ensure_future(self._replies(to_read, writer, asked)),
        ]
        self._ways.update(ways)
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        for end in (writer, to_write):
            end.transport.abort()
        self._ways.difference_update(ways)
        self._tasks.discard(task)

    async def _commands(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, asked: deque[Words]) -> None:
        try:
            while True:
                raw = await frame(reader)
                words = raw.split(b"\r\n")[2::2]  # no key or name here holds a line's end
                if words[0] != b"SUBSCRIBE":  # which is answered with pushes
                    asked.append(words)
                to.write(raw)
        except (*BROKEN, OSError):
            return

    async def _replies(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, asked: deque[Words]) -> None:
        try:
            while True:
                raw = await frame(reader)
                words = [] if raw.startswith(b">") else asked.popleft()
                to.writelines(self.tamper(words, raw))
        except (*BROKEN, OSError):
            return

    async def close(self) -> None:
        """End every connection."""
        for way in self._ways:
            way.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)


async def frame(reader: asyncio.StreamReader) -> bytes:
    """Return the bytes of the next value."""
    line = await reader.readuntil(b"\r\n")
    kind, size = line[:1], line[1:-2]
    if kind in (b"$", b"=", b"!"):
        return line + (await reader.readexactly(int(size) + 2) if int(size) >= 0 else b"")
    members = {b"*": 1, b">": 1, b"~": 1, b"%": 2}.get(kind, 0)
    return b"".join([line, *[await frame(reader) for _ in range(members * int(size) if members else 0)]])


@asynccontextmanager
async def between(port: int) -> AsyncIterator[Between]:
    """Run one in front of the Redis at a port."""
    proxy = Between(port)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.url = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
        await server.wait_closed()


class Once:
    """Tampers with the first reply to a command, then passes everything on."""

    def __init__(self, command: bytes, change: Callable[[bytes], list[bytes]]) -> None:
        self._command = command
        self._change = change
        self.done = asyncio.Event()

    def __call__(self, words: Words, reply: bytes) -> list[bytes]:
        if self.done.is_set() or not words or words[0] != self._command:
            return [reply]
        self.done.set()
        return self._change(reply)
