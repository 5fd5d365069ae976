"""Upgrades: a 101 starts a tunnel of bytes, any other response is an ordinary one."""

import asyncio

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire, soon, until

ASK = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
FRAME = b"\x81\x05hello\r\n\r\n\x00\xff"


async def switched(wire: Wire) -> tuple[Line, Line]:
    """Return both ends of a tunnel."""
    client, backend, asked = await wire.asked(ASK)
    assert (asked.get(b"connection"), asked.get(b"upgrade")) == (b"Upgrade", b"websocket")
    await backend.send(SWITCH)
    answer = await client.head()
    assert (answer.status, answer.get(b"connection"), answer.get(b"upgrade")) == (101, b"Upgrade", b"websocket")
    assert answer.get(b"sec-websocket-accept") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    return client, backend


async def test_bytes_cross_both_ways(wire: Wire) -> None:
    """Nothing is read into them."""
    client, backend = await switched(wire)
    await client.send(FRAME)
    await backend.receives(FRAME)
    await backend.send(FRAME * 2)
    await client.receives(FRAME * 2)


async def test_early_data_crosses_both_ways(wire: Wire) -> None:
    """What the client said before the 101, and what the backend said right with it, is not lost."""
    client = await wire.client()
    await client.send(ASK + FRAME)
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(SWITCH + FRAME)
    await client.head()
    await client.receives(FRAME)
    await backend.receives(FRAME)


async def test_the_client_may_hang_up_its_half(wire: Wire) -> None:
    """The backend hears the end, can still speak, and its own end closes the tunnel."""
    client, backend = await switched(wire)
    client.finish()
    assert await backend.rest() == b""
    await backend.send(b"last words")
    await client.receives(b"last words")
    backend.close()
    assert await client.ending() == "fin"
    await until(lambda: not wire.sidecar.server_state.connections)


async def test_the_backend_may_hang_up_its_half(wire: Wire) -> None:
    """The client hears the end, can still speak, and its own end closes the tunnel."""
    client, backend = await switched(wire)
    backend.finish()
    assert await client.rest() == b""
    await client.send(b"last words")
    await backend.receives(b"last words")
    client.close()
    assert await backend.ending() == "fin"
    await until(lambda: not wire.sidecar.server_state.connections)


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_a_reset_ends_both_sides(wire: Wire, side: str) -> None:
    """Neither end is left talking to nobody."""
    client, backend = await switched(wire)
    first, second = (client, backend) if side == "client" else (backend, client)
    first.reset()
    assert await second.ending() in ("fin", "reset")
    await until(lambda: not wire.sidecar.server_state.connections and not wire.sidecar.running)


@pytest.mark.parametrize("side", ["client", "backend"])
async def test_a_side_that_does_not_read_stops_the_other(wire: Wire, side: str) -> None:
    """Memory stays flat: who speaks has to wait, and every byte arrives in the end."""
    client, backend = await switched(wire)
    speaker, listener = (client, backend) if side == "backend" else (backend, client)
    listener.stop_reading()
    size = 32 * 1024 * 1024
    speaker.say_at_once(b"x" * size)
    await soon(speaker.is_stuck())
    assert speaker.unsent > size // 4
    listener.read_again()
    assert len(await listener.exactly(size)) == size


async def test_its_own_idle_time_ends_it(start: Start) -> None:
    """Bytes either way keep it; silence both ways for the tunnel's own time ends it, not the idle time of bodies."""
    wire = await start(listen='tunnel_timeout = "10m"')
    client, backend = await switched(wire)
    wire.let_pass(500.0)
    await backend.send(FRAME)
    await client.receives(FRAME)
    wire.let_pass(1000.0)
    wire.let_pass(1700.0)
    assert await client.ending() == "reset"
    assert await backend.ending() in ("fin", "reset")


async def test_an_answer_that_is_not_101_is_relayed_as_usual(wire: Wire) -> None:
    """The connection goes on, with what the client had said already as its next request."""
    client = await wire.client()
    await client.send(ASK + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
    assert (await client.message()).body == b"no"
    assert (await backend.head()).start == b"GET /next HTTP/1.1"
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


@pytest.mark.parametrize("protocol", [b"h2c", b"H2C"])
async def test_http_2_in_clear_text_is_not_taken_up(wire: Wire, protocol: bytes) -> None:
    """The offer is dropped with its settings, and the request is one as any other, its body included."""
    client = await wire.client()
    await client.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: " + protocol + b"\r\n"
        b"HTTP2-Settings: AAMAAABk\r\nContent-Length: 4\r\n\r\nbody"
    )
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"upgrade"), asked.get(b"http2-settings"), asked.get(b"connection")) == (None, None, None)
    assert asked.body == b"body"


async def test_other_protocols_are_tunnelled_too(wire: Wire) -> None:
    """A tunnel asks not what is in it."""
    client, backend, asked = await wire.asked(ASK.replace(b"websocket", b"speak/2, h2c"))
    assert asked.get(b"upgrade") == b"speak/2"
    await backend.send(SWITCH.replace(b"websocket", b"speak/2"))
    assert (await client.head()).get(b"upgrade") == b"speak/2"
    await client.send(FRAME)
    await backend.receives(FRAME)


async def test_without_connection_upgrade_it_is_no_upgrade(wire: Wire) -> None:
    """`Upgrade` alone is stripped as any hop-by-hop field."""
    _, _, asked = await wire.asked(ASK.replace(b"Connection: keep-alive, Upgrade\r\n", b""))
    assert asked.get(b"upgrade") is None


async def test_a_drain_leaves_it_be_until_its_time_is_over(wire: Wire) -> None:
    """Bytes still cross while the drain waits; at its deadline both ends are cut."""
    client, backend = await switched(wire)
    clock = wire.set_clock()
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
    await until(lambda: wire.sidecar.server_state.draining)
    await client.send(FRAME)
    await backend.receives(FRAME)
    clock.go_on(61.0)
    assert await client.ending() == "reset"
    assert await backend.ending() in ("fin", "reset")
    await soon(stopping)
