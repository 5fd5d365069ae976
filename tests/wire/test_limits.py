"""Clients that are slow or send too much are stopped, each at its own limit."""

import orjson
import pytest

from proxy.memory_budget import MemoryBudget
from proxy.server.admission import AT_ONCE, LEAST
from proxy.server.client_connection import ClientConnection
from proxy.server.response_writer import ResponseWriter
from proxy.store.bundle import MemoryBundle
from proxy.upstream.upstream_states import READING
from tests.wire.conftest import Start
from tests.wire.kit import Wire, soon, until

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"


async def test_a_slow_head_gets_408_at_its_time(start: Start) -> None:
    """The clock runs from the head's first byte, however many more come."""
    wire = await start(listen='head_timeout = "10s"')
    client = await wire.client()
    await client.send(b"GET / HTT")
    await until(lambda: bool(wire.sidecar.server_state.connections))
    wire.let_pass(9.0)
    await client.send(b"P/1.1\r\nX-")
    assert client.heard == b""
    wire.let_pass(10.5)
    assert (await client.message()).status == 408
    assert await client.rest() == b""
    assert wire.counted('backstay_bad_requests_total{reason="slow_head"} 1')


async def test_a_slow_body_gets_408_at_its_time(start: Start) -> None:
    """The clock runs from the body's last byte: a slow upload that goes on is none of our business."""
    wire = await start(defaults='idle_timeout = "20s"')
    client = await wire.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    await until(lambda: bool(wire.sidecar.server_state.connections))
    wire.let_pass(19.0)
    assert client.heard == b""
    wire.let_pass(21.0)
    refused = await client.message()
    assert refused.status == 408
    assert (refused.get(b"x-correlation-id") or b"").startswith(b"bad-request-")
    assert await client.rest() == b""
    assert wire.backend.lines == []


@pytest.mark.parametrize("said", [b"", b"\r\n\r\n", GET])
async def test_an_idle_connection_is_closed_without_a_word(start: Start, said: bytes) -> None:
    """Nothing was asked, or all was answered: there is nothing to say."""
    wire = await start(listen='keepalive_timeout = "30s"')
    client = await wire.client()
    await client.send(said)
    if said == GET:
        backend = await wire.backend.connection()
        await backend.head()
        await backend.send(HI)
        await client.message()
    await until(lambda: bool(wire.sidecar.server_state.connections))
    wire.let_pass(29.0)
    assert wire.sidecar.server_state.connections
    wire.let_pass(31.0)
    assert await client.rest() == b""


async def test_a_reader_that_takes_nothing_is_cut(start: Start) -> None:
    """Its answer, its backend's connection and its memory are let go at the idle time."""
    wire = await start(listen='idle_timeout = "30s"')
    client, backend, _ = await wire.asked(GET)
    client.stop_reading()
    backend.say_at_once(OK + b"Content-Length: 40000000\r\n\r\n" + b"x" * 40_000_000)
    await soon(backend.is_stuck())
    wire.let_pass(1.0)
    wire.let_pass(29.0)
    assert wire.sidecar.server_state.connections
    wire.let_pass(32.0)
    await until(lambda: not wire.sidecar.server_state.connections)
    assert await backend.ending() in ("fin", "reset")


