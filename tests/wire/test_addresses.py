"""Several addresses of one backend, and stale connections: each address is judged by itself."""

import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from tests.wire.conftest import Start
from tests.wire.kit import Backend, Wire

GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
UPLOAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CLOSED = 'backstay_circuit_state{circuit="backend"} 0.0'
ONE = "breaker = { failure_threshold = 1 }"  # one failure opens the circuit


@pytest.fixture
def dead() -> Iterator[list[str]]:
    """Return two addresses where nobody listens, and nobody else will."""
    taken = [socket.socket() for _ in range(2)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    yield [f"http://127.0.0.1:{one.getsockname()[1]}" for one in taken]
    for one in taken:
        one.close()


async def put_before(wire: Wire, addresses: list[str]) -> None:
    """Give the upstream these addresses before its own."""
    upstream = wire.sidecar.settings.upstreams["backend"]
    changed = {"backend": upstream.model_copy(update={"url": (*addresses, *upstream.url)})}
    await wire.sidecar.reload(lambda: wire.sidecar.settings.model_copy(update={"upstreams": changed}))


async def test_an_address_that_refuses_costs_neither_an_attempt_nor_the_circuit(start: Start, dead: list[str]) -> None:
    """Two addresses refuse, the third answers: every request is answered in its first attempt, a write too."""
    wire = await start(upstream=ONE)
    await put_before(wire, dead)
    for asking in (GET % 1, POST, GET % 2, POST):
        client, backend, asked = await wire.asked(asking)
        assert asked.get(b"x-attempt-count") is None
        await backend.send(HI)
        assert (await client.message()).status == 200
        backend.close()
    assert wire.counted(CLOSED)


async def test_a_circuit_that_opens_says_why_and_where(start: Start, dead: list[str]) -> None:
    """The log names the last error with its address, for one address and for several."""
    wire = await start(upstream=ONE)
    upstream = wire.sidecar.settings.upstreams["backend"]
    changed = {"backend": upstream.model_copy(update={"url": tuple(dead)})}
    await wire.sidecar.reload(lambda: wire.sidecar.settings.model_copy(update={"upstreams": changed}))
    with capture_logs() as logs:
        client = await wire.client()
        await client.send(POST)
        assert (await client.message()).status == 502
    (opened,) = [log for log in logs if log["event"] == "circuit"]
    assert opened["to"] == "OPEN"
    error, _, address = opened["cause"].partition(" at ")
    assert error == "connection_refused"
    assert f"http://{address}" in dead
    (failure,) = [log for log in logs if log["event"] == "failure" and log["error"] == error]
    assert failure["address"] == address


async def test_an_upload_goes_on_to_the_address_that_answers(start: Start, dead: list[str]) -> None:
    """A body that streams can be sent once only; where nothing was sent, it still can be."""
    wire = await start(upstream=ONE)
    await put_before(wire, dead)
    client, backend, _ = await wire.asked(UPLOAD)
    await client.send(b"x" * 100_000)
    assert await backend.exactly(100_000) == b"x" * 100_000
    await backend.send(HI)
    assert (await client.message()).status == 200


DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 0\r\n\r\n"


async def test_an_address_that_answers_503_is_judged_by_itself(start: Start) -> None:
    """One address fails, the other has not: the circuit waits for what that one says."""
    wire = await start(upstream=ONE, defaults="retry = { max_retries = 0 }")
    other = await Backend(split=wire.split).start()
    await put_before(wire, [f"http://127.0.0.1:{other.port}"])
    for backend, closed in ((other, True), (wire.backend, False)):
        client = await wire.client()
        await client.send(GET % 1)
        line = await backend.connection()
        await line.head()
        await line.send(DOWN)
        assert (await client.message()).status == 503
        assert wire.counted(CLOSED) is closed
    await other.close()


async def test_the_circuit_opens_when_no_address_is_left(start: Start, dead: list[str]) -> None:
    """All refuse: that is the service's failure, and the first one counts."""
    wire = await start(upstream=ONE, defaults="retry = { max_retries = 0 }")
    upstream = wire.sidecar.settings.upstreams["backend"].model_copy(update={"url": tuple(dead)})
    await wire.sidecar.reload(lambda: wire.sidecar.settings.model_copy(update={"upstreams": {"backend": upstream}}))
    client = await wire.client()
    await client.send(GET % 1)
    answer = await client.message()
    assert (answer.status, answer.get(b"proxy-status")) == (502, b"backstay; error=connection_refused")
    assert not wire.counted(CLOSED)


async def test_a_kept_connection_that_was_stale_is_no_failure(start: Start) -> None:
    """The backend closes an idle connection as a write goes out on it: the client's 502 is nobody's failure."""
    wire = await start(upstream=ONE)
    client, backend, _ = await wire.asked(GET % 1)
    await backend.send(HI)
    await client.message()
    await client.send(POST)
    await backend.head()
    backend.close()
    assert (await client.message()).status == 502
    assert wire.counted(CLOSED)
