"""Field lines are forwarded byte for byte, each leg has its own framing, and a partial message never looks complete."""

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n"
OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
LARGE = b"0123456789abcdef" * 16_384  # 256 KiB: streamed in both directions

ODD_LINES = [
    b"X-Case: One", b"x-CASE: two", b"X-Raw: caf\xe9 \xff\xfe", b"X-Quote: \"a\\\"b\"", b"X-Empty: ", b"Cookie: a=1",
    b"X-Long: " + b"y" * 4000, b"Cookie: b=2", b"!#$%&'*+-.^_`|~0: token", b"Accept-Encoding: br;q=1.0, gzip;q=0.8",
]  # fmt: skip


async def test_request_lines_cross_in_order_and_nothing_is_invented(wire: Wire) -> None:
    """Case, order, duplicates and raw bytes are kept; only the documented fields are added, behind them."""
    _, _, asked = await wire.asked(GET + b"".join(line + b"\r\n" for line in ODD_LINES) + b"\r\n")
    assert asked.lines[: 1 + len(ODD_LINES)] == [b"Host: a", *ODD_LINES]
    added = {line.split(b":")[0] for line in asked.lines[1 + len(ODD_LINES) :]}
    assert added == {
        b"Via", b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"X-Correlation-ID",
        b"X-Request-Deadline-Ms",
    }  # fmt: skip


async def test_answer_lines_cross_in_order_and_nothing_is_invented(wire: Wire) -> None:
    """Five Set-Cookie lines arrive as five, the reason and the Date are the backend's, and there is no Server."""
    lines = [*ODD_LINES, b"Date: today", *(b"Set-Cookie: c%d=%d; Path=/" % (n, n) for n in range(5))]
    client, backend, _ = await wire.asked(GET + b"\r\n")
    await backend.send(b"HTTP/1.1 207 Sch\xf6n so\r\n" + b"\r\n".join(lines) + b"\r\nContent-Length: 2\r\n\r\nhi")
    answer = await client.message()
    assert answer.start == b"HTTP/1.1 207 Sch\xf6n so"
    assert answer.lines[: len(lines) + 1] == [*lines, b"Content-Length: 2"]
    assert {line.split(b":")[0] for line in answer.lines[len(lines) + 1 :]} == {b"X-Correlation-ID", b"Server-Timing"}


async def test_a_date_is_added_only_where_there_is_none(wire: Wire) -> None:
    """RFC 9110 section 6.6.1: a recipient with a clock adds what the origin left out."""
    client, backend, _ = await wire.asked(GET + b"\r\n")
    await backend.send(HI)
    assert (await client.message()).get(b"date") is not None


async def test_hop_by_hop_fields_stay_and_protected_ones_cannot_be_stripped(wire: Wire) -> None:
    """What Connection lists is removed both ways, but nobody can have Authorization or Host removed that way."""
    client, backend, asked = await wire.asked(
        GET + b"Connection: X-Hop, Authorization, host, content-type, x-forwarded-for, x-forwarded-user\r\n"
        b"Connection: X-Other\r\nX-Hop: 1\r\nX-Other: 2\r\nX-Forwarded-User: anna\r\n"
        b"Authorization: Bearer t\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\n"
        b"Proxy-Connection: keep-alive\r\nContent-Type: x/y\r\n\r\n"
    )
    assert asked.get(b"authorization") == b"Bearer t"
    assert asked.get(b"host") == b"a"
    assert asked.get(b"x-forwarded-user") == b"anna"
    assert asked.get(b"content-type") == b"x/y"
    for name in (b"connection", b"x-hop", b"x-other", b"keep-alive", b"te", b"proxy-connection"):
        assert asked.get(name) is None
    await backend.send(
        OK + b"Connection: X-Hop, Set-Cookie\r\nX-Hop: 1\r\nSet-Cookie: a=1\r\nKeep-Alive: timeout=5\r\n"
        b"Content-Length: 2\r\n\r\nhi"
    )
    answer = await client.message()
    assert answer.get(b"set-cookie") == b"a=1"
    assert (answer.get(b"x-hop"), answer.get(b"keep-alive"), answer.get(b"connection")) == (None, None, None)