async def test_a_slow_reader_stops_its_backend(wire: Wire) -> None:
    """What is on its way is bounded: the backend has to wait, and every byte arrives in the end."""
    size = 32 * 1024 * 1024
    client, backend, _ = await wire.asked(GET)
    client.stop_reading()
    backend.say_at_once(OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    await soon(backend.is_stuck())
    assert backend.unsent > size // 4
    client.read_again()
    assert len((await client.message()).body) == size


async def test_the_pause_of_a_slow_reader_is_not_its_backends(start: Start) -> None:
    """The sidecar does not read what the client does not take: that is no silence of the backend.

    Nor is it when the sidecar reads on, before the first byte has come.
    """
    wire = await start(defaults='idle_timeout = "20s"')
    size = 32 * 1024 * 1024
    client, backend, _ = await wire.asked(GET)
    client.stop_reading()
    backend.say_at_once(OK + b"Content-Length: %d\r\n\r\n" % size + b"x" * size)
    (pool,) = wire.sidecar._assembly.pools.values()
    (connection,) = pool._all
    await until(lambda: connection.reading_paused)
    pool.sweep(0.0, pool.tick + 21.0)
    assert connection.state is READING
    connection.pace(False)
    pool.sweep(0.0, pool.tick + 1.0)
    assert connection.state is READING
    client.read_again()
    assert len((await client.message()).body) == size


TEN = b"x" * 10
OF_TEN = [b"Content-Length: 10\r\n\r\n" + TEN, b"Transfer-Encoding: chunked\r\n\r\na\r\n" + TEN + b"\r\n0\r\n\r\n"]


@pytest.mark.parametrize("replay_limit", [4, 100], ids=["streamed", "whole"])
async def test_a_body_of_exactly_the_limit_is_taken(start: Start, replay_limit: int) -> None:
    """`max_body` is the size of the largest body; one byte more is refused."""
    route = '[[routes]]\noperation = "up"\nmatch = "POST /up"\nmax_body = 10\nreplay_limit = '
    wire = await start(more=f"{route}{replay_limit}\n")
    for number, body in enumerate(OF_TEN):
        client = await wire.client()
        await client.send(b"POST /up HTTP/1.1\r\nHost: a\r\n" + body)
        await until(lambda: len(wire.backend.lines) > number or len(wire.records) > number)  # noqa: B023 - runs now
        assert len(wire.backend.lines) > number, wire.records
        backend = await wire.backend.connection()
        await backend.message()
        await backend.send(OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi")
        assert (await client.message()).status == 200
    client = await wire.client()
    await client.send(b"POST /up HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n" + TEN + b"x")
    assert (await client.message()).status == 413


async def test_a_slow_backend_stops_its_client(wire: Wire) -> None:
    """As above, upwards."""
    size = 32 * 1024 * 1024
    client = await wire.client()
    client.say_at_once(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
    backend = await wire.backend.connection()
    await backend.head()
    backend.stop_reading()
    client.say_at_once(b"x" * size)
    await soon(client.is_stuck())
    assert client.unsent > size // 4
    backend.read_again()
    assert len(await backend.exactly(size)) == size


async def test_answers_that_nobody_reads_are_not_piled_up(wire: Wire) -> None:
    """A client that pipelines and does not read has its next requests wait."""
    client = await wire.client()
    client.stop_reading()
    client.say_at_once(GET * 200)
    asked, big = 0, OK + b"Content-Length: 60000\r\n\r\n" + b"x" * 60_000
    backend = await wire.backend.connection()
    while asked < 200 and await backend.head_at_once():
        backend.say_at_once(big)
        asked += 1
    assert 0 < asked < 200
    client.read_again()
    for _ in range(asked):
        assert len((await client.message()).body) == 60_000


async def test_pipelined_requests_are_answered_in_order(wire: Wire) -> None:
    """Many at once, one after the other to the backend, each answer in its place."""
    client = await wire.client()
    await client.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(100)))
    backend = await wire.backend.connection()
    for n in range(100):
        assert (await backend.head()).start == b"GET /%d HTTP/1.1" % n
        backend.say_at_once(OK + b"Content-Length: 3\r\n\r\n%03d" % n)
    assert [(await client.message()).body for _ in range(100)] == [b"%03d" % n for n in range(100)]


async def test_pipelined_bodies_do_not_pile_up(wire: Wire) -> None:
    """At most one body waits behind the request under way; the rest stays with the client."""
    client = await wire.client()
    put = b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"y" * 60_000
    client.say_at_once(put * 200)
    backend = await wire.backend.connection()
    assert len((await backend.message()).body) == 60_000
    await soon(client.is_stuck())
    assert client.unsent > 2_000_000
    for _ in range(199):
        backend.say_at_once(HI)
        assert len((await backend.message()).body) == 60_000


async def test_pipelined_heads_do_not_pile_up(wire: Wire) -> None:
    """Heads that are read ahead are bounded in bytes, not only in number; the rest stays with the client."""
    client = await wire.client()
    heads = [b"GET /%d HTTP/1.1\r\nHost: a\r\nX-A: " % n + b"y" * 60_000 + b"\r\n\r\n" for n in range(100)]
    client.say_at_once(b"".join(heads))
    backend = await wire.backend.connection()
    await soon(client.is_stuck())
    assert client.unsent > 1_000_000
    for n in range(100):
        assert (await backend.head()).start == b"GET /%d HTTP/1.1" % n
        backend.say_at_once(HI)


async def test_pipelined_heads_of_short_fields_do_not_pile_up(wire: Wire) -> None:
    """A field of four bytes takes forty times as much in memory: what is read ahead is bounded by that."""
    client = await wire.client()
    fields = b"".join(b"%x:%x\r\n" % (n, n) for n in range(110))
    heads = [b"GET /%d HTTP/1.1\r\nHost: a\r\nX-A: %d\r\n%b\r\n" % (n, n, fields) for n in range(40)]
    client.say_at_once(b"".join(heads))
    backend = await wire.backend.connection()
    (connection,) = wire.sidecar.server_state.connections
    await until(lambda: connection.held > 65_536)
    assert isinstance(connection, ClientConnection)
    assert len(connection.reader.queue) < 10
    for n in range(40):
        assert (await backend.head()).start == b"GET /%d HTTP/1.1" % n
        backend.say_at_once(HI)


@pytest.mark.parametrize("stage", ["waiting", "in_head", "in_body", "in_upload"])
async def test_a_client_that_leaves_is_noticed_at_once(wire: Wire, stage: str) -> None:
    """The backend's connection is closed, and the record says 499 where there was no answer.

    Before: each circuit may have one attempt that goes on without a client, so another request has taken that place.
    """
    probe, _, _ = await wire.asked(GET.replace(b"/x", b"/probe"))
    probe.close()
    await until(lambda: len(wire.sidecar.audit.newest) == 1)
    client = await wire.client()
    if stage == "in_upload":
        await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nabc")
    else:
        await client.send(GET)
    backend = await wire.backend.connection()
    await backend.head()
    if stage == "in_head":
        await backend.send(b"HTTP/1.1 200 O")
    if stage == "in_body":
        await backend.send(OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await client.head()
    client.close()
    assert await backend.ending() in ("fin", "reset")
    await until(lambda: not wire.sidecar.running)
    status = 200 if stage == "in_body" else 499
    assert wire.records[-1]["status"] == status
    assert not wire.sidecar.server_state.connections


async def test_too_many_connections_are_told_so(start: Start) -> None:
    """503, and the connection ends; those that are here go on."""
    wire = await start(listen="max_connections = 1")
    client, backend, _ = await wire.asked(GET)
    other = await wire.client()
    assert (await other.message()).status == 503
    assert await other.rest() == b""
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_so_many_are_told_that_there_is_no_room(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of those that are told is a connection for a while; who comes beyond them is cut, and counted as well."""
    monkeypatch.setattr("proxy.server.server_state.MOST_REFUSED_AT_ONCE", 2)
    wire = await start(listen="max_connections = 1")
    told = [await wire.client() for _ in range(3)]
    await until(lambda: wire.counted('backstay_bad_requests_total{reason="max_connections"} 2.0'))
    assert [(await client.message()).status for client in told[1:]] == [503, 503]
    cut = await wire.client()
    assert await cut.ending() == "reset"
    assert wire.counted('backstay_bad_requests_total{reason="max_connections"} 3.0')


async def test_an_early_answer_to_an_upload_ends_the_connection(wire: Wire) -> None:
    """It arrives whole although the client is still sending."""
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\n\r\nabc")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.message()
    assert (answer.status, answer.get(b"connection"), answer.body) == (413, b"close", b"no")
    client.say_at_once(b"x" * 100_000)
    assert await client.rest() == b""


async def test_events_pass_one_by_one(wire: Wire) -> None:
    """Each is delivered when it comes, for as long as they come; a heartbeat keeps the stream alive."""
    client, backend, _ = await wire.asked(GET.replace(b"\r\n\r\n", b"\r\nAccept: text/event-stream\r\n\r\n"))
    await backend.send(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    await client.head()
    for n in range(5):
        event = b"data: %d\n\n" % n if n % 2 else b":\n\n"
        await backend.send(b"%x\r\n%b\r\n" % (len(event), event))
        heard = b""
        while not heard.endswith(b"\n\n\r\n"):
            heard += await client.some()
        wire.let_pass(50.0 * (n + 1))
    await backend.send(b"0\r\n\r\n")
    assert (await client.some()).endswith(b"0\r\n\r\n")


async def test_a_stream_that_falls_silent_is_cut(start: Start) -> None:
    """Without a heartbeat the idle time ends it, and the client sees that it was not the end."""
    wire = await start(defaults='idle_timeout = "20s"')
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n")
    await client.head()
    await client.exactly(8)
    wire.let_pass(21.0)
    assert await client.ending() in ("fin", "reset")
    assert not client.heard.endswith(b"0\r\n\r\n")


async def test_more_clients_than_begin_in_one_turn_are_all_answered(start: Start) -> None:
    """They come at once. Some wait for their turn: that is no idling, and who leaves meanwhile costs nobody a thing."""
    wire = await start(
        listen='keepalive_timeout = "30s"', defaults='total_timeout = "60s"', upstream='connect_timeout = "30s"'
    )
    clients = [await wire.client() for _ in range(8 * (AT_ONCE // LEAST))]
    for number, client in enumerate(clients):
        client.say_at_once(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
    await until(lambda: wire.sidecar.server_state.turns.waiting > 1)
    wire.let_pass(31.0)
    leaves = next(client for client in reversed(clients))
    leaves.reset()
    staying = [client for client in clients if client is not leaves]
    for _ in staying:
        backend = await wire.backend.connection()
        target = (await backend.head()).start.split(b" ")[1]
        backend.say_at_once(OK + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(target) + target)
    assert [(await client.message()).body for client in staying] == [b"/%d" % number for number in range(len(staying))]
    await until(lambda: wire.sidecar.server_state.begun == len(clients) and wire.sidecar.running == 0)
    await until(lambda: wire.counted('backstay_requests_total{method="GET",outcome="cancelled"'))


KEPT = """
[[routes]]
operation = "load"
match = "GET /x"
reuse = "60s"
"""


async def test_answers_that_are_there_at_once_do_not_pile_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client may ask for a kept answer a hundred times in one segment: what is not written yet stays bounded."""
    size, count, unsent = 50_000, 100, [0]
    flush = ResponseWriter.flush

    def noted(writer: ResponseWriter) -> None:
        unsent.append(len(writer.unsent))
        flush(writer)

    monkeypatch.setattr(ResponseWriter, "flush", noted)
    wire = await start(more=KEPT)
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK + b"Content-Length: %d\r\n\r\n" % size + bytes(size))
    await client.message()
    client.say_at_once(GET * count)
    for _ in range(count):
        assert len((await client.message()).body) == size
    assert size < max(unsent) < 3 * size
    assert len(wire.backend.lines) == 1


async def test_a_used_up_memory_budget_refuses_requests(start: Start) -> None:
    """503 on a connection that was open and on a new one, before the pod would be killed; then all is as before."""
    wire = await start(listen='max_memory = "1000GiB"')
    client, backend, _ = await wire.asked(GET)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await client.message()).status == 200
    wire.sidecar._memory = MemoryBudget(1, lambda: None)
    wire.let_pass(0.0)
    await client.send(GET.replace(b"\r\n\r\n", b"\r\nX-Correlation-ID: mine-1\r\n\r\n"))
    told = await client.message()
    assert (told.get(b"x-correlation-id"), orjson.loads(told.body)["correlation_id"]) == (b"mine-1", "mine-1")
    assert [orjson.loads(line).get("correlation_id") for line in wire.sidecar.audit.newest][-1] == "mine-1"
    late = await wire.client()
    assert [(answer.status, answer.get(b"retry-after")) for answer in (told, await late.message())] == [(503, b"1")] * 2
    assert wire.counted('backstay_bad_requests_total{reason="max_memory"} 2.0')
    wire.sidecar._memory = MemoryBudget(None, lambda: None)
    wire.let_pass(0.0)
    again = await wire.client()
    await again.send(GET)
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await again.message()).status == 200
    assert len(wire.backend.lines) == 1


