"""Expect and 1xx: 100 is sent by the one that reads the body; other interim responses are forwarded."""

import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire

# a PUT may be sent again on this route, so its body is kept
RESENDS = '[[routes]]\nmatch = "PUT /x"\noperation = "put"\nupstream = "backend"\n'
PUT = b"PUT /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n"
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
ONE = "breaker = { failure_threshold = 1 }"  # one failure opens the circuit
OPEN = 'backstay_circuit_state{circuit="backend"} 2.0'


async def test_a_body_that_is_kept_is_asked_for_by_the_sidecar(start: Start) -> None:
    """The client gets its 100 before the backend hears of the request, and the backend sees no Expect."""
    wire = await start(more=RESENDS)
    client = await wire.client()
    await client.send(PUT + b"Content-Length: 4\r\n\r\n")
    await client.receives(CONTINUE)
    assert wire.backend.lines == []
    await client.send(b"body")
    backend = await wire.backend.connection()
    asked = await backend.message()
    assert (asked.get(b"expect"), asked.body) == (None, b"body")
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_a_body_that_is_streamed_is_asked_for_by_the_backend(start: Start) -> None:
    """Expect goes upstream, and the 100 that comes back is the backend's own."""
    wire = await start(defaults='replay_limit = "3"')
    client = await wire.client()
    await client.send(POST + b"Content-Length: 4\r\n\r\n")
    backend = await wire.backend.connection()
    assert (await backend.head()).get(b"expect") == b"100-continue"
    assert client.heard == b""
    await backend.send(CONTINUE)
    await client.receives(CONTINUE)
    await client.send(b"body")
    await backend.receives(b"body")
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_a_refused_upload_is_never_sent(start: Start) -> None:
    """The backend's final answer comes instead of its 100, and the connection ends with it."""
    wire = await start(defaults='replay_limit = "3"')
    client = await wire.client()
    await client.send(POST + b"Content-Length: 4\r\n\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    await backend.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
    answer = await client.message()
    assert (answer.status, answer.get(b"connection")) == (401, b"close")
    assert await client.rest() == b""


async def test_a_client_that_does_not_wait_is_not_made_to(start: Start) -> None:
    """The body may come with the head; the 100 is said all the same, before the answer."""
    wire = await start(more=RESENDS)
    client = await wire.client()
    await client.send(PUT + b"Content-Length: 4\r\n\r\nbody")
    backend = await wire.backend.connection()
    assert (await backend.message()).body == b"body"
    await backend.send(HI)
    await client.receives(CONTINUE)
    assert (await client.message()).body == b"hi"


async def test_the_100_waits_for_its_turn(start: Start) -> None:
    """In a pipeline it comes after the answers to what was asked before."""
    wire = await start(more=RESENDS)
    client = await wire.client()
    await client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + PUT + b"Content-Length: 4\r\n\r\n")
    backend = await wire.backend.connection()
    await backend.head()
    assert client.heard == b""
    await backend.send(HI)
    assert (await client.message()).body == b"hi"
    await client.receives(CONTINUE)


async def test_early_hints_reach_the_client_that_asked(wire: Wire) -> None:
    """Every interim answer crosses with its fields, in order, before the final one."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n")
    assert (await client.head()).status == 102
    hints = await client.head()
    assert (hints.start, hints.lines) == (b"HTTP/1.1 103 Early Hints", [b"Link: </a>", b"Link: </b>"])
    await backend.send(HI)
    assert (await client.message()).body == b"hi"


async def test_an_old_client_gets_no_interim_answer(wire: Wire) -> None:
    """HTTP/1.0 knows none (RFC 9110 section 15.2)."""
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.0\r\n\r\n")
    await backend.send(b"HTTP/1.1 103 Early Hints\r\n\r\n" + HI)
    assert (await client.message()).status == 200


async def test_followers_get_the_answer_only(wire: Wire) -> None:
    """Interim answers go to the leader's client alone."""
    leader, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    follower = await wire.client()
    await follower.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\nGET")
    await backend.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    assert (await leader.head()).status == 103
    await backend.send(HI)
    assert (await leader.message()).status == 200
    assert (await follower.message()).status == 200
    assert len(wire.backend.lines) == 1


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
BEGUN = {
    "hints": HINTS,
    "continue": CONTINUE,
    "two": CONTINUE + HINTS,
    "half_hints": HINTS[:30],
    "hints_and_a_half": HINTS + HINTS[:1],
    "half_answer": HI[:20],
    "half_switch": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: w",
    "one_byte": b"H",
}


@pytest.mark.parametrize("method", [b"GET", b"POST"])
@pytest.mark.parametrize("begun", BEGUN)
async def test_a_begun_answer_proves_a_kept_connection_alive(start: Start, begun: str, method: bytes) -> None:
    """The request is not sent again, the client gets each interim answer once, and the failure counts."""
    wire = await start(upstream=ONE, defaults="retry = { max_retries = 0 }")
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(HI)
    await client.message()
    await client.send(method + b" /y HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await backend.head()
    await backend.send(BEGUN[begun])
    for _ in range(BEGUN[begun].count(b"\r\n\r\n")):
        assert (await client.head()).status < 200
    backend.close()
    answer = await client.message()
    assert (answer.status, answer.get(b"proxy-status")) == (502, b"backstay; error=http_response_incomplete")
    assert len(wire.backend.lines) == 1
    assert wire.counted(OPEN)


async def test_a_reset_after_hints_is_no_stale_connection(start: Start) -> None:
    """A reset is no other than a close."""
    wire = await start(upstream=ONE, defaults="retry = { max_retries = 0 }")
    client, backend, _ = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(HI)
    await client.message()
    await client.send(b"GET /y HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.head()
    await backend.send(HINTS)
    assert (await client.head()).status == 103
    backend.reset()
    assert (await client.message()).status == 502
    assert len(wire.backend.lines) == 1
    assert wire.counted(OPEN)


async def test_a_backend_may_not_go_on_with_interim_answers_for_ever(wire: Wire) -> None:
    client, backend, _ = await wire.asked(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 102 Processing\r\n\r\n" * 65 + HI)
    assert {(await client.head()).status for _ in range(64)} == {102}
    assert (await client.message()).status == 502
