"""Bytes on both sides of a sidecar: a scripted client and a scripted backend.

Every line that a test says is cut as the test's lane wants it: `whole` in one segment, `split` at each boundary where a
parser could be caught out.
"""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import orjson

from proxy.app import Sidecar
from proxy.audit.chain import Chain
from proxy.audit.record_schema import LINE
from proxy.clock import SystemClock
from proxy.observe.metrics import encode

PATIENCE_S = 60.0  # until a test gives up on bytes that should come at once: a hang, on any machine
_SEPARATORS = b"\r\n:; ,"
_FEW = 2048

T = TypeVar("T")


class Answer(NamedTuple):
    """One message as it stood on the wire. `lines` are the head's field lines, byte for byte."""

    start: bytes
    lines: list[bytes]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.start.split(b" ", 2)[1])

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a field, in order."""
        pairs = (line.partition(b":") for line in self.lines)
        return [value.strip() for key, _, value in pairs if key.lower() == name.lower()]

    def get(self, name: bytes) -> bytes | None:
        """Return a field's only value."""
        values = self.all(name)
        assert len(values) < 2, values
        return values[0] if values else None


def cuts(data: bytes) -> list[bytes]:
    """Return `data` in pieces, cut around every separator in its first and last bytes."""
    edges = {0, len(data)}
    for at, byte in enumerate(data):
        if byte in _SEPARATORS and (at < _FEW or at > len(data) - _FEW):
            edges |= {at, at + 1}
    ordered = sorted(edges)
    return [data[start:end] for start, end in pairwise(ordered)]


async def outside(call: Callable[[], T]) -> T:
    """Return what a call brings from outside any task, as a transport's callback makes it: the test is one itself."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:  # the test's to judge
            done.set_exception(error)

    loop.call_soon(run)
    return await done


def exposition(sidecar: Sidecar) -> str:
    """Return the metrics as Prometheus gets them."""
    return encode(sidecar.metrics.collect(), "")[0].decode()


async def turn() -> None:
    """Let the loop look at its sockets once."""
    await asyncio.sleep(0)  # noqa: TID251 - a bare turn: no time passes


async def soon(awaitable: Awaitable[T]) -> T:
    """Return what should come at once; a test that hangs fails here, where it says for what it waited."""
    async with asyncio.timeout(PATIENCE_S):
        return await awaitable


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await turn()


class SetClock(SystemClock):
    """The machine's clock, which a test may stop and move on."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._going = asyncio.Event()
        self._going.set()

    def now(self) -> float:
        """Return monotonic seconds."""
        return SystemClock.now() + self.ahead_s

    async def sleep(self, seconds: float) -> None:
        """Return `seconds` later, and not while the clock is stopped."""
        await super().sleep(seconds)
        await self._going.wait()

    def stop(self) -> None:
        """Let nobody who sleeps wake up."""
        self._going.clear()

    def go_on(self, seconds: float = 0.0) -> None:
        """Go on, so many seconds later."""
        self.ahead_s += seconds
        self._going.set()


