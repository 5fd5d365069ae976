"""A scripted backend on a real socket: one entry for each attempt, whose arrival time it records."""

import asyncio
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: application/json\r\n\r\n{}"
RESET = b"reset"
HANG = b"hang"


def answer(status: int, fields: str = "", body: bytes = b"{}") -> bytes:
    """Return an answer as it stands on the wire."""
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{fields}\r\n".encode() + body


@dataclass
class Call:
    """One attempt as the backend saw it."""

    at: float
    line: str
    fields: dict[str, str]
    body: bytes


@dataclass
class ScriptedBackend:
    """Answer each call with the next line of `script`; past its end, with 200."""

    script: Sequence[bytes] = ()
    calls: list[Call] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self) -> "ScriptedBackend":
        """Listen on a free port."""
        self.play(self.script)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    def play(self, script: Sequence[bytes]) -> None:
        """Begin a script, and forget the calls so far."""
        self._lines: Iterator[bytes] = iter(script)
        self.calls.clear()

    @property
    def url(self) -> str:
        """Return where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def waits_ms(self) -> list[float]:
        """Return the times between the calls."""
        return [(b.at - a.at) * 1000 for a, b in zip(self.calls, self.calls[1:], strict=False)]

    async def stop(self) -> None:
        """Stop listening and drop every connection."""
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                await self._one(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()
        finally:
            self._writers.discard(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *lines = head.rstrip("\r\n").split("\r\n")
        fields = {name.lower(): value for name, _, value in (text.partition(": ") for text in lines)}
        body = await reader.readexactly(int(fields.get("content-length", 0)))
        self.calls.append(Call(time.perf_counter(), line, fields, body))
        step = next(self._lines, OK)
        if step == HANG:
            await reader.read()
        elif step == RESET:
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            raise ConnectionResetError
        else:
            writer.write(step)
            await writer.drain()
