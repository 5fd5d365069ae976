"""A finished exchange leaves no reference cycle: the garbage collector runs rarely, and buffers are large."""

import asyncio
import gc
import ssl
from contextlib import suppress

import pytest

from proxy.exchange.handler import RequestHandler
from proxy.exchange.state import Exchange, Lead
from proxy.http.message import Request
from proxy.server.client_connection import ClientConnection
from proxy.server.request_body import RequestBody
from proxy.transport.broadcast import Broadcast
from proxy.upstream.connector import BackendAddress
from proxy.upstream.pool import UpstreamPool
from proxy.upstream.upstream_connection import UpstreamConnection
from tests.settings import pool_limits
from tests.wire.kit import Backend, Line, Wire, turn, until

HEAD = b"/ HTTP/1.1\r\nHost: a\r\n"
SAID = {
    "an unfinished head": b"GET " + HEAD + b"X-Long: " + b"h" * 1000,
    "an unfinished body": b"POST " + HEAD + b"Content-Length: 100\r\n\r\n" + b"u" * 50,
    "a request": b"GET " + HEAD + b"\r\n",
    "a write": b"POST " + HEAD + b"Content-Length: 2\r\n\r\nhi",
    "requests ahead": (b"GET " + HEAD + b"\r\n") * 5,
    "an upload": b"POST " + HEAD + b"Content-Length: 900000\r\n\r\n" + b"u" * 1000,
    "a body being read": b"GET " + HEAD + b"\r\n",
    "a tunnel": b"GET " + HEAD + b"Connection: Upgrade\r\nUpgrade: chat\r\n\r\n",
}
ANSWERS = {
    "a body being read": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000,
    "a tunnel": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n",
}
BUFFERS = (ClientConnection, RequestHandler, Exchange, Lead, Request, RequestBody, Broadcast, UpstreamConnection)

TURNS = 30  # of the loop: a connection on the loopback interface is made in fewer


def left() -> list[str]:
    """Return what is in memory of connections and requests."""
    return [type(one).__name__ for one in gc.get_objects() if isinstance(one, BUFFERS)]


def give_all_up(wire: Wire) -> None:
    """Have every connection give way."""
    for connection in tuple(wire.sidecar.server_state.connections):
        connection.give_way()


async def begun(wire: Wire, what: str) -> tuple[Line, Line | None]:
    """Have it begin, as far as the backend if it comes so far."""
    client = await wire.client()
    await client.send(SAID[what])
    if what.startswith("an unfinished"):
        await until(lambda: any(connection.held > 0 for connection in wire.sidecar.server_state.connections))
        return client, None
    backend = await wire.backend.connection()
    await backend.head()
    if what in ANSWERS:
        await backend.send(ANSWERS[what])
        await client.head()
    return client, backend


@pytest.mark.parametrize("how", ["reset", "closed", "given up"])
@pytest.mark.parametrize("what", SAID)
async def test_a_connection_that_ends_leaves_nothing_to_the_collector(wire: Wire, what: str, how: str) -> None:
    """Before, whoever left early left up to 200 kB each until 200,000 objects had been made."""
    wire.sidecar._assembly.probes.close()  # one read a circuit would go on
    gc.collect()
    before = left()
    gc.disable()
    try:
        client, backend = await begun(wire, what)
        assert len(left()) > len(before)
        if how == "given up":
            give_all_up(wire)
        client.close() if how == "closed" else client.reset()
        if what == "a write" and backend is not None:  # it runs to its end
            await backend.send(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        if what == "a tunnel" and backend is not None:
            backend.close()
        await until(lambda: not wire.sidecar.server_state.connections)
        await until(lambda: len(left()) == len(before))
    finally:
        gc.enable()


async def test_connections_that_end_well_leave_nothing_either(wire: Wire) -> None:
    """An answer with Connection: close, on both legs."""
    gc.collect()
    before = left()
    gc.disable()
    try:
        client, backend, _ = await wire.asked(SAID["a request"][:-2] + b"Connection: close\r\n\r\n")
        await backend.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi")
        assert (await client.message()).status == 200
        client.close()
        await until(lambda: not wire.sidecar.server_state.connections)
        await until(lambda: len(left()) == len(before))
    finally:
        gc.enable()


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_dial_that_is_cancelled_leaves_nothing_either(scheme: str) -> None:
    """Cancel it after so many turns of the loop. Over TLS the backend does not answer the handshake.

    Before, a client that left in the turn in which the backend's connection was made left that connection to the
    collector, and over TLS to a timer of 60 s.
    """
    backend = await Backend(split=False).start()
    address = BackendAddress.of(f"{scheme}://127.0.0.1:{backend.port}")
    tls = ssl.create_default_context() if address.secure else None
    gc.collect()
    before = left()
    gc.disable()
    try:
        for turns in range(TURNS):
            pool = UpstreamPool(address, pool_limits(connect_timeout_s=60.0), tls)
            dial = asyncio.ensure_future(pool.connect(60.0))
            for _ in range(turns):
                await turn()
            dial.cancel()
            with suppress(asyncio.CancelledError):
                await dial
            pool.close()
            await until(lambda: pool.empty)  # noqa: B023 - it is awaited here
        del dial
        await until(lambda: len(left()) == len(before))
    finally:
        gc.enable()
        await backend.close()


def uploads() -> list[str]:
    """Return the tasks that send a request's body."""
    coroutines = (repr(task.get_coro()) for task in asyncio.all_tasks())
    return [coroutine for coroutine in coroutines if "_send_body" in coroutine]


async def test_an_upload_ends_with_its_backends_connection(wire: Wire) -> None:
    """The client may be silent for as long as `idle_timeout`: nothing waits for its next byte to no purpose."""
    client, backend = await begun(wire, "an upload")
    assert backend is not None
    assert len(uploads()) == 1
    await backend.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    backend.close()
    assert (await client.message()).status == 413
    await until(lambda: not uploads())