class Line:
    """One end of a connection. It says bytes, and hears bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, split: bool) -> None:
        self._reader = reader
        self._writer = writer
        self._split = split
        self.heard = b""  # all of it, also what no test has asked for

    async def send(self, data: bytes) -> None:
        """Send bytes, in one segment or in many. Who is hung up on says no more: that is for the test to hear."""
        for piece in cuts(data) if self._split else [data]:
            if self._writer.is_closing():
                return
            self._writer.write(piece)
            await turn()
            await turn()

    def say_at_once(self, data: bytes) -> None:
        """Hand bytes to the system without waiting for anybody to take them."""
        self._writer.write(data)

    @property
    def unsent(self) -> int:
        """Return the bytes that the other side has not taken yet."""
        return self._writer.transport.get_write_buffer_size()

    async def is_stuck(self) -> None:
        """Wait until the other side takes nothing more of what was said."""
        before, still = -1, 0
        while still < 100:
            await turn()
            still = still + 1 if before == self.unsent > 0 else 0
            before = self.unsent

    async def some(self) -> bytes:
        """Return the next bytes that come, b"" at the end."""
        data = await soon(self._reader.read(65536))
        self.heard += data
        return data

    async def exactly(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        data = await soon(self._reader.readexactly(size))
        self.heard += data
        return data

    async def receives(self, data: bytes) -> None:
        """Check the next bytes."""
        assert await self.exactly(len(data)) == data

    async def head(self) -> Answer:
        """Return the next head; its body is left on the line."""
        raw = await soon(self._reader.readuntil(b"\r\n\r\n"))
        self.heard += raw
        start, *lines = raw[:-4].split(b"\r\n")
        return Answer(start, lines, b"")

    async def head_at_once(self) -> Answer | None:
        """Return the next head, or nothing if it does not come while the loop turns a thousand times."""
        coming = asyncio.get_running_loop().create_task(self.head())
        for _ in range(1_000):
            if coming.done():
                return coming.result()
            await turn()
        coming.cancel()
        return None

    async def message(self, *, to_head: bool = False) -> Answer:
        """Return the next message with its body as it stood on the wire: chunks are not undone."""
        head = await self.head()
        bodiless = to_head or (head.start.startswith(b"HTTP/") and head.status in (204, 304))
        if bodiless:
            return head
        if head.all(b"transfer-encoding"):
            return head._replace(body=await self.chunks())
        if head.all(b"content-length"):
            return head._replace(body=await self.exactly(int(head.all(b"content-length")[0])))
        if head.start.startswith(b"HTTP/"):
            return head._replace(body=await self.rest())
        return head

    async def chunks(self) -> bytes:
        """Return a chunked body as it stands on the wire."""
        raw = b""
        while True:
            line = await self._line()
            raw += line
            size = int(line.split(b";")[0], 16)
            if size == 0:
                break
            raw += await self.exactly(size + 2)
        while (line := await self._line()) != b"\r\n":
            raw += line
        return raw + line

    async def _line(self) -> bytes:
        line = await soon(self._reader.readuntil(b"\r\n"))
        self.heard += line
        return line

    async def rest(self) -> bytes:
        """Return all that comes until the other side ends; a reset raises ConnectionResetError."""
        data = b""
        while piece := await self.some():
            data += piece
        return data

    async def rest_or_cut(self) -> bytes:
        """Return all that comes until a last chunk, or the end, however that comes."""
        before = len(self.heard)
        try:
            while not self.heard.endswith(b"0\r\n\r\n") and await self.some():
                pass
        except ConnectionError:
            pass
        return self.heard[before:]

    async def ending(self) -> str:
        """Read to the end, and return how it came: `fin` or `reset`."""
        try:
            await self.rest()
        except ConnectionError:
            return "reset"
        return "fin"

    def finish(self) -> None:
        """Say that no more will be said: a FIN, and the line goes on listening."""
        self._writer.write_eof()

    def close(self) -> None:
        """Hang up."""
        self._writer.close()

    def drop(self) -> None:
        """Hang up, without waiting for the other side to take what was said."""
        self._writer.transport.abort()

    def reset(self) -> None:
        """Hang up with a reset."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    def stop_reading(self) -> None:
        """Take nothing more from the system, so that the other side has to wait."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]  # what streams call a WriteTransport

    def read_again(self) -> None:
        """Take bytes again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]  # as above


class Backend:
    """The scripted backend: every connection that the sidecar makes is a line that the test answers by hand."""

    def __init__(self, *, split: bool) -> None:
        self._split = split
        self._arrived: asyncio.Queue[Line] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self.lines: list[Line] = []

    async def start(self) -> "Backend":
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._arrive, "127.0.0.1", 0)
        return self

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = Line(reader, writer, split=self._split)
        self.lines.append(line)
        self._arrived.put_nowait(line)

    async def connection(self) -> Line:
        """Return the next connection that the sidecar makes."""
        return await soon(self._arrived.get())

    async def arrival(self) -> Line:
        """Return the next connection that the sidecar makes, however long that takes."""
        return await self._arrived.get()

    async def close(self) -> None:
        """Hang up on everybody."""
        assert self._server is not None
        self._server.close()
        for line in self.lines:
            line.drop()
        await self._server.wait_closed()


class Wire:
    """A sidecar between a scripted client and a scripted backend."""

    def __init__(self, sidecar: Sidecar, backend: Backend, *, split: bool) -> None:
        self.sidecar = sidecar
        self.backend = backend
        self.split = split
        self._clients: list[Line] = []

    @property
    def port(self) -> int:
        """Return where the sidecar listens."""
        return int(self.sidecar.url.rpartition(":")[2])

    async def client(self, address: str = "127.0.0.1") -> Line:
        """Connect a client, from an address of this host."""
        reader, writer = await soon(asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0)))
        line = Line(reader, writer, split=self.split)
        self._clients.append(line)
        return line

    def let_pass(self, seconds: float) -> None:
        """Let the sweep believe that so much time went by: what waits too long ends now."""
        self.sidecar.sweep(asyncio.get_running_loop().time() + seconds)

    def set_clock(self) -> SetClock:
        """Give the sidecar's own life, its drain, a clock that the test sets."""
        self.sidecar._clock = clock = SetClock()
        return clock

    def counted(self, line: str) -> bool:
        """Tell whether the metrics have a line that begins so."""
        return any(shown.startswith(line) for shown in exposition(self.sidecar).splitlines())

    @property
    def records(self) -> list[dict[str, Any]]:
        """Return the trail's newest records, the last one last."""
        return [orjson.loads(line) for line in self.sidecar.audit.newest]

    async def asked(self, request: bytes, address: str = "127.0.0.1") -> tuple[Line, Line, Answer]:
        """Say a request without a body as a new client; return both lines, and the head that reached the backend."""
        client = await self.client(address)
        await client.send(request)
        backend = await self.backend.connection()
        return client, backend, await backend.head()

    async def close(self) -> None:
        """Hang up everywhere, and see that the sidecar comes to rest."""
        for line in self._clients:
            line.drop()
        await self.backend.close()
        for record in self.records:
            LINE.validate_json(Chain().append(record))  # what the schema of the trail does not have is not written
        await self.sidecar.stop(delay_s=0.0)
