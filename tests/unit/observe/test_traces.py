"""Traces are exported if somebody says where to; a missing extra is told and stops nothing."""

import sys
from random import Random

import pytest
from structlog.testing import capture_logs

from proxy.observe.traces import start_tracing

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
