"""Both ends of a connection, byte for byte: a client that sends given bytes, and a scripted backend."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

BROKEN = (asyncio.IncompleteReadError, ConnectionResetError)
"""What a client sees of a transfer that did not end as announced."""

Headers = dict[str, list[str]]


class Answer(NamedTuple):
    """One whole answer. `raw` is its body as it stood on the wire, `body` without the chunks."""

    version: str
    status: int
    headers: Headers
    body: bytes
    raw: bytes
    interim: tuple[int, ...] = ()

    def header(self, name: str) -> str:
        """Return a field's only value, "" where there is none."""
        (value,) = self.headers.get(name, [""])
        return value


class Call(NamedTuple):
    """One request that reached the backend."""

    method: str
    target: str
    headers: Headers
    body: bytes
    raw: bytes
    connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def header(self, name: str) -> str:
        """Return a field's only value, "" where there is none."""
        (value,) = self.headers.get(name, [""])
        return value


Script = Callable[[Call], Awaitable[bytes | None]]


def request(method: str, target: str, body: bytes | None = None, **headers: str) -> bytes:
    """Return a request; underscores in names stand for hyphens. A body gets its length unless it comes in chunks."""
    lines = {"Host": "app.example", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None and "Transfer-Encoding" not in lines:
        lines["Content-Length"] = str(len(body))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    """Return a backend's answer with its length."""
    lines = {"Content-Length": str(len(body)), **{name.replace("_", "-"): value for name, value in headers.items()}}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode("latin-1") + body


def chunked(*pieces: bytes, trailer: bytes = b"") -> bytes:
    """Return a chunked body."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + b"\r\n"


class Client:
    """One connection to the sidecar."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def connect(cls, url: str, source: str | None = None) -> Self:
        """Connect to `http://host:port` or `unix:path`, from the address `source` if it matters."""
        if url.startswith("unix:"):
            return cls(*await asyncio.open_unix_connection(url.removeprefix("unix:")))
        parts = urlsplit(url)
        local = None if source is None else (source, 0)
        return cls(*await asyncio.open_connection(parts.hostname, parts.port, local_addr=local))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.writer.transport.abort()

    async def ask(self, data: bytes) -> Answer:
        """Send a request and return its answer."""
        self.send(data)
        return await self.answer(data.split(b" ", 1)[0].decode("latin-1"))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    def leave(self) -> None:
        """Close the connection at once."""
        self.writer.transport.abort()

    async def leave_seen(self) -> None:
        """Close our half of the connection, and wait until the sidecar has seen it: then it closes the other half."""
        self.writer.write_eof()
        assert await self.rest() == b""

    async def answer(self, method: str = "GET") -> Answer:
        """Read one answer; raise one of BROKEN if it is not whole."""
        interim: list[int] = []
        while True:
            start, headers = await _head(self.reader)
            version, status, *_ = start.split(" ", 2)
            if int(status) >= 200:
                break
            interim.append(int(status))
        bodiless = method == "HEAD" or int(status) in (204, 304)
        body, raw = (b"", b"") if bodiless else await _body(self.reader, headers, to_end=True)
        return Answer(version, int(status), headers, body, raw, tuple(interim))

    async def rest(self) -> bytes:
        """Read until the sidecar closes the connection."""
        return await self.reader.read()


async def ask(url: str, data: bytes, source: str | None = None) -> Answer:
    """Send one request on a connection of its own and return its answer."""
    async with await Client.connect(url, source) as client:
        return await client.ask(data)


async def _head(reader: asyncio.StreamReader) -> tuple[str, Headers]:
    start, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    headers: Headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.lower(), []).append(value.strip())
    return start, headers


async def _body(reader: asyncio.StreamReader, headers: Headers, *, to_end: bool) -> tuple[bytes, bytes]:
    """Read a body as its head says it is framed; without framing it goes on `to_end`, or is none."""
    if "transfer-encoding" in headers:
        return await _chunks(reader)
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"][0]))
        return body, body
    body = await reader.read() if to_end else b""
    return body, body


async def _chunks(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    pieces: list[bytes] = []
    raw: list[bytes] = []
    while size := int(line := await reader.readuntil(b"\r\n"), 16):
        pieces.append(await reader.readexactly(size))
        raw += (line, pieces[-1], await reader.readexactly(2))
    raw.append(line)
    while raw[-1] != b"\r\n":  # trailers, and the empty line
        raw.append(await reader.readuntil(b"\r\n"))
    return b"".join(pieces), b"".join(raw)


class Origin:
    """A backend on a free port, or a Unix socket. A path's script returns the answer, or None to hang up."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.connections = 0
        self._scripts: dict[str, Script] = {}
        self._early: frozenset[str] = frozenset()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    async def start(self, path: str | None = None) -> None:
        """Listen."""
        if path is not None:
            self._server = await asyncio.start_unix_server(self._serve, path)
            self.url = f"unix:{path}"
            return
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096)
        self.url = "http://{}:{}".format(*self._server.sockets[0].getsockname())

    async def stop(self) -> None:
        """Close the port and every connection."""
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def on(self, path: str, script: Script | bytes, *, early: bool = False) -> None:
        """Say what is done with requests for `path`, `early`: while their bodies are still to be read."""
        self._scripts[path] = script if callable(script) else _always(script)
        self._early = self._early | {path} if early else self._early - {path}

    def asked(self, path: str) -> list[Call]:
        """Return the calls for `path`."""
        return [call for call in self.calls if call.target.partition("?")[0] == path]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._converse(reader, writer, self.connections)
        except (*BROKEN, BrokenPipeError, asyncio.CancelledError):
            pass  # the sidecar hung up, or the test is over
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        while True:
            start, headers = await _head(reader)
            method, target, _ = start.split(" ")
            if "expect" in headers:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            path = target.partition("?")[0]
            body, raw = (b"", b"") if path in self._early else await _body(reader, headers, to_end=False)
            call = Call(method, target, headers, body, raw, connection, reader, writer)
            self.calls.append(call)
            said = await self._scripts[path](call)
            if said is None:
                return
            writer.write(said)


def _always(data: bytes) -> Script:
    async def script(call: Call) -> bytes:
        return data

    return script


def reset(writer: asyncio.StreamWriter) -> None:
    """Cut a connection with an RST, as a process that dies with unread data does."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
