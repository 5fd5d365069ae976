"""Pages of another origin: their preflights are answered in an outage, and scripts can read the sidecar's responses."""

import orjson
import pytest

from tests.wire.conftest import Start
from tests.wire.kit import Wire

ORIGIN = b"Host: a\r\nOrigin: https://app.example\r\n"
PREFLIGHT = (
    b"OPTIONS /api/%b HTTP/1.1\r\n" + ORIGIN + b"Access-Control-Request-Method: PATCH\r\n"
    b"Access-Control-Request-Headers: x-correlation-id\r\n\r\n"
)
CORS = 'cors = { allow_origins = ["https://app.example"] }'
ROUTE = f"""
[[routes]]
operation = "save"
match = "PATCH /api/{{id}}"
{CORS}
"""
OPEN = 'breaker = { failure_threshold = 1, reset_timeout = "1h" }'


async def with_an_open_circuit(wire: Wire) -> None:
    """Let the backend close one request without a response, so that its circuit opens."""
    client, backend, _ = await wire.asked(b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n")
    backend.close()
    assert (await client.message()).status == 502


@pytest.mark.parametrize("where", [{"defaults": CORS}, {"more": ROUTE}], ids=["defaults", "the route alone"])
async def test_a_preflight_is_answered_though_nothing_was_learnt(start: Start, where: dict[str, str]) -> None:
    """The backend was never reachable. The browser may send its request, and a script reads why it fails."""
    wire = await start(upstream=OPEN, **where)
    await with_an_open_circuit(wire)
    client = await wire.client()
    await client.send(PREFLIGHT % b"1")
    allowed = await client.message()
    assert allowed.status == 204
    assert allowed.get(b"access-control-allow-origin") == b"https://app.example"
    assert allowed.get(b"access-control-allow-methods") == b"PATCH"
    assert allowed.get(b"access-control-allow-headers") == b"x-correlation-id"
    assert allowed.get(b"access-control-max-age") == b"0"
    await client.send(b"PATCH /api/1 HTTP/1.1\r\n" + ORIGIN + b"Content-Length: 0\r\n\r\n")
    refused = await client.message()
    exposed = refused.get(b"access-control-expose-headers") or b""
    assert {b"Retry-After", b"X-Correlation-ID", b"Proxy-Status"} <= set(exposed.split(b", "))
    assert refused.status == 503
    assert orjson.loads(refused.body)["retry_after"] == int(refused.get(b"retry-after") or b"0")


async def test_own_responses_keep_their_retry_after_where_nothing_is_exposed(start: Start) -> None:
    """`listen.expose = false` drops what the sidecar adds to responses, not what belongs to its own."""
    wire = await start(listen="expose = false", upstream=OPEN)
    await with_an_open_circuit(wire)
    client = await wire.client()
    await client.send(b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n")
    refused = await client.message()
    assert (refused.status, refused.get(b"proxy-status")) == (503, None)
    assert 3590 < int(refused.get(b"retry-after") or b"0") <= 4000


async def test_a_preflight_of_another_route_or_origin_is_not_allowed(start: Start) -> None:
    """Only the configured route allows the page, and only a configured origin."""
    wire = await start(upstream=OPEN, more=ROUTE)
    await with_an_open_circuit(wire)
    client = await wire.client()
    for asked in (PREFLIGHT % b"1/other", (PREFLIGHT % b"1").replace(b"app.example", b"evil.example")):
        await client.send(asked)
        answer = await client.message()
        assert (answer.status, answer.get(b"access-control-allow-origin")) == (503, None)


async def test_the_backends_own_word_comes_before_what_is_configured(start: Start) -> None:
    """While the backend responds, it answers every preflight, also with a refusal."""
    wire = await start(defaults=CORS)
    client, backend, _ = await wire.asked(PREFLIGHT % b"1")
    await backend.send(b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n")
    answer = await client.message()
    assert (answer.status, answer.get(b"access-control-allow-origin")) == (403, None)
