"""Traces as a real OTLP collector receives them: a retried, coalesced request, and a missing collector."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from proxy.clock import SystemClock
from tests.e2e.observe.stage import CONFIG, TOKEN, stage
from tests.e2e.sidecar import PATIENCE, Child, sidecar
from tests.ports import reserved_port

oteltap = pytest.importorskip("oteltap", reason="oteltap is not installed")
pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra otel is not installed")
from opentelemetry.proto.trace.v1.trace_pb2 import Span  # noqa: E402 - it comes with those

SERVER, CLIENT = Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT
HISTORY = "/api/conversations/val_1/history"
TABS = 3
_clock = SystemClock()


def attributes(span: Span) -> dict[str, str | int]:
    """Return a span's attributes as Python has them."""
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


class Collector:
    """A real receiver of OTLP, and all spans that came."""

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}"
        self.spans: list[Span] = []

    def of(self, kind: int) -> list[Span]:
        """Return the spans of a kind, in the order of their beginning."""
        return sorted((span for span in self.spans if span.kind == kind), key=lambda span: span.start_time_unix_nano)

    async def until(self, count: int) -> None:
        """Wait until so many spans came."""
        async with asyncio.timeout(PATIENCE):
            while len(self.spans) < count:
                await _clock.sleep(0.02)


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """Run a collector on a free port."""
    port = reserved_port()
    collector = Collector(port)
    settings = oteltap.OtelTapHttpProtobufReceiverSettings(http_port=port)
    async with oteltap.OtelTapHttpProtobufReceiver(settings) as receiver, asyncio.TaskGroup() as group:

        async def collect() -> None:
            async for span in receiver.stream_traces():
                collector.spans.append(span)

        collecting = group.create_task(collect())
        yield collector
        collecting.cancel()


class Upstream:
    """A backend that fails once and then answers; it keeps the `traceparent` of each call."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.released = asyncio.Event()

    async def answer(self, request: web.Request) -> web.Response:
        """Answer once that is allowed."""
        self.heard.append(request.headers.get("traceparent", ""))
        await self.released.wait()
        return web.json_response({"messages": [1]}, status=503 if len(self.heard) == 1 else 200)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen on a free port."""
        app = web.Application()
        app.router.add_get("/{path:.*}", self.answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()


async def ask(child: Child, traceparents: list[str | None]) -> list[int]:
    """Ask for one history in so many tabs at once, each with its own trace or none."""
    async with aiohttp.ClientSession(child.url, headers={"Authorization": "Bearer anna"}) as session:

        async def tab(traceparent: str | None) -> int:
            headers = {} if traceparent is None else {"traceparent": traceparent}
            async with session.get(HISTORY, headers=headers) as got:
                await got.read()
                return got.status

        return await asyncio.gather(*map(tab, traceparents))


async def test_a_retried_coalesced_request_is_one_tree_with_links(tmp_path: Path) -> None:
    """One server span a request, one client span an attempt, a link from each follower to the leader's span."""
    upstream, traces = Upstream(), [f"{n:032x}" for n in range(0xA, 0xA + TABS)]
    parents = [f"00-{trace}-00f067aa0ba902b7-01" for trace in traces]
    async with collector() as received, upstream.listening() as url:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with sidecar(tmp_path, url, CONFIG, **settings) as child:
            asking = asyncio.ensure_future(ask(child, [*parents]))
            await child.until(lambda m: m.total("backstay_coalesced_total", role="joined") == TABS - 1)
            upstream.released.set()
            assert await asking == [200] * TABS
            await received.until(TABS + 2)
            records = [
                await child.recorded(str(attributes(span)["backstay.correlation_id"])) for span in received.of(SERVER)
            ]
    servers, (first, second) = received.of(SERVER), received.of(CLIENT)
    (leader,) = [span for span in servers if attributes(span)["backstay.role"] == "led"]
    assert {span.trace_id.hex() for span in servers} == set(traces)
    assert {span.parent_span_id.hex() for span in servers} == {"00f067aa0ba902b7"}
    assert {record["metadata"]["trace_id"] for record in records} == set(traces)

    assert {span.parent_span_id for span in (first, second)} == {leader.span_id}
    assert [f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in (first, second)] == upstream.heard
    assert "http.request.resend_count" not in attributes(first)
    assert attributes(first)["http.response.status_code"] == 503
    assert (attributes(second)["http.request.resend_count"], attributes(second)["http.response.status_code"]) == (
        1,
        200,
    )
    assert first.end_time_unix_nano <= second.start_time_unix_nano <= second.end_time_unix_nano

    for span in servers:
        links = [(link.trace_id, link.span_id) for link in span.links]
        assert links == ([] if span is leader else [(leader.trace_id, leader.span_id)])
        assert span.name == "GET /api/conversations/{report_id}/history"
        assert attributes(span)["http.route"] == "/api/conversations/{report_id}/history"


async def test_the_caller_decides_what_is_sampled(tmp_path: Path) -> None:
    """A trace its caller does not sample is passed on unsampled and not exported; the next, sampled one is."""
    upstream = Upstream()
    upstream.released.set()
    async with collector() as received, upstream.listening() as url:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        async with sidecar(tmp_path, url, CONFIG, **settings) as child:
            await ask(child, [f"00-{'a' * 32}-{'b' * 16}-00"])
            await ask(child, [f"00-{'c' * 32}-{'b' * 16}-01"])
            await received.until(2)
    assert {span.trace_id.hex() for span in received.spans} == {"c" * 32}
    assert upstream.heard[0].startswith(f"00-{'a' * 32}-")
    assert upstream.heard[0].endswith("-00")


async def test_without_a_collector_asked_for_the_callers_line_goes_through(tmp_path: Path) -> None:
    """W3C propagation alone: what the caller said reaches the backend as it was."""
    upstream, said = Upstream(), f"00-{'c' * 32}-{'b' * 16}-01"
    upstream.released.set()
    async with upstream.listening() as url, sidecar(tmp_path, url, CONFIG) as child:
        await ask(child, [said])
    assert set(upstream.heard) == {said}


async def test_a_collector_that_is_not_there_is_told_once(tmp_path: Path) -> None:
    """Requests go on unharmed, the log has one line of it, and stopping does not wait for it."""
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{reserved_port()}", "OTEL_BSP_SCHEDULE_DELAY": "50"}
    async with stage(tmp_path, **settings) as scene:
        for n in range(5):
            await scene.restore(f"val_{n}")
        await scene.child.logged("traces_reach_no_collector")
        for n in range(5):
            await scene.restore(f"val_again_{n}")
        assert (await scene.child.ask_admin("/restorations/val_4", token=TOKEN)).status == 200
        assert await scene.child.stop() == 0
        assert scene.child.log.count("traces_reach_no_collector") == 1
        assert scene.child.log.count("opentelemetry") == 0
