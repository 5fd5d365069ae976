"""Start trace export if the standard variables request it and the extra `backstay[otel]` is installed."""

from collections.abc import Mapping
from random import Random

import structlog

from proxy.exchange.ports import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_log = structlog.get_logger("backstay.tracing")


def start_tracing(environment: Mapping[str, str], random: Random) -> Tracer | None:
    """Return the tracer, None if it was not requested or the extra is not installed."""
    requested = any(environment.get(name) for name in ENDPOINTS)
    if not requested or environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from proxy.observe.tracing import Tracing
    except ImportError:
        _log.warning("traces_off", detail="an OTLP endpoint is set, but not installed: pip install 'backstay[otel]'")
        return None
    return Tracing(_share(environment.get("OTEL_TRACES_SAMPLER_ARG", "1")), random)


def _share(text: str) -> float:
    """Return the share of new traces to sample; an invalid number means all, as in OpenTelemetry."""
    try:
        return min(1.0, max(0.0, float(text)))
    except ValueError:
        return 1.0
