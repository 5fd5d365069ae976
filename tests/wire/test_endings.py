"""Every exchange ends with a response or a visible truncation, and with one true record."""

import asyncio

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire, soon, turn, until

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n"
STREAMED = 'replay_limit = "3"'
FRAMED = [b"Content-Length: 70100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]


async def ended(wire: Wire) -> dict[str, object]:
    """Return the only record, once everything has come to rest."""
    await until(lambda: not wire.sidecar.running and not wire.sidecar.server_state.connections)
    (record,) = wire.records
    return {name: record[name] for name in ("operation", "status", "outcome", "bytes_out")}


async def test_what_is_open_and_under_way_is_counted(start: Start) -> None:
    """A connection without a request is open; a request is under way until it has its record."""
    wire = await start()
    await wire.client()
    client, backend, _ = await wire.asked(GET)
    await until(lambda: wire.counted("backstay_connections 2.0"))
    assert wire.counted("backstay_requests_in_flight 1.0")
    await backend.send(HI)
    await client.message()
    client.close()
    await until(lambda: wire.counted("backstay_connections 1.0"))
    assert wire.counted("backstay_requests_in_flight 0.0")


async def uploading(wire: Wire) -> tuple[Line, Line]:
    """Begin an upload that is relayed; return the client's line and the backend's."""
    client = await wire.client()
    await client.send(CHUNKED)
    backend = await wire.backend.connection()
    await backend.head()
    await backend.receives(b"4\r\nabcd\r\n")
    return client, backend


@pytest.mark.parametrize("framing", FRAMED, ids=["length", "chunked"])
@pytest.mark.parametrize("bad", [b"ZZ\r\n", b"3\r\nabcdef\r\n", b"1000000\r\n" + bytes(2000)])
async def test_no_refusal_stands_inside_an_answer(start: Start, framing: bytes, bad: bytes) -> None:
    """The upload turns out bad while its answer streams: before, the refusal's bytes were taken for the answer's."""
    wire = await start(defaults=f"{STREAMED}\nmax_body = 1000")
    client, backend = await uploading(wire)
    said = b"r" * 500
    await backend.send(OK + framing + (said if b"Length" in framing else b"1f4\r\n" + said + b"\r\n"))
    heard = await client.head()
    while client.heard.count(b"r") < 500 + b"".join([heard.start, *heard.lines]).count(b"r"):
        await client.some()
    await client.send(bad)
    assert await client.ending() in ("fin", "reset")
    assert client.heard.count(b"HTTP/1.1 ") == 1
    assert not client.heard.endswith(b"0\r\n\r\n")
    assert await ended(wire) == {"operation": "passthrough", "status": 200, "outcome": "truncated", "bytes_out": 500}
    assert await backend.ending() in ("fin", "reset")


@pytest.mark.parametrize(("bad", "status"), [(b"ZZ\r\n", 400), (b"1000\r\n" + bytes(4096), 413), (b"", 408)])
async def test_a_bad_upload_is_refused_where_no_answer_has_begun(start: Start, bad: bytes, status: int) -> None:
    """The refusal is the exchange's answer, and stands in its record; the backend does not take half for the whole."""
    wire = await start(defaults=f'{STREAMED}\nmax_body = 1000\nidle_timeout = "20s"')
    client, backend = await uploading(wire)
    if bad:
        await client.send(bad)
    else:
        wire.let_pass(21.0)
    assert (await client.message()).status == status
    assert await client.rest() == b""
    client.close()
    assert await backend.ending() in ("fin", "reset")
    record = await ended(wire)
    assert (record["operation"], record["status"], record["outcome"]) == ("passthrough", status, "refused")


async def test_a_stalled_upload_does_not_cut_an_answer_that_goes_on(start: Start) -> None:
    """Who has its answer need not send the rest; as long as the answer moves, it is not cut."""
    wire = await start(defaults=f'{STREAMED}\nidle_timeout = "20s"')
    client, backend = await uploading(wire)
    await backend.send(OK + b"Transfer-Encoding: chunked\r\n\r\n")
    await client.head()
    for n in range(1, 4):
        await backend.send(b"2\r\nhi\r\n")
        await client.receives(b"2\r\nhi\r\n")
        wire.let_pass(15.0 * n)
    await backend.send(b"0\r\n\r\n")
    await client.receives(b"0\r\n\r\n")


async def test_a_backend_that_reads_no_upload_is_given_up(start: Start) -> None:
    """The client is told 504 once nothing was taken for the route's idle time; before, it waited for ever."""
    wire = await start(more='[[routes]]\noperation = "up"\nmatch = "PUT /up"\nidle_timeout = "5s"\n')
    client = await wire.client()
    client.say_at_once(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 40000000\r\n\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    backend.stop_reading()
    client.say_at_once(bytes(40_000_000))
    await soon(client.is_stuck())
    wire.let_pass(1.0)
    wire.let_pass(5.0)
    assert client.heard == b""
    wire.let_pass(7.0)
    answer = await client.message()
    assert (answer.status, answer.get(b"connection")) == (504, b"close")
    client.close()
    record = await ended(wire)
    assert (record["status"], record["outcome"]) == (504, "http_response_timeout")


@pytest.mark.parametrize(("path", "lives"), [(b"/short", False), (b"/long", True)])
async def test_a_route_s_own_idle_time_holds_for_answers(start: Start, path: bytes, lives: bool) -> None:
    """Shorter or longer than that of the defaults, which was the only one towards the backend before."""
    routes = "".join(
        f'[[routes]]\noperation = "{name}"\nmatch = "GET /{name}"\nidle_timeout = "{seconds}s"\n'
        for name, seconds in (("short", 5), ("long", 50))
    )
    wire = await start(defaults='idle_timeout = "20s"', more=routes)
    client, backend, _ = await wire.asked(GET.replace(b"/x", path))
    await backend.send(OK + b"Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n:\n\n\r\n")
    await client.head()
    await client.exactly(8)
    wire.let_pass(6.0)
    wire.let_pass(30.0)
    await backend.send(b"0\r\n\r\n")
    assert (await client.rest_or_cut()).endswith(b"0\r\n\r\n") is lives


@pytest.mark.parametrize(("settings", "ends"), [("", True), ('idle_timeout = "40s"', False)], ids=["listener", "route"])
async def test_the_listener_s_idle_time_holds_where_no_route_says_another(
    start: Start, settings: str, ends: bool
) -> None:
    """A body that stops: before, `listen.idle_timeout` was for answers alone."""
    wire = await start(listen='idle_timeout = "20s"', defaults=settings)
    client = await wire.client()
    await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    await until(lambda: bool(wire.sidecar.server_state.connections))
    wire.let_pass(21.0)
    if not ends:
        assert client.heard == b""
        wire.let_pass(41.0)
    assert (await client.message()).status == 408


async def test_a_client_that_takes_nothing_is_cut_and_the_record_says_so(start: Start) -> None:
    """The sidecar ended it: the answer is truncated, and not that the client left."""
    wire = await start(more='[[routes]]\noperation = "get"\nmatch = "GET /x"\nidle_timeout = "5s"\n')
    client, backend, _ = await wire.asked(GET)
    client.stop_reading()
    backend.say_at_once(OK + b"Content-Length: 40000000\r\n\r\n" + bytes(40_000_000))
    await soon(backend.is_stuck())
    wire.let_pass(1.0)
    wire.let_pass(5.0)
    assert wire.sidecar.server_state.connections
    wire.let_pass(7.0)
    record = await ended(wire)
    assert (record["status"], record["outcome"]) == (200, "truncated")
    assert 0 < int(str(record["bytes_out"])) < 40_000_000
    assert await backend.ending() in ("fin", "reset")


async def test_a_client_that_leaves_in_a_body_that_is_kept_leaves_a_record(wire: Wire) -> None:
    """Nobody was asked yet: 499 all the same."""
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab")
    await until(lambda: bool(wire.sidecar.server_state.connections))
    client.close()
    await until(lambda: bool(wire.records))
    assert await ended(wire) == {"operation": "passthrough", "status": 499, "outcome": "cancelled", "bytes_out": 0}


async def test_a_client_that_leaves_in_mid_answer_is_recorded_with_what_it_was_sent(wire: Wire) -> None:
    """Before, the record said that nothing had gone out."""
    client, backend, _ = await wire.asked(GET)
    await backend.send(OK + b"Content-Length: 100000\r\n\r\npart")
    await client.head()
    await client.receives(b"part")
    client.close()
    assert await backend.ending() in ("fin", "reset")
    assert await ended(wire) == {"operation": "passthrough", "status": 200, "outcome": "cancelled", "bytes_out": 4}


LAST = [GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"), b"GET /x HTTP/1.0\r\n\r\n"]


@pytest.mark.parametrize("first", LAST, ids=["close", "old"])
async def test_nothing_is_asked_after_the_last_request(wire: Wire, first: bytes) -> None:
    """What a client sends after it said that it closes is dropped (RFC 9112 section 9.6), and its answer arrives."""
    client, backend, _ = await wire.asked(first + GET.replace(b"/x", b"/smuggled"))
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    client.say_at_once(GET.replace(b"/x", b"/smuggled"))
    assert await client.rest() == b""
    assert all(b"smuggled" not in line.heard for line in wire.backend.lines)
    assert len(wire.records) == 1


async def test_what_follows_a_refused_body_is_no_request(wire: Wire) -> None:
    """The refusal waits for the answers before it; before, what came meanwhile was read as requests."""
    client, backend, _ = await wire.asked(GET)
    await client.send(b"POST /y HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
    await client.send(GET.replace(b"/x", b"/smuggled"))
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    assert (await client.message()).status == 400
    assert await client.rest() == b""
    assert all(b"smuggled" not in line.heard for line in wire.backend.lines)


async def test_an_upload_ends_with_its_connection(start: Start) -> None:
    """The backend hangs up while the client says nothing: no task is left that waits for the client."""
    wire = await start(defaults=STREAMED)
    client, backend = await uploading(wire)
    backend.reset()
    assert (await client.message()).status == 502
    for _ in range(100):
        await turn()
    left = [task for task in asyncio.all_tasks() if "_send_body" in repr(task.get_coro())]
    assert left == []
