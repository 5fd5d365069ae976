"""An EventSource meets a closed connection where every other client gets a 5xx of the sidecar's own."""

import pytest

from proxy.memory_budget import MemoryBudget
from tests.wire.conftest import Start
from tests.wire.kit import until

EVENTS = b"GET /events HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
PLAIN = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
ONCE = "retry = { max_retries = 0 }"


async def test_a_backend_that_dies_before_its_head_closes_the_connection(start: Start) -> None:
    """The browser's network error is the one that it has without the sidecar; the record says what happened."""
    wire = await start(defaults=ONCE)
    client, backend, _ = await wire.asked(EVENTS)
    backend.reset()
    assert (await client.ending(), client.heard) == ("fin", b"")
    await until(lambda: bool(wire.records))
    (record,) = wire.records
    assert (record["status"], record["outcome"], record["bytes_out"]) == (502, "connection_terminated", 0)
    assert record["metadata"]["hung_up"] is True


async def test_a_backend_that_is_gone_closes_the_connection(start: Start) -> None:
    """Nobody listens: the events are closed, another client of the same route reads the problem."""
    wire = await start(defaults=ONCE)
    await wire.backend.close()
    events, other = await wire.client(), await wire.client()
    await events.send(EVENTS)
    assert (await events.ending(), events.heard) == ("fin", b"")
    await other.send(EVENTS.replace(b"stream", b"stream, application/problem+json"))
    assert (await other.message()).status == 502


async def test_a_backend_that_dies_among_the_events_cuts_them(start: Start) -> None:
    """No last chunk: the browser cannot take it for the end, and asks for the rest."""
    wire = await start()
    client, backend, _ = await wire.asked(EVENTS)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    await backend.send(b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
    await client.head()
    await client.some()
    backend.reset()
    assert await client.ending() in ("fin", "reset")
    assert not client.heard.endswith(b"0\r\n\r\n")


async def test_the_responses_before_it_go_out_first(start: Start) -> None:
    """Both requests are read ahead on one connection."""
    wire = await start(defaults=ONCE)
    client, backend, _ = await wire.asked(PLAIN)
    await client.send(EVENTS)
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    await backend.head()
    backend.reset()
    assert await client.rest() == b""


async def test_a_used_up_memory_budget_closes_the_connection(start: Start) -> None:
    """The refusal of a request that was read is counted and recorded as ever."""
    wire = await start(listen='max_memory = "1000GiB"')
    client, backend, _ = await wire.asked(PLAIN)
    await backend.send(HI)
    await client.message()
    wire.sidecar._memory = MemoryBudget(1, lambda: None)
    wire.let_pass(0.0)
    await client.send(EVENTS)
    assert await client.rest() == b""
    assert wire.counted('backstay_bad_requests_total{reason="max_memory"} 1.0')


@pytest.mark.parametrize("status", [b"204 No Content", b"503 Busy"])
async def test_the_backends_own_status_ends_it(start: Start, status: bytes) -> None:
    """As without the sidecar: a backend that answers says whether to go on."""
    wire = await start(defaults=ONCE)
    client, backend, _ = await wire.asked(EVENTS)
    length = b"" if status.startswith(b"204") else b"Content-Length: 0\r\n"
    await backend.send(b"HTTP/1.1 %b\r\n%b\r\n" % (status, length))
    assert (await client.message()).status == int(status[:3])
