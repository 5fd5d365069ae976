"""The seed document's session metrics, computed from the counters of Prometheus."""

import pytest

from proxy.observe.metrics import Metrics
from proxy.observe.statistics import NETWORK_ERRORS, Statistics


def test_nothing_counted_is_none_and_not_zero_percent() -> None:
    """Before the first request a rate has no value: an alert on it must not fire."""
    summary = Statistics(Metrics(["session-create"], ["sessions"])).summary()
    assert [name for name, figure in summary.items() if figure is None] == [
        "successRate", "avgCreationTime_ms", "avgRestorationTime_ms", "retrySuccessRate", "deduplicationRate",
    ]  # fmt: skip
    assert {figure for figure in summary.values() if figure is not None} == {0}


def test_success_is_what_the_client_saw() -> None:
    """A redirect, a not-modified and a recovered answer are successes; an error of either side is not."""
    metrics = Metrics()
    for status in (200, 201, 304, 404, 499, 503):
        metrics.finished("status", "GET", status, "answered", 0.1, "")
    summary = Statistics(metrics).summary()
    assert (summary["successfulOperations"], summary["failedOperations"], summary["successRate"]) == (3, 3, 0.5)


def test_creation_time_is_the_mean_over_creations_only() -> None:
    """Every operation that begins with session-create counts, and nothing else."""
    metrics = Metrics()
    metrics.finished("session-create", "POST", 201, "answered", 0.2, "")
    metrics.finished("session-create-guest", "POST", 201, "answered", 0.4, "")
    metrics.finished("history", "GET", 200, "answered", 5.0, "")
    assert Statistics(metrics).summary()["avgCreationTime_ms"] == pytest.approx(300)


def test_restoration_time_is_the_mean_over_restorations() -> None:
    """The restoration as a whole, not its two requests."""
    metrics = Metrics()
    metrics.restored("restored", 0.5)
    metrics.restored("restored_empty", 0.7)
    assert Statistics(metrics).summary()["avgRestorationTime_ms"] == pytest.approx(600)


def test_errors_are_counted_by_attempt() -> None:
    """A conflict that recovery hid, and a network failure that a retry hid, still happened."""
    metrics = Metrics()
    for result in (
        "200",
        "409",
        "409",
        "connection_refused",
        "http_response_incomplete",
        "503",
        "http_response_timeout",
    ):
        metrics.attempted("sessions", "session-create", result, 0.1)
    summary = Statistics(metrics).summary()
    assert (summary["conflictErrors"], summary["networkErrors"]) == (2, 2)


def test_network_errors_are_what_classify_says() -> None:
    """One opinion on what failure means: a timeout and our own refusals are no network errors."""
    assert {"connection_refused", "connection_timeout", "dns_error", "connection_terminated"} <= NETWORK_ERRORS
    assert not NETWORK_ERRORS & {"destination_unavailable", "http_response_timeout", "cancelled"}


def test_retries_circuits_and_savings() -> None:
    """Retry success is per request, opens are counted over all circuits, deduplication is the joined part."""
    metrics = Metrics()
    for succeeded in (True, True, True, False):
        metrics.retried_request("history", succeeded)
    for circuit, to in (("sessions", "OPEN"), ("restoration", "OPEN"), ("sessions", "HALF_OPEN")):
        metrics.transitioned(circuit, to)
    for role, times in (("led", 10), ("joined", 45), ("alone", 45)):
        for _ in range(times):
            metrics.coalesced("history", role)
    summary = Statistics(metrics).summary()
    assert (summary["totalRetries"], summary["retriesSucceeded"], summary["retrySuccessRate"]) == (4, 3, 0.75)
    assert summary["circuitOpenCount"] == 2
    assert (summary["deduplicatedRequests"], summary["deduplicationRate"]) == (45, 0.45)
