"""Whole messages: a sidecar on real sockets between a client with one request and a backend with one response.

What a message costs is the processor time of the event loop's thread from its first byte to its answer's last. The
client and the backend run there too; what they do is small and linear.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import thread_time
from typing import NamedTuple, cast

from proxy.app import Sidecar
from proxy.config.load import load
from tests.growth.functions import IN_ANSWERS, IN_HEADS
from tests.growth.inputs import Around

CONFIG = """
[listen]
address = "127.0.0.1:0"
trusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]
[admin]
address = "127.0.0.1:0"
[audit]
path = "{folder}/audit.jsonl"
query_parameters = ["a"]
headers = ["Accept"]
[upstreams.u]
url = "http://127.0.0.1:{port}"
[upstreams.u.breaker]
failure_threshold = 1000000
[defaults]
total_timeout = "60s"
[defaults.retry]
max_retries = 0
[[routes]]
operation = "load"
match = "GET /api/sessions/{{id}}"
subject = "query:id"
reuse = "10m"
no_cache_leads = true
honour_no_store = true
principal = ["authorization", "cookie:sid"]
[[routes]]
operation = "create"
match = "POST /api/sessions"
subject = "body:/a/b/c"
coalesce = "subject"
idempotency = "inject"
on_conflict = "GET /api/sessions/{{subject}}"
[[routes]]
operation = "history"
match = "GET /api/history"
restoration = "history"
fallback = {{ status = 200, body = {{ messages = [] }} }}
"""
SIZE = 60_000  # bytes that a request or an answer holds: heads have at most 64 KiB
GET = b"GET /api/history HTTP/1.1\r\nHost: x\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Message(NamedTuple):
    """A request that grows, or an answer to a plain one."""

    name: str
    around: Around
    answers: bool = False


def _posted(target: bytes, coding: bytes, around: Around) -> Around:
    head = b"POST " + target + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + coding + b"\r\n\r\n"
    return Around(head + around.before, around.after)


CHUNKS = (
    Around(b"", b"0\r\n\r\n"), Around(b"1;", b"\r\na\r\n0\r\n\r\n"), Around(b"0\r\na:", b"\x01\r\n\r\n"),
    Around(b"0\r\n", b"\r\n\r\n"),
)  # fmt: skip


def messages() -> Iterator[Message]:
    """Yield every place in a message at which it may grow."""
    chunked, long = b"Transfer-Encoding: chunked", b"Content-Length: %d" % (SIZE - 1_000)  # no filling is so long
    yield from (Message("request head", around) for around in IN_HEADS)
    for before, after in CHUNKS:
        yield Message("request in chunks", _posted(b"/z", chunked, Around(before, after)))
        head = b"HTTP/1.1 200 OK\r\n" + chunked + b"\r\n\r\n"
        yield Message("answer in chunks", Around(head + before, after), answers=True)
    for before in (b"", b'{"a":{"b":{"c":"', b'{"a":{"b":', b"["):
        yield Message("request body", _posted(b"/api/sessions", long, Around(before)))
    yield from (Message("answer head", around, answers=True) for around in IN_ANSWERS)
    for before in (b"", b'{"messages":[', b"["):
        yield Message("answer body", Around(b"HTTP/1.1 200 OK\r\n" + long + b"\r\n\r\n" + before), answers=True)
    yield Message("interim answer", Around(b"HTTP/1.1 100 ", b"\r\n\r\n"), answers=True)


class _Backend(asyncio.Protocol):
    """Answers every request that is whole with what the stage says, and hangs up."""

    def __init__(self, stage: "Stage") -> None:
        self._stage = stage
        self._heard = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._heard += data
        head, end, body = bytes(self._heard).partition(b"\r\n\r\n")
        head = head.lower()
        if not end or (b"transfer-encoding: chunked" in head and b"0\r\n" not in body):
            return
        length = head.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if length.isdigit() and len(body) < int(length):
            return
        self._transport.write(self._stage.answer)
        self._transport.close()


class Stage:
    """The sidecar, the backend, and what the backend answers."""

    def __init__(self) -> None:
        self.answer = PLAIN
        self.port = 0
        self._count = 0

    async def cost(self, message: bytes, *, answers: bool) -> float:
        """Send a message through; return its seconds of the loop's thread."""
        self._count += 1
        request, self.answer = (GET, message) if answers else (message, PLAIN)
        request = request.replace(b"Host: x", b"Host: x%d" % self._count, 1)  # nothing is the same as before
        began = thread_time()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await asyncio.wait_for(self._answered(reader), 30)
        finally:
            writer.transport.abort()
        return thread_time() - began

    async def _answered(self, reader: asyncio.StreamReader) -> None:
        """Read one answer; a connection that is reset, or ends, has given its own."""
        try:
            head = b""
            while not head or head.startswith(b"HTTP/1.1 1"):
                head = await reader.readuntil(b"\r\n\r\n")
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            if b"chunked" in head.lower():
                await reader.readuntil(b"0\r\n")
            else:
                await (reader.readexactly(int(length)) if length.isdigit() else reader.read())
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            return


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Start a stage, and stop it in the end."""
    stage = Stage()
    backend = await asyncio.get_running_loop().create_server(lambda: _Backend(stage), "127.0.0.1", 0)
    file = folder / "config.toml"
    file.write_text(CONFIG.format(folder=folder, port=backend.sockets[0].getsockname()[1]))
    sidecar = Sidecar(load(file, environ={}))
    await sidecar.start()
    stage.port = int(sidecar.url.rpartition(":")[2])
    try:
        yield stage
    finally:
        await sidecar.stop()
        backend.close()
