"""A backend that dies during a body: the client sees a truncated transfer, or a second attempt's whole response."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import pytest_asyncio

from tests.e2e.raw import BROKEN, Answer, Call, Client, Origin, answer, ask, chunked, request, reset
from tests.e2e.sidecar import EXAMPLE, Child, sidecar

pytestmark = pytest.mark.asyncio(loop_scope="module")

SMALL, LARGE = 100, 300_000
HEADS = {
    "length": b"Content-Length: %d\r\n\r\n",
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n",
    "close": b"Connection: close\r\n\r\n",
}
LAST_CHUNK = chunked()
LIVES = "/api/sessions/lives"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def child(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Child]:
    """Run the example configuration with a circuit that stays closed and no waits to speak of between attempts."""
    patient = {"CIRCUIT_BREAKER_FAILURE_THRESHOLD": "100000", "RETRY_INITIAL_DELAY": "1"}
    folder = tmp_path_factory.mktemp("broken")
    async with sidecar(folder, origin.url, EXAMPLE, **patient, defaults__retry__budget="1") as child:
        yield child


def dying(framing: str, size: int, die: Callable[[Call], Awaitable[None]]) -> Callable[[Call], Awaitable[None]]:
    """Return a backend that promises more than the `size` bytes that it sends, and dies."""
    head = b"HTTP/1.1 200 OK\r\n" + HEADS[framing].replace(b"%d", b"%d" % (size + 1))
    sent = b"x" * size
    if framing == "chunked":
        sent = chunked(sent).removesuffix(LAST_CHUNK) if size else b""

    async def script(call: Call) -> None:
        call.writer.write(head + sent)
        await call.writer.drain()
        await die(call)

    return script


async def by_reset(call: Call) -> None:
    """Die with a reset."""
    reset(call.writer)


async def by_end(call: Call) -> None:
    """Die with an orderly end of the connection, which is none of the body."""


DEATHS = [("length", by_reset), ("length", by_end), ("chunked", by_reset), ("chunked", by_end), ("close", by_reset)]
deaths = pytest.mark.parametrize(("framing", "die"), DEATHS)


@deaths
@pytest.mark.parametrize("size", [0, SMALL, LARGE])
async def test_a_body_that_broke_off_never_looks_whole(
    child: Child, origin: Origin, framing: str, die: Callable[[Call], Awaitable[None]], size: int
) -> None:
    """Of a write that may not be sent again, the client gets what there is, and a transfer that visibly broke."""
    target = f"/dies/{framing}/{die.__name__}/{size}"
    origin.on(target, dying(framing, size, die))
    async with await Client.connect(child.url) as client:
        client.send(request("POST", target, b"{}", X_Correlation_ID=target.strip("/").replace("/", ".")))
        with pytest.raises(BROKEN):
            await client.answer()
    assert len(origin.asked(target)) == 1
    assert (await child.recorded(target.strip("/").replace("/", ".")))["outcome"] == "truncated"


@deaths
@pytest.mark.parametrize("size", [0, SMALL])
async def test_a_second_attempt_hides_it_where_asking_again_is_safe(
    child: Child, origin: Origin, framing: str, die: Callable[[Call], Awaitable[None]], size: int
) -> None:
    """A small read whose answer broke off at once is asked again, and the client sees the whole answer only."""
    before = len(origin.asked(LIVES))
    origin.on(LIVES, first_dying(dying(framing, size, die), answer(b"whole")))
    got = await ask(child.url, request("GET", LIVES))
    assert (got.status, got.body) == (200, b"whole")
    assert [call.headers.get("x-attempt-count") for call in origin.asked(LIVES)[before:]] == [None, ["2"]]


def first_dying(death: Callable[[Call], Awaitable[None]], then: bytes) -> Callable[[Call], Awaitable[bytes | None]]:
    """Return a backend that dies once."""
    dead = False

    async def script(call: Call) -> bytes | None:
        nonlocal dead
        if dead:
            return then
        dead = True
        await death(call)
        return None

    return script


@deaths
async def test_a_large_read_that_broke_off_is_broken_for_every_caller(
    child: Child, origin: Origin, framing: str, die: Callable[[Call], Awaitable[None]]
) -> None:
    """Once bytes have gone out there is no second attempt: leader and followers all see the transfer break."""
    target, released = f"/api/sessions/{framing}-{die.__name__}", asyncio.Event()
    death, before = dying(framing, LARGE, die), await child.scrape()

    async def all_at_once(call: Call) -> None:
        await released.wait()
        await death(call)

    origin.on(target, all_at_once)
    asking = asyncio.gather(*(ask(child.url, request("GET", target)) for _ in range(5)), return_exceptions=True)
    joined = before.total("backstay_coalesced_total", role="joined")
    await child.until(lambda m: m.total("backstay_coalesced_total", role="joined") == joined + 4)
    released.set()
    assert [isinstance(seen, BROKEN) for seen in await asking] == [True] * 5
    assert len(origin.asked(target)) == 1


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_what_arrived_before_the_death_reaches_the_client(child: Child, origin: Origin, framing: str) -> None:
    """A stream that breaks off late has been relayed up to there, as it came."""
    target = f"/late/{framing}"
    seen = asyncio.Event()

    async def die_when_seen(call: Call) -> None:
        await seen.wait()
        reset(call.writer)

    origin.on(target, dying(framing, LARGE, die_when_seen))
    async with await Client.connect(child.url) as client:
        client.send(request("GET", target))
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        got = await client.reader.readexactly(LARGE)
        assert got.count(b"x") > LARGE - 1000  # the rest are chunk sizes
        seen.set()
        with pytest.raises(BROKEN):
            await client.reader.readexactly(LARGE)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", "connection_terminated"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "http_response_incomplete"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "http_protocol_error"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "http_protocol_error"),
    ],
)
async def test_a_head_that_never_came_is_a_bad_gateway(child: Child, origin: Origin, said: bytes, error: str) -> None:
    """No answer, half a head, or something that is not HTTP: 502, with the reason where a program can read it."""

    async def script(call: Call) -> None:
        call.writer.write(said)

    origin.on("/headless", script)
    got = await ask(child.url, request("POST", "/headless", b"{}"))
    assert got.status == 502
    assert got.header("content-type") == "application/problem+json"
    assert got.header("proxy-status").startswith(f"backstay; error={error}")


async def test_a_bad_chunk_in_a_later_segment_breaks_the_transfer(child: Child, origin: Origin) -> None:
    """Good chunks, then nonsense: the client never sees an end."""

    async def script(call: Call) -> bytes | None:
        good = chunked(b"x" * LARGE).removesuffix(LAST_CHUNK)
        call.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + good)
        await call.writer.drain()
        return b"nonsense\r\n0\r\n\r\n"

    origin.on("/nonsense", script)
    with pytest.raises(BROKEN):
        await ask(child.url, request("GET", "/nonsense"))


async def test_the_sidecar_serves_on_after_all_that(child: Child, origin: Origin) -> None:
    """None of it has left a flight, or a wait, behind."""
    origin.on("/fine", answer(b"fine"))
    got: Answer = await ask(child.url, request("GET", "/fine"))
    assert got.body == b"fine"
    settled = await child.settled()
    assert settled.total("backstay_flight_followers") == 0
