"""The control plane reads little ahead and answers one request in a turn of the loop, so the data plane goes on."""

import asyncio
import gc
import logging
import socket
import struct
from itertools import pairwise
from typing import Any

import pytest
from aiohttp import web

from proxy.admin.connections import MAX_HEAD, AdminConnection
from proxy.admin.read_ahead import READ_AHEAD
from tests.wire.kit import soon, until
from tests.wire.test_control_plane import ALIVE, WATCH, Begin, Plane, begin

__all__ = ["begin"]
NOTHING = b"GET /n HTTP/1.1\r\nHost: localhost\r\n\r\n"
LAST = b"GET /n HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
CLOSE = b"Host: localhost\r\nConnection: close\r\n"


class Events:
    """What happens in which order: turns of the loop, bytes given to aiohttp, responses written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[str, object, int]] = []
        self._going = True
        took, wrote = web.RequestHandler.data_received, web.RequestHandler.finish_response

        def data_received(one: web.RequestHandler, data: bytes) -> None:
            self.seen.append(("given", one, data.count(b"\r\n\r\n")))
            took(one, data)

        async def finish_response(one: web.RequestHandler, *rest: Any) -> object:
            self.seen.append(("answered", one, 1))
            return await wrote(one, *rest)

        monkeypatch.setattr(web.RequestHandler, "data_received", data_received)
        monkeypatch.setattr(web.RequestHandler, "finish_response", finish_response)
        self._turn()

    def _turn(self) -> None:
        if self._going:
            self.seen.append(("turn", None, 0))
            asyncio.get_running_loop().call_soon(self._turn)

    def end(self) -> None:
        self._going = False


@pytest.mark.parametrize("clients", [1, 8])
async def test_the_data_plane_has_a_turn_between_two_requests(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, clients: int
) -> None:
    """Whatever is pipelined, on however many connections; before, aiohttp was given 32 heads and 256 KiB at once."""
    plane = await begin()
    lines = [await plane.client() for _ in range(clients)]
    events = Events(monkeypatch)
    for line in lines:
        await line.send(NOTHING * 199 + LAST)
    for line in lines:
        assert (await soon(line.rest())).count(b"HTTP/1.1 404 ") == 200
    events.end()
    given = [heads for kind, _, heads in events.seen if kind == "given"]
    assert sum(given) == clients * 200
    assert max(given) == 1
    shared = [kind for kind, _, heads in events.seen if kind == "turn" or (kind == "given" and heads)]
    assert all(pair != ("given", "given") for pair in pairwise(shared))
    pending: dict[object, int] = {}
    for kind, one, heads in events.seen:
        pending[one] = pending.get(one, 0) + (heads if kind == "given" else -1 if kind == "answered" else 0)
    assert set(pending.values()) == {0}


async def test_little_is_read_while_a_response_is_pending(begin: Begin) -> None:
    """A viewer's response has no end: of a megabyte behind its request, one read is held."""
    plane = await begin()
    client = await plane.client(buffer=4096)
    await client.send(WATCH)
    assert (await client.head()).status == 200
    client.say_at_once(NOTHING * 30_000)
    connection = plane.only_connection
    assert connection.reader is not None
    await until(lambda: connection.reader is not None and bool(connection.reader._held))
    for _ in range(100):
        await asyncio.sleep(0)  # noqa: TID251 - turns in which more would be read
    assert len(connection.reader._held) <= READ_AHEAD
    assert connection._transport is not None
    assert not connection._transport.is_reading()
    assert not connection._messages


async def test_a_viewer_who_leaves_is_noticed_while_its_response_goes_on(begin: Begin) -> None:
    """Reading goes on until something is held."""
    plane = await begin()
    client = await plane.client()
    await client.send(WATCH)
    assert (await client.head()).status == 200
    client.close()
    await until(lambda: not plane.open)


