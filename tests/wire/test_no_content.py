"""Responses without content (RFC 9110 section 6.4.1): no body byte follows them on a connection."""

import pytest

from tests.wire.conftest import Start

ROUTE = """
[[routes]]
operation = "ping"
match = "{method} /ping"
fallback = {{ status = {status}, body = {{ }} }}
retry = {{ max_retries = 0 }}
"""
DOWN = b"HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\ndown"


@pytest.mark.parametrize("status", [204, 205, 304])
async def test_a_fallback_without_content_has_no_body(start: Start, status: int) -> None:
    """Before, two bytes of a document stood after the head of a 204, where the next answer should begin."""
    wire = await start(more=ROUTE.format(method="GET", status=status))
    client, backend, _ = await wire.asked(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
    for last in (False, True):
        await backend.send(DOWN)
        head = await client.head()
        assert (head.status, head.get(b"content-type")) == (status, None)
        assert head.get(b"content-length") == (b"0" if status == 205 else None)
        if not last:
            await client.send(b"GET /ping HTTP/1.1\r\nHost: a\r\n\r\n")
            await backend.head()
    await client.send(b"GET /other HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await backend.head()
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.message()).body == b"ok"
    assert await client.ending() == "fin"


async def test_a_fallback_to_head_is_its_head_alone(start: Start) -> None:
    """A document is configured for GET and HEAD alike; to HEAD it is only announced."""
    wire = await start(more=ROUTE.format(method="HEAD", status=200))
    client, backend, _ = await wire.asked(b"HEAD /ping HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    await backend.send(b"HTTP/1.1 503 Down\r\nContent-Length: 4\r\n\r\n")
    assert (await client.head()).get(b"content-length") == b"2"
    assert await client.rest() == b""


async def test_a_streamed_answer_of_recoverys_own_gives_head_no_body(start: Start) -> None:
    """A HEAD is answered 409, and what exists is loaded with GET: its body comes in pieces, and none goes out."""
    wire = await start(
        more='[[routes]]\noperation = "look"\nmatch = "HEAD /s/{id}"\non_conflict = "GET /s/{id}"\n',
        defaults='coalesce = "off"',
    )
    client, backend, _ = await wire.asked(b"HEAD /s/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 409 Conflict\r\nContent-Length: 2\r\n\r\n")
    backend = await wire.backend.connection()  # the first one may still be given the body that was announced
    assert (await backend.head()).start == b"GET /s/1 HTTP/1.1"
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + bytes(1000))
    assert (await client.head()).status == 200
    await client.send(b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    following = await wire.backend.connection()
    await following.head()
    await following.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert (await client.message()).body == b"ok"


async def test_what_was_created_without_a_body_is_looked_up(start: Start) -> None:
    """The create answers 204: before, a 200 without a length went out, and the client waited for the line to end."""
    missing = 'on_missing = { request = "POST /s", body = { id = "{id}" } }'
    wire = await start(more=f'[[routes]]\noperation = "look"\nmatch = "GET /s/{{id}}"\n{missing}\n')
    client, backend, _ = await wire.asked(b"GET /s/1 HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    assert (await backend.message()).start == b"POST /s HTTP/1.1"
    await backend.send(b"HTTP/1.1 204 No Content\r\n\r\n")
    assert (await backend.head()).start == b"GET /s/1 HTTP/1.1"
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmade")
    assert (await client.message()).body == b"made"
