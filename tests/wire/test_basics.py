"""Everyday HTTP through a real sidecar process: framing, order, waiting, leaving."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.raw import Call, Client, Origin, answer, ask, chunked, request, reset
from tests.e2e.sidecar import Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

LARGE = 200_000  # over the replay limit, and over what an answer may have to be taken whole
PIECES = (b"a" * 1000, b"b" * 2000)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def origin() -> AsyncIterator[Origin]:
    """Run a backend that says back what it got."""
    origin = Origin()
    await origin.start()
    origin.on("/echo", _echo)
    yield origin
    await origin.stop()


async def _echo(call: Call) -> bytes:
    return answer(call.body, X_Got=call.method)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run a sidecar without a configuration."""
    async with sidecar(tmp_path_factory.mktemp("wire"), origin.url) as child:
        yield child


@pytest.mark.parametrize("pieces", [(), (b"small",), PIECES, (b"c" * LARGE,)], ids=["empty", "small", "two", "large"])
async def test_a_chunked_request_stays_chunked(child: Child, origin: Origin, pieces: tuple[bytes, ...]) -> None:
    """The backend gets chunks, no length, and the same bytes, whether the body was buffered or streamed."""
    body = chunked(*pieces)
    got = await ask(child.url, request("POST", "/echo", body, Transfer_Encoding="chunked"))
    call = origin.asked("/echo")[-1]
    assert got.body == call.body == b"".join(pieces)
    assert call.header("transfer-encoding") == "chunked"
    assert "content-length" not in call.headers


@pytest.mark.parametrize("size", [0, 1, LARGE])
async def test_a_request_of_known_length_keeps_it(child: Child, origin: Origin, size: int) -> None:
    """Also a length of nothing is passed on as it was said."""
    got = await ask(child.url, request("PUT", "/echo", b"x" * size))
    call = origin.asked("/echo")[-1]
    assert got.body == call.body == b"x" * size
    assert call.header("content-length") == str(size)
    assert "transfer-encoding" not in call.headers


@pytest.mark.parametrize("pieces", [(), (b"small",), (b"c" * LARGE,)], ids=["empty", "small", "large"])
async def test_a_chunked_answer_stays_chunked_and_keeps_its_trailers(
    child: Child, origin: Origin, pieces: tuple[bytes, ...]
) -> None:
    """The client gets chunks, no length, and the trailer; its connection goes on."""
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(*pieces, trailer=b"X-Sum: 42\r\n")
    origin.on("/chunks", said)
    async with await Client.connect(child.url) as client:
        for _ in range(2):
            got = await client.ask(request("GET", "/chunks"))
            assert got.body == b"".join(pieces)
            assert got.header("transfer-encoding") == "chunked"
            assert "content-length" not in got.headers
            assert got.raw.endswith(b"0\r\nX-Sum: 42\r\n\r\n")


async def test_pipelined_requests_are_answered_in_order(child: Child, origin: Origin) -> None:
    """The slowest comes first and holds back the others; each answer is its own request's."""
    released = asyncio.Event()

    async def slow(call: Call) -> bytes:
        await released.wait()
        return answer(b"slow")

    async def then(call: Call) -> bytes:
        return answer(call.target.encode())

    origin.on("/slow", slow)
    origin.on("/then", then)
    async with await Client.connect(child.url) as client:
        client.send(request("GET", "/slow") + b"".join(request("GET", f"/then?{number}") for number in range(100)))
        await child.until(lambda m: m.total("backstay_flights") == 1)
        released.set()
        assert (await client.answer()).body == b"slow"
        assert [(await client.answer()).body for _ in range(100)] == [b"/then?%d" % number for number in range(100)]