async def test_responses_that_nobody_reads_stop_the_requests_behind(begin: Begin) -> None:
    """aiohttp waits for no reader after a small response: they grew with every request."""
    plane = await begin()
    client = await plane.client(buffer=4096)
    client.stop_reading()
    connection = plane.only_connection
    connection.keep_little(4096)
    client.say_at_once(b"GET /%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"n" * 2_000) * 2_000)
    await until(lambda: connection.unwritten > 64 * 1024)
    for _ in range(2_000):
        await asyncio.sleep(0)  # noqa: TID251 - turns in which more would be answered
    assert connection.unwritten < 80 * 1024


async def test_a_head_is_limited_in_all(begin: Begin) -> None:
    """Each field was within aiohttp's limits: together they were a megabyte on each connection."""
    plane = await begin()
    client = await plane.client()
    await client.send(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: %b\r\n" % (b"a" * 1_000) * 100)
    assert MAX_HEAD < 100_000
    assert (await client.message()).status == 431


async def test_requests_after_a_body_and_after_a_declined_upgrade_are_answered(begin: Begin) -> None:
    """Blank lines in a body are no ends of heads."""
    plane = await begin()
    client = await plane.client()
    body = b"a\r\n\r\nGET / HTTP/1.1\r\n\r\n"
    await client.send(b"POST /drain HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    await client.send(b"GET /n HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n" + ALIVE)
    assert [(await client.message()).status for _ in range(3)] == [401, 404, 200]
    assert plane.only_connection.phase.name == "KEPT"


async def test_a_compressed_body_that_nobody_reads_is_not_decompressed(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    """An invalid one was a traceback in the log; a valid one may be a thousand times as large as its bytes."""
    plane = await begin()
    client = await plane.client()
    fields = b"Host: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n"
    await client.send(b"POST /drain HTTP/1.1\r\n" + fields + b"aaaa" + ALIVE)
    assert [(await client.message()).status for _ in range(2)] == [401, 200]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_client_that_leaves_before_its_request_begins_is_no_error(
    begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    """aiohttp began the request without a connection: a TypeError and its traceback."""
    raised: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: raised.append(context))
    plane = await begin()
    await plane.client()
    connection = plane.only_connection
    transport = connection._transport
    connection.data_received(ALIVE)
    connection.connection_lost(None)
    assert transport is not None
    transport.abort()
    for _ in range(10):
        await asyncio.sleep(0)  # noqa: TID251 - turns in which the request would begin
    gc.collect()
    assert not raised


KINDS = {
    "answered": ALIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    "no path": LAST,
    "no method": b"PUT /drain HTTP/1.1\r\n" + CLOSE + b"\r\n",
    "expectation": b"GET /healthz HTTP/1.1\r\nExpect: x\r\n" + CLOSE + b"\r\n",
    "expectation and no path": b"GET /n HTTP/1.1\r\nExpect: x\r\n" + CLOSE + b"\r\n",
    "no HTTP": b"GET / HTTP/9.9\r\n\r\n",
    "no field": b"GET / HTTP/1.1\r\nbad field\r\n\r\n",
    "no URL": b"GET http://[::1/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "long target": b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\n\r\n",
    "other name": b"GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
    "upgrade": LAST.replace(b"close", b"upgrade\r\nUpgrade: x"),
    "silent": b"",
    "half a head": b"GET / HT",
    "two": NOTHING + NOTHING,
}
OURS = (AdminConnection, web.BaseRequest, web.StreamResponse)


@pytest.mark.parametrize("said", KINDS.values(), ids=KINDS)
async def test_nothing_of_a_request_waits_for_the_collector(begin: Begin, said: bytes) -> None:
    """The process collects cycles seldom: 404s that left some took 60 MiB, and the collection stopped the loop."""
    plane = await begin()
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            await gone(plane, said)
        left = [one for one in gc.get_objects() if isinstance(one, OURS)]
    finally:
        gc.enable()
    assert not left


async def gone(plane: Plane, said: bytes) -> None:
    """Say something on a connection, and reset it when something has come back or can come."""
    client = await plane.client()
    await client.send(said)
    if b"\r\n\r\n" in said:
        await client.head()
    else:
        await until(lambda: plane.open == 1)
    raw = client._writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client._writer.transport.abort()
    await until(lambda: not plane.open)
    for _ in range(50):
        await asyncio.sleep(0)  # noqa: TID251 - turns in which tasks end
