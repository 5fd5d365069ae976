"""The backend of all measurements, in its own process: `python -m tests.benchmarks.backend PORT`.

It must never be what is measured: a small GET is told by its first and last bytes and answered without being parsed.
Everything else (a split head, a body) goes to a parser.
"""

import asyncio
import sys
from time import perf_counter
from typing import cast

import httptools
import uvloop

BODY = b'{"messages":[1]}'
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n" + BODY
MIB = 2**20
LARGE = b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: 1048576\r\n\r\n" + b"x" * MIB
SMALL_TARGET = "/api/sessions/val_%d?n=%d"  # filled in with the subject and the request's own number
LARGE_TARGET = "/files/%d?n=%d"
HEAD_END = b"\r\n\r\n"


class Backend(asyncio.Protocol):
    """Answer one connection at once: a MiB to `GET /files/...`, and to everything else the same few bytes.

    `GET /count` is told how many requests all connections have been answered, and when that was.
    """

    served = 0

    def __init__(self) -> None:
        self._parser: httptools.HttpRequestParser | None = None
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's own are no subclasses

    def data_received(self, data: bytes) -> None:
        if self._parser is None:
            if data.startswith(b"GET /api/") and data.endswith(HEAD_END):
                count = data.count(HEAD_END)
                Backend.served += count
                self._transport.write(ANSWER * count)
                return
            self._parser = httptools.HttpRequestParser(self)
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target = b""

    def on_url(self, target: bytes) -> None:
        self._target += target

    def on_message_complete(self) -> None:
        assert self._parser is not None
        if self._target == b"/count":
            told = b"%d %f" % (Backend.served, perf_counter())
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(told), told))
            return
        Backend.served += 1
        large = self._target.startswith(b"/files/") and self._parser.get_method() == b"GET"
        self._transport.write(LARGE if large else ANSWER)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Backend, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
