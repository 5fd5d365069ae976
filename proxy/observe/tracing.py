"""Export finished exchanges as OpenTelemetry spans. A request makes only ids; the rest follows its response.

The extra `backstay[otel]` provides the SDK; the standard variables configure it (OTEL_EXPORTER_OTLP_ENDPOINT, ...).
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from random import Random

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from proxy import __version__
from proxy.exchange.state import Exchange
from proxy.http.message import Failure
from proxy.http.problems import Reason
from proxy.http.redacted_target import redacted_path
from proxy.observe.metrics import METHODS
from proxy.policy import spans
from proxy.policy.attempt_facts import Attempt
from proxy.policy.spans import Sent, Span
from proxy.policy.trace_context import SAMPLED

Attributes = Mapping[str, str | int]

FLIGHTS = 4096  # leaders to which followers can be linked
EXPORT_TIMEOUT_S = 2.0  # a stopping sidecar waits no longer for a hanging collector
_FAILED, _UNSET = Status(StatusCode.ERROR), Status(StatusCode.UNSET)
_SCOPE = InstrumentationScope("backstay", __version__)
_log = structlog.get_logger("backstay.tracing")


class Tracing:
    """Start a span for every request, and export it with its record. No method waits or raises, except `close`."""

    __slots__ = ("_leaders", "_processor", "_random", "_resource", "_share")

    def __init__(self, share: float, random: Random, exporter: SpanExporter | None = None) -> None:
        """Sample `share` of new traces; for a caller's trace its decision applies."""
        self._share = share
        self._random = random
        self._resource = Resource.create({"service.version": __version__})
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it repeats itself; `Quietly` logs once
        self._processor = BatchSpanProcessor(Quietly(exporter or OTLPSpanExporter(timeout=EXPORT_TIMEOUT_S)))
        self._leaders: OrderedDict[str, SpanContext] = OrderedDict()

    def begin(self, exchange: Exchange) -> Span:
        """Give the exchange its span, and remove the caller's line: each attempt sends its own."""
        span = spans.begin(exchange.parent, self._share, self._random)
        if exchange.parent is None:
            exchange.trace_id = f"{span.trace_id:032x}"
        else:
            exchange.request.fields = exchange.request.fields.without((b"traceparent",))
        return span

    def attempt(self, exchange: Exchange, wall: float) -> tuple[bytes, bytes]:
        """Start an attempt's span; return the field line for the upstream. Followers' spans link to the leader's."""
        span, flight = exchange.span, exchange.flight
        assert span is not None  # `begin` was called before
        if flight is not None:
            self._leaders[flight.id] = _context(span, span.span_id)
            if len(self._leaders) > FLIGHTS:
                self._leaders.popitem(last=False)
        return span.attempt(wall)

    def end(self, exchange: Exchange) -> None:
        """Pass a finished exchange's spans to the exporter's thread, which samples them."""
        span = exchange.span
        if span is None or not span.sampled:
            return
        self._processor.on_end(self._server_span(exchange, span))
        for sent, attempt in zip(span.attempts, _sent(exchange.attempts), strict=False):
            self._processor.on_end(self._client_span(exchange, span, sent, attempt))

    def close(self) -> None:
        """Send the remaining spans and stop. May block for seconds: call it in a thread."""
        self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK did not annotate it

    def _server_span(self, x: Exchange, span: Span) -> ReadableSpan:
        method = _method(x.request.method, "HTTP")
        templated = x.route.template.startswith("/")
        parent = None if span.parent_id is None else _context(span, span.parent_id, remote=True)
        return self._span(
            f"{method} {x.route.template}" if templated else method,
            _context(span, span.span_id), parent, SpanKind.SERVER, _server_attributes(x),
            (x.started_wall, x.duration_s), error=x.status >= 500 or x.truncated, links=self._links(x),
        )  # fmt: skip

    def _client_span(self, x: Exchange, span: Span, sent: Sent, attempt: Attempt) -> ReadableSpan:
        attributes: dict[str, str | int] = {
            **_method_attributes(x.request.method),
            "peer.service": x.route.upstream,
            "backstay.why": attempt.why,
        }
        if attempt.n > 1:
            attributes["http.request.resend_count"] = attempt.n - 1
        if attempt.status is not None:
            attributes["http.response.status_code"] = attempt.status
        failed = attempt.status is None or attempt.status >= 400
        if failed:
            attributes["error.type"] = attempt.result
        return self._span(
            _method(x.request.method, "HTTP"), _context(span, sent.span_id), _context(span, span.span_id),
            SpanKind.CLIENT, attributes, (sent.began_wall, attempt.ms / 1000), error=failed,
        )  # fmt: skip

    def _links(self, x: Exchange) -> Sequence[Link]:
        leader = self._leaders.get(x.flight.id) if x.flight is not None and x.role == "joined" else None
        return () if leader is None else (Link(leader, {"backstay.flight": x.flight.id if x.flight else ""}),)

    def _span(
        self, name: str, context: SpanContext, parent: SpanContext | None, kind: SpanKind, attributes: Attributes,
        when: tuple[float, float], *, error: bool, links: Sequence[Link] = (),
    ) -> ReadableSpan:  # fmt: skip
        began, took_s = when
        return ReadableSpan(
            name=name, context=context, parent=parent, kind=kind, attributes=attributes, links=links,
            resource=self._resource, instrumentation_scope=_SCOPE, status=_FAILED if error else _UNSET,
            start_time=int(began * 1e9), end_time=int((began + took_s) * 1e9),
        )  # fmt: skip


def _sent(attempts: Sequence[Attempt]) -> list[Attempt]:
    """Leave out attempts that an open circuit refused: they were not sent."""
    return [a for a in attempts if not (isinstance(a.outcome, Failure) and a.outcome.reason is Reason.CIRCUIT_OPEN)]


def _context(span: Span, span_id: int, *, remote: bool = False) -> SpanContext:
    return SpanContext(span.trace_id, span_id, is_remote=remote, trace_flags=TraceFlags(span.flags | SAMPLED))


def _method(method: str, other: str) -> str:
    """Return a method by a bounded name: clients may invent methods (OpenTelemetry's HTTP span conventions)."""
    return method if method in METHODS else other


def _method_attributes(method: str) -> dict[str, str]:
    known = _method(method, "_OTHER")
    fields = {"http.request.method": known}
    return fields if known == method else {**fields, "http.request.method_original": method}


def _server_attributes(x: Exchange) -> Attributes:
    """Return the attributes of the semantic conventions; of the target only the redacted path."""
    attributes: dict[str, str | int] = {
        **_method_attributes(x.request.method),
        "http.response.status_code": x.status,
        "url.scheme": x.request.peer.scheme,
        "url.path": redacted_path(x.request.path),
        "backstay.operation": x.route.operation,
        "backstay.outcome": x.ending,
        "backstay.role": x.role or "",
        "backstay.correlation_id": x.correlation.id,
    }
    if x.route.template.startswith("/"):
        attributes["http.route"] = x.route.template
    if x.status >= 500:
        attributes["error.type"] = str(x.status)
    return attributes


class Quietly(SpanExporter):
    """Log once that the collector is unreachable, and once that it is back."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._reached = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        reached = result is SpanExportResult.SUCCESS
        if reached is not self._reached:
            self._reached = reached
            log: Callable[[str], object] = _log.info if reached else _log.warning
            log("traces_reach_the_collector_again" if reached else "traces_reach_no_collector")
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()