UNFINISHED = {
    "head": b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"h" * 50_000,
    "upload": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n" + b"u" * 50_000,
}


@pytest.mark.parametrize("kind", UNFINISHED)
async def test_where_memory_is_scarce_the_heaviest_connections_give_way(start: Start, kind: str) -> None:
    """What nobody has finished is refused with 503 before the budget is used up; all others are served as ever."""
    wire = await start(listen='max_memory = "1000GiB"')
    light, backend, _ = await wire.asked(GET)
    heavy = [await wire.client() for _ in range(8)]
    for client in heavy:
        await client.send(UNFINISHED[kind])
    server_state = wire.sidecar.server_state
    await until(lambda: sum(connection.held >= 50_000 for connection in server_state.connections) == len(heavy))
    wire.sidecar._memory = MemoryBudget(2_000_000, lambda: None, server_state.relieve, lambda: 1_300_000)
    wire.let_pass(0.0)
    refused = wire.counted('backstay_bad_requests_total{reason="max_memory"}')
    assert refused
    assert sum(connection.held for connection in server_state.connections) <= 200_000
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await light.message()).status == 200


async def test_where_memory_is_scarce_fewer_answers_are_kept(start: Start) -> None:
    """Connections may hold 8 % of the budget, and kept answers half of that."""
    more = '[[routes]]\noperation = "kept"\nmatch = "GET /kept/{n}"\nreuse = "60s"'
    wire = await start(listen='max_memory = "1000GiB"', more=more)
    client = await wire.client()
    assert isinstance(wire.sidecar._bundle, MemoryBundle)
    kept = wire.sidecar._bundle._memory
    for number in range(4):
        await client.send(b"GET /kept/%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        await until(lambda: bool(wire.backend.lines))
        (backend,) = wire.backend.lines
        await backend.head()
        await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n" + bytes(30_000))
        assert (await client.message()).status == 200
    await until(lambda: kept._responses.size > 120_000)
    wire.sidecar._memory = MemoryBudget(1_400_000, lambda: None, wire.sidecar._relieve, lambda: 1_000_000)
    wire.let_pass(0.0)
    assert 0 < kept._responses.size <= 70_000


async def test_a_connection_that_was_answered_holds_nothing(wire: Wire) -> None:
    """What its last head weighed is no reason to let it go."""
    client, backend, _ = await wire.asked(GET[:-2] + b"X-Long: " + b"h" * 50_000 + b"\r\n\r\n")
    (connection,) = wire.sidecar.server_state.connections
    assert connection.held > 50_000
    await backend.send(HI)
    assert (await client.message()).status == 200
    assert connection.held == 0


async def test_a_reader_that_takes_nothing_gives_way(start: Start) -> None:
    """What waits to be taken counts as held, and an answer that has begun is cut."""
    wire = await start(listen='max_memory = "1000GiB"')
    client, backend, _ = await wire.asked(GET)
    client.stop_reading()
    backend.say_at_once(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 30_000_000)
    server_state = wire.sidecar.server_state
    (connection,) = server_state.connections
    assert isinstance(connection, ClientConnection)
    await until(lambda: connection.writer.flow.writable is not None)
    wire.sidecar._memory = MemoryBudget(400_000, lambda: None, server_state.relieve, lambda: 390_000)
    wire.let_pass(0.0)
    await until(lambda: not server_state.connections)
