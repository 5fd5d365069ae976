"""The backend of the measurement: small, large, slow and endless responses, chosen by the first path segment."""

import asyncio

from proxy.clock import SystemClock
from tests.e2e.filling.remote import Handle

SMALL = b"s" * 200
LARGE = b"l" * 60_000
HUGE = b"h" * 4_000_000
SLOW_S = 5.0
EVENT_S = 0.05
EVENT = b"data: a token\n\n" * 20
_clock = SystemClock()


def answer(body: bytes, *fields: bytes) -> bytes:
    """Return an answer with its length."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%b\r\n%b" % (len(body), lines, body)


async def start() -> Handle:
    """Listen, and return what tells where."""
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=4096, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]

    async def where() -> str:
        return f"http://127.0.0.1:{port}"

    return where


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await _skip_body(reader, head)
            await _answer(head, writer)
    except (asyncio.IncompleteReadError, ConnectionError):
        return  # the sidecar hung up
    finally:
        writer.close()


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    if found:
        await reader.readexactly(int(rest.partition(b"\r\n")[0]))
    elif b"\r\ntransfer-encoding: chunked\r\n" in head.lower():
        while size := int(await reader.readuntil(b"\r\n"), 16):
            await reader.readexactly(size + 2)
        await reader.readuntil(b"\r\n")


async def _answer(head: bytes, writer: asyncio.StreamWriter) -> None:
    kind = head.split(b" ", 2)[1].split(b"/")[1]
    if kind == b"events":
        await _events(writer)
    if kind == b"slow":
        await _clock.sleep(SLOW_S)
    body = {b"large": LARGE, b"order": LARGE, b"huge": HUGE}.get(kind, SMALL)
    writer.write(answer(body, *_mirrored(head)))
    await writer.drain()


def _mirrored(head: bytes) -> list[bytes]:
    """Return CORS fields that allow whatever was asked."""
    _, asked, rest = head.partition(b"\r\nOrigin: ")
    if not asked:
        return []
    fields = [b"Access-Control-Allow-Origin: " + rest.partition(b"\r\n")[0]]
    _, asked, rest = head.partition(b"\r\nAccess-Control-Request-Headers: ")
    return [*fields, b"Access-Control-Allow-Headers: " + rest.partition(b"\r\n")[0]] if asked else fields


async def _events(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"%x\r\n%b\r\n" % (len(EVENT), EVENT))
        await writer.drain()
        await _clock.sleep(EVENT_S)
