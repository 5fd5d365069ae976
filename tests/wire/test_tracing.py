"""W3C Trace Context, level 2, on the wire: what a backend receives, with tracing on and off."""

from collections.abc import Sequence
from random import Random

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from proxy.observe.tracing import Tracing
from tests.wire.conftest import Start
from tests.wire.kit import Answer, Wire

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
STATE = b"tracestate: rojo=1,congo=2\r\n"
ALL = b",".join(b"k%d=v" % n for n in range(33))


class Nowhere(SpanExporter):
    """Takes spans and keeps none."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


@pytest.fixture(params=["off", "on"])
def traced(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Tell whether the sidecar has spans of its own."""

    def start(_: object, random: Random) -> Tracing:
        return Tracing(1.0, random, Nowhere())

    if request.param == "on":
        monkeypatch.setattr("proxy.app.start_tracing", start)
    return bool(request.param == "on")


def parent(version: bytes = b"00", flags: bytes = b"01", more: bytes = b"") -> bytes:
    """Return a caller's line."""
    return b"traceparent: " + b"-".join((version, TRACE, SPAN, flags)) + more + b"\r\n"


async def asked(wire: Wire, lines: bytes) -> Answer:
    """Return what the backend hears of a request with these lines."""
    client, backend, heard = await wire.asked(b"GET /x HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n")
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await client.message()).body == b"hi"
    return heard


@pytest.mark.parametrize("flags", [b"00", b"01", b"02", b"03"])
async def test_a_trace_goes_on_with_its_flags(traced: bool, wire: Wire, flags: bytes) -> None:
    """Sections 3.2.2.5 and 3.5: off, the line is the caller's; on, its span is the attempt's; the flags are kept."""
    heard = await asked(wire, parent(flags=flags) + STATE)
    told = heard.get(b"traceparent")
    assert told is not None
    version, trace, span, kept = told.split(b"-")
    assert (version, trace, kept) == (b"00", TRACE, flags)
    assert (span != SPAN) is traced
    assert heard.all(b"tracestate") == [b"rojo=1,congo=2"]


async def test_a_later_version_goes_on(traced: bool, wire: Wire) -> None:
    """Section 3.2.4: a span of ours is told as version 00; a line that is passed through stays as it came."""
    heard = await asked(wire, parent(version=b"cc", flags=b"ff", more=b"-more") + STATE)
    told = heard.get(b"traceparent")
    assert told is not None
    assert told.startswith(b"00-" + TRACE) is traced
    assert told.endswith(b"-03" if traced else SPAN + b"-ff-more")
    assert heard.all(b"tracestate") == [b"rojo=1,congo=2"]


BROKEN = {
    "two": parent() + parent(flags=b"00") + STATE,
    "two_equal": parent() + STATE + parent(),
    "forbidden_version": parent(version=b"ff") + STATE,
    "upper_case": parent().upper() + STATE,
    "longer_than_its_version": parent(more=b"-more") + STATE,
    "state_alone": STATE,
    "two_states_alone": STATE + STATE,
}


@pytest.mark.parametrize("why", BROKEN)
async def test_a_broken_trace_ends_here(traced: bool, wire: Wire, why: str) -> None:
    """Sections 3.2 and 3.3: neither field goes on. With tracing on a new trace begins, whose id is random."""
    heard = await asked(wire, BROKEN[why])
    told = heard.all(b"traceparent")
    assert heard.all(b"tracestate") == []
    assert len(told) == traced
    assert not any(TRACE in line for line in told)
    assert all(line.startswith(b"00-") and line.endswith(b"-03") for line in told)


@pytest.mark.parametrize("state", [b"A=1", b"a=1,a=2", b"a=1\r\ntracestate: a=2", b"a", ALL, b""])
async def test_a_broken_state_goes_alone_and_whole(traced: bool, wire: Wire, state: bytes) -> None:
    """Section 3.3: what cannot be read of the state says nothing of the parent."""
    heard = await asked(wire, parent() + b"tracestate: " + state + b"\r\n")
    assert heard.all(b"tracestate") == []
    told = heard.get(b"traceparent")
    assert told is not None
    assert told.split(b"-")[1] == TRACE


async def test_several_states_go_on_as_one(traced: bool, wire: Wire) -> None:
    """Section 3.3: lines combine in their order."""
    heard = await asked(wire, STATE + parent() + b"TraceState:\r\nTraceState: baz=3 , \tqux=4\r\n")
    assert heard.all(b"tracestate") == [b"rojo=1,congo=2,baz=3 , \tqux=4"]


async def test_a_dry_run_keeps_the_trace(traced: bool, start: Start) -> None:
    """A sidecar that only forwards ends no trace either."""
    wire = await start()
    wire.sidecar.settings = wire.sidecar.settings.model_copy(update={"dry_run": True})
    told = (await asked(wire, parent() + STATE)).get(b"traceparent")
    assert told is not None
    assert told.split(b"-")[1] == TRACE


async def test_a_method_of_the_clients_own_names_no_span(monkeypatch: pytest.MonkeyPatch, start: Start) -> None:
    """OpenTelemetry's conventions for HTTP spans: an unknown method is _OTHER, and the span is called HTTP."""
    kept: list[ReadableSpan] = []

    class Keeping(Nowhere):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            kept.extend(spans)
            return SpanExportResult.SUCCESS

    monkeypatch.setattr("proxy.app.start_tracing", lambda _, random: Tracing(1.0, random, Keeping()))
    wire = await start()
    client, backend, _ = await wire.asked(b"FROB /x HTTP/1.1\r\nHost: a\r\n\r\n")
    await backend.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
    assert (await client.message()).status == 200
    await wire.sidecar.stop(delay_s=0.0)
    assert [span.name for span in kept] == ["HTTP", "HTTP"]
    for span in kept:
        assert span.attributes is not None
        assert span.attributes["http.request.method"] == "_OTHER"
        assert span.attributes["http.request.method_original"] == "FROB"
