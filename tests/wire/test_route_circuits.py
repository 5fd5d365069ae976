"""A slow route beside the others of its upstream, on sockets: who is answered, and what metrics and log say."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import pytest
from structlog.testing import capture_logs

from tests.wire.conftest import Start
from tests.wire.kit import Line, Wire

GET = b"GET %b HTTP/1.1\r\nHost: a\r\nRange: bytes=0-\r\n\r\n"  # a range is not shared with other callers
HI = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
OPEN_FOR_LONG = 'breaker = { reset_timeout = "1h" }'
NO_RETRIES = "retry = { max_retries = 0 }"
SHORT = 'total_timeout = "300ms"\n'
ROUTES = f"""
[passthrough]
{SHORT}
[[routes]]
operation = "poll"
match = "GET /poll"
{SHORT}
[[routes]]
operation = "report"
match = "GET /report"
{SHORT}
[[routes]]
operation = "load"
match = "GET /load"
"""
SILENT = (b"/poll", b"/report", b"/other/poll")


async def serve(line: Line) -> None:
    """Answer each request of a connection, but those of silent paths never."""
    while True:
        path = (await line.head()).start.split(b" ")[1]
        if path not in SILENT:
            await line.send(HI)


async def serve_all(wire: Wire) -> None:
    """Answer on every connection."""
    async with asyncio.TaskGroup() as lines:
        while True:
            lines.create_task(until_end(await wire.backend.arrival()))


async def until_end(line: Line) -> None:
    """Serve a connection until the sidecar closes it, which it does after a timeout."""
    try:
        await serve(line)
    except (asyncio.IncompleteReadError, ConnectionError):
        line.close()


@pytest.fixture
async def wire(start: Start) -> AsyncIterator[Wire]:
    """Return a sidecar before a backend that answers everything but its silent paths."""
    wire = await start(upstream=OPEN_FOR_LONG, defaults=NO_RETRIES, more=ROUTES)
    serving = asyncio.get_running_loop().create_task(serve_all(wire))
    yield wire
    serving.cancel()
    await asyncio.wait([serving])


async def status(wire: Wire, path: bytes) -> int:
    """Ask for a path as a new client; return the status."""
    client = await wire.client()
    await client.send(GET % path)
    return (await client.message()).status


async def all_of(wire: Wire, *paths: bytes) -> list[int]:
    """Ask for all paths at once."""
    return await asyncio.gather(*(status(wire, path) for path in paths))


@pytest.mark.parametrize("poll", [b"/poll", b"/other/poll"])
async def test_five_long_polls_and_a_slow_report_leave_every_other_route_answering(wire: Wire, poll: bytes) -> None:
    """They time out together and nothing else is asked meanwhile: then every other route is answered."""
    others = [b"/load", b"/page"]
    with capture_logs() as logs:
        assert await all_of(wire, *[poll] * 5, *[b"/report"] * 5) == [504] * 10
        assert await all_of(wire, *others * 4) == [200] * 8
        assert await status(wire, b"/report") == 503
        assert await all_of(wire, *others) == [200, 200]
    assert wire.counted('backstay_circuit_state{circuit="backend"} 0.0')
    assert wire.counted('backstay_route_circuit_state{circuit="backend",route="report"} 2.0')
    assert wire.counted('backstay_route_circuit_state{circuit="backend",route="load"} 0.0')
    assert wire.counted('backstay_circuit_transitions_total{circuit="backend:report",to="open"} 1.0')
    assert wire.counted('backstay_circuit_rejections_total{circuit="backend:report"} 1.0')
    opened = [line for line in logs if line["event"] == "circuit" and line["circuit"] == "backend:report"]
    address = f"127.0.0.1:{wire.backend.port}"
    assert [(line["to"], line["cause"]) for line in opened] == [("OPEN", f"http_response_timeout at {address}")]


async def test_unmatched_requests_that_time_out_refuse_nobody(wire: Wire) -> None:
    """Ten of them, one after another, and a request beside them is still sent."""
    for _ in range(2):
        assert await all_of(wire, *[b"/other/poll"] * 5) == [504] * 5
    assert await all_of(wire, b"/page", b"/load") == [200, 200]


@pytest.fixture
def dead() -> Iterator[str]:
    """Return an address where nobody listens, and nobody else will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


async def test_a_dead_backend_opens_the_circuit_of_all_after_five(wire: Wire, dead: str) -> None:
    """Refused connections, of whatever route: the sixth request gets 503 at once, and so does every other route."""
    upstream = wire.sidecar.settings.upstreams["backend"].model_copy(update={"url": (dead,)})
    settings = wire.sidecar.settings.model_copy(update={"upstreams": {"backend": upstream}})
    await wire.sidecar.reload(lambda: settings)
    for path in (b"/load", b"/page", b"/report", b"/poll", b"/load"):
        assert await status(wire, path) == 502
    assert wire.counted('backstay_circuit_state{circuit="backend"} 2.0')
    assert await all_of(wire, b"/load", b"/page", b"/report", b"/poll") == [503] * 4


async def test_a_reload_keeps_the_circuit_of_a_route_as_it_keeps_others(wire: Wire, dead: str) -> None:
    """With the address it stays, open; with another backend it begins anew."""
    await all_of(wire, *[b"/report"] * 5)
    opened = 'backstay_route_circuit_state{circuit="backend",route="report"} 2.0'
    assert wire.counted(opened)
    settings = wire.sidecar.settings
    await wire.sidecar.reload(lambda: settings)
    assert wire.counted(opened)
    upstream = settings.upstreams["backend"].model_copy(update={"url": (dead,)})
    await wire.sidecar.reload(lambda: settings.model_copy(update={"upstreams": {"backend": upstream}}))
    assert wire.counted(opened.replace("2.0", "0.0"))
    without = settings.model_copy(update={"routes": tuple(r for r in settings.routes if r.operation != "report")})
    await wire.sidecar.reload(lambda: without)
    assert not wire.counted('backstay_route_circuit_state{circuit="backend",route="report"}')
    assert not wire.counted('backstay_circuit_transitions_total{circuit="backend:report"')


async def test_a_connection_that_the_routes_time_cuts_short_is_a_timeout_of_the_route(wire: Wire) -> None:
    """The backend never shakes hands; `connect_timeout` is a minute, the time of the report is shorter."""
    upstream = wire.sidecar.settings.upstreams["backend"]
    silent = upstream.model_copy(update={"url": (f"https://127.0.0.1:{wire.backend.port}",)})
    settings = wire.sidecar.settings.model_copy(update={"upstreams": {"backend": silent}})
    await wire.sidecar.reload(lambda: settings)
    assert await all_of(wire, *[b"/report"] * 5) == [504] * 5
    assert wire.counted('backstay_circuit_state{circuit="backend"} 0.0')
    assert wire.counted('backstay_route_circuit_state{circuit="backend",route="report"} 2.0')