async def test_an_absolute_target_names_the_host(wire: Wire) -> None:
    """It becomes origin form, and its authority replaces the Host field (RFC 9112 section 3.2.2)."""
    _, _, asked = await wire.asked(b"GET http://shop.example:81/x?y HTTP/1.1\r\nHost: other.example\r\n\r\n")
    assert asked.start == b"GET /x?y HTTP/1.1"
    assert asked.all(b"host") == [b"shop.example:81"]


async def test_an_absolute_target_without_a_path_is_the_root(wire: Wire) -> None:
    """RFC 9112 section 3.2.1: an empty path goes out as a slash."""
    _, _, asked = await wire.asked(b"GET http://shop.example?q=1 HTTP/1.1\r\nHost: shop.example\r\n\r\n")
    assert asked.start == b"GET /?q=1 HTTP/1.1"


async def test_options_for_the_whole_server_goes_to_it(wire: Wire) -> None:
    """The asterisk is a target as any other."""
    _, _, asked = await wire.asked(b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
    assert asked.start == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["empty", "small", "large"])
async def test_a_length_stays_a_length(wire: Wire, body: bytes) -> None:
    """Both ways, whatever the size; `0` stays `0`."""
    client = await wire.client()
    client.say_at_once(b"PUT /x HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert asked.get(b"content-length") == b"%d" % len(body)
    assert asked.get(b"transfer-encoding") is None
    assert asked.body == body
    backend.say_at_once(OK + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    answer = await client.message()
    assert answer.get(b"content-length") == b"%d" % len(body)
    assert answer.body == body


CHUNKS = b"3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-Sum: 5\r\nContent-Length: 7\r\nX-Forwarded-User: anna\r\n\r\n"


async def test_chunks_stay_chunks_and_trailers_cross(wire: Wire) -> None:
    """Extensions end here, and so do trailers that would frame or route (RFC 9110 section 6.5.1)."""
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS)
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert asked.get(b"content-length") is None
    assert asked.body == b"5\r\nabcde\r\n0\r\nX-Sum: 5\r\n\r\n"
    await backend.send(OK + b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n" + CHUNKS)
    answer = await client.message()
    assert answer.get(b"content-length") is None
    assert answer.body.endswith(b"0\r\nX-Sum: 5\r\n\r\n")
    assert answer.body.startswith((b"5\r\nabcde\r\n", b"3\r\nabc\r\n"))


@pytest.mark.parametrize("body", [b"", b"small"], ids=["empty", "small"])
async def test_an_old_client_gets_no_chunks(wire: Wire, body: bytes) -> None:
    """HTTP/1.0 knows none; a body that is whole here gets a length, and no connection is kept unless it was asked."""
    client = await wire.client()
    await client.send(b"GET /x HTTP/1.0\r\n\r\n")
    backend = await wire.backend.connection()
    asked = await backend.head()
    assert asked.start == b"GET /x HTTP/1.1"
    assert asked.get(b"host") == b"127.0.0.1:%d" % wire.backend.port
    await backend.send(OK + b"Transfer-Encoding: chunked\r\n\r\n" + (b"5\r\nsmall\r\n" if body else b"") + b"0\r\n\r\n")
    answer = await client.message()
    assert answer.get(b"transfer-encoding") is None
    assert answer.body == body
    assert await client.rest() == b""


async def test_an_old_client_that_asks_for_it_keeps_its_connection(wire: Wire) -> None:
    """`Connection: keep-alive` of HTTP/1.0 is answered with the same."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    await backend.send(HI)
    assert (await client.message()).get(b"connection") == b"keep-alive"
    await client.send(b"GET /y HTTP/1.0\r\n\r\n")
    assert (await backend.head()).start == b"GET /y HTTP/1.1"


async def test_an_old_backend_s_answer_ends_with_its_connection(wire: Wire) -> None:
    """HTTP/1.0 without a length: the body is what comes until the end, and the connection is not used again."""
    client, backend, _ = await wire.asked(GET + b"\r\n")
    await backend.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello")
    backend.finish()
    answer = await client.message()
    assert answer.body in (b"hello", b"5\r\nhello\r\n0\r\n\r\n")
    await client.send(GET + b"\r\n")
    assert (await (await wire.backend.connection()).head()).start == b"GET /x HTTP/1.1"


BODILESS = [
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n", [b"999"]),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", []),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 999\r\nETag: x\r\n\r\n", [b"999"]),
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", []),
    (b"DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", []),
]


@pytest.mark.parametrize(("method", "said", "length"), BODILESS)
async def test_what_has_no_body_gets_none(wire: Wire, method: bytes, said: bytes, length: list[bytes]) -> None:
    """Answers to HEAD, 204 and 304 carry not one byte, and keep their length (but a 204 may have none).

    The backend's connection goes on, unless a body was announced.
    """
    client, backend, _ = await wire.asked(method + b" /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(said)
    answer = await client.message(to_head=True)
    assert answer.all(b"content-length") == length
    await client.send(GET + b"\r\n")
    if b": 999" in said or b"chunked" in said:
        backend = await wire.backend.connection()
    assert (await backend.head()).start == b"GET /x HTTP/1.1"
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_an_encoding_is_nobody_s_business(wire: Wire) -> None:
    """Compressed bodies cross as they are, both ways, even if they are not what they say."""
    client = await wire.client()
    await client.send(
        b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x00z"
    )
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"content-encoding"), asked.body) == (b"gzip", b"\x1f\x8b\x00z")
    await backend.send(OK + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nnot")
    answer = await client.message()
    assert (answer.get(b"content-encoding"), answer.body) == (b"br", b"not")


@pytest.mark.parametrize("how", ["finish", "reset"])
@pytest.mark.parametrize(
    "begun",
    [
        OK + b"Content-Length: 99\r\n\r\nhalf",
        OK + b"Content-Length: 999999\r\n\r\n" + b"half" * 25_000,
        OK + b"Transfer-Encoding: chunked\r\n\r\n63\r\nhalf",
        OK + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ],
    ids=["length", "large", "in_chunk", "between_chunks"],
)
async def test_what_breaks_off_never_looks_whole(wire: Wire, begun: bytes, how: str) -> None:
    """The client sees the connection end before the length, or before the last chunk."""
    client, backend, _ = await wire.asked(b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await backend.send(begun)
    getattr(backend, how)()
    assert await client.ending() in ("fin", "reset")
    assert not client.heard.endswith(b"0\r\n\r\n")
    assert b"HTTP/1.1 200 OK" in client.heard or b"HTTP/1.1 502" in client.heard


async def test_an_end_by_close_that_is_a_reset_is_passed_on_as_one(wire: Wire) -> None:
    """Where the end of the connection is the end of the body, a clean end would lie."""
    client = await wire.client()
    await client.send(b"GET /x HTTP/1.0\r\n\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(OK + b"Content-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    assert (await client.head()).status == 200
    await client.receives(b"data: 1\n\n")
    backend.reset()
    assert await client.ending() == "reset"


async def test_a_client_that_breaks_off_its_upload_is_not_taken_at_its_word(start: Start) -> None:
    """The backend sees a cut connection, never a clean end, of a body that was streamed to it."""
    wire = await start(defaults='replay_limit = "4"')
    client = await wire.client()
    await client.send(b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.receives(b"6\r\nabcdef\r\n")
    client.close()
    assert await backend.ending() in ("fin", "reset")
    assert not backend.heard.endswith(b"0\r\n\r\n")
