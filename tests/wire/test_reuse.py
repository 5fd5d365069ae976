"""A backend connection on which data may still arrive carries no other request (RFC 9112 section 9.3)."""

import pytest

from proxy.upstream.upstream_connection import UpstreamConnection
from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
UNREQUESTED = OK + b"Content-Length: 4\r\nSet-Cookie: sid=other\r\n\r\nEVIL"
NEXT = b"PUT /mine HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"

ANNOUNCED: dict[str, tuple[bytes, bytes]] = {
    "head_with_a_length": (b"HEAD", OK + b"Content-Length: 85\r\n\r\n"),
    "head_with_chunks": (b"HEAD", OK + b"Transfer-Encoding: chunked\r\n\r\n"),
    "204_with_a_length": (b"GET", b"HTTP/1.1 204 No Content\r\nContent-Length: 85\r\n\r\n"),
    "204_with_chunks": (b"OPTIONS", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "304_with_a_length": (b"GET", b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 85\r\n\r\n"),
    "304_with_chunks": (b"GET", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "interim_with_a_length": (b"GET", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 85\r\n\r\n" + HI),
    "interim_that_closes": (b"GET", b"HTTP/1.1 103 Early Hints\r\nConnection: close\r\n\r\n" + HI),
    "old_and_undecided": (b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\nContent-Length: 2\r\n\r\nhi"),
    "surplus_after_a_length": (b"GET", HI + b"\r\n"),
    "surplus_after_chunks": (b"GET", OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n\r\n"),
    "surplus_after_nothing": (b"DELETE", b"HTTP/1.1 204 No Content\r\n\r\nEVIL"),
}


@pytest.mark.parametrize("name", ANNOUNCED)
async def test_what_may_be_followed_by_more_ends_its_connection(wire: Wire, name: str) -> None:
    """The answer crosses, and the next request goes out on another connection, whatever still comes on the first."""
    method, answer = ANNOUNCED[name]
    client, backend, _ = await wire.asked(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(answer)
    if answer.startswith(b"HTTP/1.1 103"):
        assert (await client.head()).status == 103
    assert (await client.message(to_head=method == b"HEAD")).body in (b"", b"hi", b"2\r\nhi\r\n0\r\n\r\n")
    assert await backend.ending() in ("fin", "reset")
    await goes_elsewhere(wire, client)


async def goes_elsewhere(wire: Wire, client: Line) -> None:
    """Check that the client's next request is answered, and by a connection that is new."""
    await client.send(NEXT)
    fresh = await wire.backend.connection()
    assert (await fresh.head()).start.startswith(b"PUT /mine")
    await fresh.send(OK + b"Content-Length: 5\r\n\r\nright")
    assert (await client.message()).body == b"right"
    assert b"EVIL" not in client.heard


@pytest.mark.parametrize("stray", [UNREQUESTED, b"HTTP/1.1 103 Early Hints\r\n\r\n", b"\r\n", b"0\r\n\r\n"])
async def test_what_comes_when_nobody_asked_ends_the_connection(wire: Wire, stray: bytes) -> None:
    """An idle connection has nothing to say, an interim answer included."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(HI)
    await client.message()
    await backend.send(stray)
    assert await backend.ending() in ("fin", "reset")
    await goes_elsewhere(wire, client)


@pytest.mark.parametrize("gone", [False, True], ids=["stray", "lost"])
async def test_what_comes_before_the_request_is_written_is_no_answer_to_it(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, gone: bool
) -> None:
    """Between taking a connection and writing to it: an unsafe request goes out too, for nothing of it was sent."""
    flush = UpstreamConnection.flush

    def too_late(connection: UpstreamConnection) -> None:
        monkeypatch.setattr(UpstreamConnection, "flush", flush)
        if gone:
            connection.eof_received()
        else:
            connection.data_received(UNREQUESTED)
        connection.flush()

    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(HI)
    await client.message()
    monkeypatch.setattr(UpstreamConnection, "flush", too_late)
    await goes_elsewhere(wire, client)
    assert backend.heard.count(b"HTTP/1.1\r\n") == 1
    assert [attempt["status"] for attempt in wire.records[-1]["attempts"]] == [200]


@pytest.mark.parametrize("finishes", [False, True], ids=["unfinished", "finished"])
async def test_an_answer_before_the_upload_s_end_ends_the_connection(start: Start, finishes: bool) -> None:
    """It is not used again, though the client may send the rest while the answer's body still comes."""
    wire = await start(defaults='replay_limit = "3"')
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nabcd")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.receives(b"abcd")
    await backend.send(OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    await client.head()
    if finishes:
        await client.send(b"efgh")
        await backend.receives(b"efgh")
    await backend.send(b"0\r\n\r\n")
    assert await client.chunks() == b"2\r\nhi\r\n0\r\n\r\n"
    assert await backend.ending() in ("fin", "reset")
    await goes_elsewhere(wire, await wire.client())


@pytest.mark.parametrize("size", [5000, 100_000], ids=["kept", "streamed"])
@pytest.mark.parametrize(("status", "again"), [(200, True), (302, False), (401, False), (413, False)])
async def test_a_refused_upload_ends_the_connection(wire: Wire, size: int, status: int, again: bool) -> None:
    """All of it is written, but whether the backend read it nobody knows: where it did not, a reset follows."""
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))
    backend = await wire.backend.connection()
    await backend.message()
    await backend.send(b"HTTP/1.1 %d So\r\nContent-Length: 2\r\n\r\nhi" % status)
    assert (await client.message()).body == b"hi"
    if again:
        await client.send(NEXT)
        assert (await backend.head()).start.startswith(b"PUT /mine")
    else:
        assert await backend.ending() in ("fin", "reset")
        await goes_elsewhere(wire, client)