BODILESS = {
    "HEAD": (request("HEAD", "/bodiless"), b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nETag: x\r\n\r\n"),
    "204": (request("DELETE", "/bodiless"), b"HTTP/1.1 204 No Content\r\nETag: x\r\n\r\n"),
    "304": (request("GET", "/bodiless", If_None_Match="x"), b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"),
    "304 with a length": (
        request("GET", "/bodiless", If_None_Match="y"),
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 1234\r\nETag: x\r\n\r\n",
    ),
}


@pytest.mark.parametrize(("sent", "said"), BODILESS.values(), ids=BODILESS.keys())
async def test_an_answer_without_a_body_has_none(child: Child, origin: Origin, sent: bytes, said: bytes) -> None:
    """Its head crosses as it was, a length included, and nobody waits for a body. The client's connection goes on.

    The backend's goes on too, unless a body was announced: it may still come.
    """
    origin.on("/bodiless", said)
    async with await Client.connect(child.url) as client:
        for _ in range(2):
            got = await client.ask(sent)
            assert got.header("etag") == "x"
            assert got.header("content-length") == ("1234" if b"1234" in said else "")
        assert (await client.ask(request("POST", "/echo", b"next"))).body == b"next"
    assert len({call.connection for call in origin.asked("/bodiless")[-2:]}) == (2 if b"1234" in said else 1)


async def test_http_1_0_clients_get_what_they_understand(child: Child, origin: Origin) -> None:
    """No chunks, and the end of the connection is the end of the answer, unless they ask to keep it."""
    origin.on("/chunks", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"d" * LARGE))
    async with await Client.connect(child.url) as client:
        client.send(b"GET /chunks HTTP/1.0\r\nHost: a\r\n\r\n")
        got = await client.answer()
        assert (len(got.body), "transfer-encoding" in got.headers) == (LARGE, False)
        assert await client.rest() == b""
    async with await Client.connect(child.url) as client:
        for _ in range(2):
            client.send(b"POST /echo HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi")
            got = await client.answer()
            assert (got.body, got.header("connection")) == (b"hi", "keep-alive")


async def test_an_http_1_0_backend_is_understood(child: Child, origin: Origin) -> None:
    """What ends with its connection is passed on in chunks, and the client's own connection goes on."""

    async def old(call: Call) -> None:
        call.writer.write(b"HTTP/1.0 200 OK\r\n\r\n" + b"e" * LARGE)
        await call.writer.drain()

    origin.on("/old", old)
    async with await Client.connect(child.url) as client:
        got = await client.ask(request("GET", "/old"))
        assert (got.version, len(got.body)) == ("HTTP/1.1", LARGE)
        assert (await client.ask(request("POST", "/echo", b"next"))).body == b"next"


@pytest.mark.parametrize("size", [1, LARGE])
async def test_a_client_that_waits_for_100_is_told_to_go_on(child: Child, origin: Origin, size: int) -> None:
    """It sends nothing until then; then the body crosses, small or large."""
    sent = request("POST", "/echo", b"x" * size, Expect="100-continue")
    head = sent.removesuffix(b"x" * size)
    async with await Client.connect(child.url) as client:
        client.send(head)
        assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(b"x" * size)
        assert (await client.answer()).body == b"x" * size


async def test_a_client_that_leaves_in_mid_upload_leaves_no_half_request(child: Child, origin: Origin) -> None:
    """The backend sees a broken request, never a short one; the record says 499."""
    before, alone = len(origin.calls), (await child.scrape()).total("backstay_coalesced_total", role="alone")
    origin.on("/upload", answer())
    async with await Client.connect(child.url) as client:
        client.send(request("POST", "/upload", Content_Length="900000", X_Correlation_ID="half-sent") + b"x" * LARGE)
        await child.until(lambda m: m.total("backstay_coalesced_total", role="alone") == alone + 1)
    record = await child.recorded("half-sent")
    assert (record["status"], record["outcome"], len(origin.calls)) == (499, "cancelled", before)


@pytest.mark.parametrize("backend", ["reads on", "hangs up"])
async def test_an_upload_that_the_backend_does_not_want_ends_early(
    origin: Origin, tmp_path: Path, backend: str
) -> None:
    """An answer in mid-upload reaches the client, and a backend that then hangs up leaves no error in the log.

    Whoever hangs up on unread bytes resets. What it said before is read all the same: the answer is never a 502.
    """

    async def answer_early(call: Call) -> None:
        call.writer.write(answer(b"no more", "413 Content Too Large", Connection="close"))
        await call.writer.drain()
        if backend == "reads on":
            await call.reader.read()

    origin.on("/early", answer_early, early=True)
    sent = b"POST /early HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with sidecar(tmp_path, origin.url, upstreams__sessions__breaker__failure_threshold="100") as child:
        for _ in range(10):
            async with await Client.connect(child.url) as client:
                client.send(sent + b"%x\r\n%b\r\n" % (3 * LARGE, b"x" * 3 * LARGE) * 10)
                got = await client.answer()
                assert (got.status, got.body, got.header("connection")) == (413, b"no more", "close")
        assert await child.settled()
        assert "Traceback" not in child.log
    assert {(record["status"], record["outcome"]) for record in child.records()} == {(413, "rejected")}


@pytest.mark.parametrize("ending", ["end", "reset"])
async def test_a_stale_pooled_connection_costs_a_read_nothing(origin: Origin, tmp_path: Path, ending: str) -> None:
    """The backend closed an idle connection just as a read took it: one attempt in the record, and the answer."""

    async def hang_up_on_the_next(call: Call) -> None:
        call.writer.write(answer(b"first"))
        await call.reader.readuntil(b"\r\n\r\n")
        if ending == "reset":
            reset(call.writer)

    async with sidecar(tmp_path, origin.url) as child, await Client.connect(child.url) as client:
        origin.on("/stale", hang_up_on_the_next)
        assert (await client.ask(request("GET", "/stale"))).body == b"first"
        origin.on("/stale", answer(b"second"))
        got = await client.ask(request("GET", "/stale?again"))
        assert (got.status, got.body) == (200, b"second")
    assert [[attempt["status"] for attempt in record["attempts"]] for record in child.records()] == [[200], [200]]
