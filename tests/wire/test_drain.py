"""The drain after SIGTERM: no accepted request is lost, and nothing waits forever."""

import asyncio
import resource

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire, soon, until

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def test_every_answer_says_close_and_the_connection_ends(start: Start) -> None:
    """While it still accepts, answers already tell clients to go elsewhere next time."""
    wire = await start()
    client, backend, _ = await wire.asked(GET)
    clock = wire.set_clock()
    clock.stop()
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.1))
    await until(lambda: wire.sidecar.server_state.draining)
    newcomer = await wire.client()
    await newcomer.send(GET.replace(b"/x", b"/y"))
    other = await wire.backend.connection()
    await other.head()
    for line, asker in ((backend, client), (other, newcomer)):
        await line.send(HI)
        answer = await asker.message()
        assert (answer.body, answer.get(b"connection")) == (b"hi", b"close")
        assert await asker.rest() == b""
    clock.go_on()
    await soon(stopping)


async def test_an_upload_in_flight_finishes(start: Start) -> None:
    """Its last byte, its answer and its record all come, though nobody new is let in."""
    wire = await start(defaults='replay_limit = "4"')
    client = await wire.client()
    await client.send(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n01234")
    backend = await wire.backend.connection()
    await backend.head()
    port = wire.port
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
    await until(lambda: wire.sidecar.server_state.keepalive_s < 1.0)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
    await client.send(b"56789")
    await backend.receives(b"0123456789")
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    await soon(stopping)


async def test_an_idle_connection_is_closed(wire: Wire) -> None:
    """Nobody waits for a keep-alive time to pass."""
    client, backend, _ = await wire.asked(GET)
    await backend.send(HI)
    await client.message()
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
    assert await client.rest() == b""
    await soon(stopping)


async def test_streams_are_cut_at_the_deadline(start: Start) -> None:
    """What has no end of its own gets one when `drain_timeout` is over."""
    wire = await start()
    stream, backend, _ = await wire.asked(GET)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    await stream.head()
    clock = wire.set_clock()
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
    await until(lambda: wire.sidecar.server_state.keepalive_s < 1.0)
    clock.go_on(61.0)
    await soon(stopping)
    assert await stream.ending() in ("fin", "reset")
    assert not stream.heard.endswith(b"0\r\n\r\n")
    assert wire.sidecar.running == 0


async def test_a_probe_holds_up_nothing(wire: Wire) -> None:
    """A read whose client left goes on alone: it is on record, and the drain ends it before its timeout."""
    client, backend, _ = await wire.asked(GET)
    client.close()
    await until(lambda: wire.sidecar.running == 0)
    probes = wire.sidecar._assembly.probes
    assert len(probes) == 1
    stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
    assert await backend.ending() in ("fin", "reset")
    await soon(stopping)
    assert len(probes) == 0
    assert wire.counted('backstay_circuit_state{circuit="backend"} 0.0')
    assert wire.sidecar.audit.records == 1


async def test_what_a_probe_brings_goes_nowhere(wire: Wire) -> None:
    """Its answer is read, counted as an attempt, and given to nobody: the next client's question goes upstream."""
    client, backend, _ = await wire.asked(GET)
    client.close()
    await until(lambda: wire.sidecar.running == 0)
    await backend.send(HI)
    await until(lambda: len(wire.sidecar._assembly.probes) == 0)
    assert wire.counted('backstay_upstream_attempts_total{result="200",route="passthrough",upstream="backend"} 1.0')
    other = await wire.client()
    await other.send(GET)
    assert (await backend.head()).start == b"GET /x HTTP/1.1"
    await backend.send(HI.replace(b"hi", b"ho"))
    assert (await other.message()).body == b"ho"


async def test_a_drain_needs_no_file_descriptor(wire: Wire) -> None:
    """Where clients have taken them all, the stop goes on: what is under way ends, and has its record."""
    client, backend, _ = await wire.asked(GET)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        stopping = asyncio.get_running_loop().create_task(wire.sidecar.stop(delay_s=0.0))
        await until(lambda: not wire.sidecar._listener._doors)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    await soon(stopping)
