"""Traces are exported if an endpoint is set; a missing extra is logged and stops nothing."""

import sys
from random import Random
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from proxy.http.fields import NO_FIELDS
from proxy.http.message import Peer, Request
from proxy.http.redacted_target import MAX_TEXT
from proxy.observe.traces import start_tracing
from proxy.policy.spans import begin

ASKED = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    "environment", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ASKED | {"OTEL_SDK_DISABLED": "True"}]
)
def test_nobody_asked(environment: dict[str, str]) -> None:
    """Without an endpoint, or with the SDK switched off, requests carry no spans."""
    assert start_tracing(environment, Random(1)) is None


def test_a_missing_extra_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sidecar runs on, and says what to install."""
    monkeypatch.setitem(sys.modules, "proxy.observe.tracing", None)
    with capture_logs() as said:
        assert start_tracing(ASKED, Random(1)) is None
    assert [event["event"] for event in said] == ["traces_off"]
    assert "pip install 'backstay[otel]'" in said[0]["detail"]


def finished(target: bytes) -> SimpleNamespace:
    """Return an exchange as the spans see it."""
    return SimpleNamespace(
        request=Request("GET", target, NO_FIELDS, Peer("10.0.0.1", 1)),
        status=200, route=SimpleNamespace(operation="load", template="*"), ending="ok", role="led",
        correlation=SimpleNamespace(id="1"),
    )  # fmt: skip


def test_a_span_shows_no_secret_of_the_target() -> None:
    """The path is redacted as in the audit trail; before, spans had it whole."""
    tracing = pytest.importorskip("proxy.observe.tracing", reason="the extra otel is not installed")
    target = b"/u:pw@h/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0/a;sid=hunter2?token=hunter2"
    assert tracing._server_attributes(finished(target))["url.path"] == "/*@h/*/a;sid=*"


def test_what_waits_for_a_collector_is_bounded() -> None:
    """The exporter queues 2,048 spans, each with a path of 512 characters at most; 4,096 leaders can be linked to."""
    tracing = pytest.importorskip("proxy.observe.tracing", reason="the extra otel is not installed")
    x = finished(b"/" + b"p" * 15_000)
    assert len(tracing._server_attributes(x)["url.path"]) == MAX_TEXT
    traces = tracing.Tracing(1.0, Random(1), SimpleNamespace(shutdown=lambda: None))
    for number in range(tracing.FLIGHTS + 100):
        span = begin(None, 1.0, Random(number))
        traces.attempt(SimpleNamespace(span=span, flight=SimpleNamespace(id=f"{number}")), 0.0)
    assert len(traces._leaders) == tracing.FLIGHTS
    traces.close()
