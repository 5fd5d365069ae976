"""Every name, type and label of the exposition is a contract; counting never fails."""

from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.observe.instruments import BOUNDS_S
from proxy.observe.metrics import METHODS, Metrics, Sources, encode

CONTRACT = {
    "backstay_requests_total": ("counter", {"route", "method", "status", "outcome"}),
    "backstay_request_duration_seconds": ("histogram", {"route"}),
    "backstay_stream_seconds": ("histogram", {"route"}),
    "backstay_upstream_attempts_total": ("counter", {"upstream", "route", "result"}),
    "backstay_upstream_duration_seconds": ("histogram", {"upstream"}),
    "backstay_coalesced_total": ("counter", {"route", "role"}),
    "backstay_flights": ("gauge", set()),
    "backstay_flight_followers": ("gauge", set()),
    "backstay_retries_total": ("counter", {"route", "reason"}),
    "backstay_retries_denied_total": ("counter", {"route", "reason"}),
    "backstay_retried_requests_total": ("counter", {"route", "result"}),
    "backstay_circuit_state": ("gauge", {"circuit"}),
    "backstay_route_circuit_state": ("gauge", {"circuit", "route"}),
    "backstay_circuit_transitions_total": ("counter", {"circuit", "to"}),
    "backstay_circuit_rejections_total": ("counter", {"circuit"}),
    "backstay_bad_requests_total": ("counter", {"reason"}),
    "backstay_audit_withheld_total": ("counter", {"route"}),
    "backstay_tls_handshakes_failed_total": ("counter", {"reason"}),
    "backstay_idempotency_total": ("counter", {"route", "result"}),
    "backstay_recoveries_total": ("counter", {"route", "kind"}),
    "backstay_target_total": ("counter", {"route", "level"}),
    "backstay_restorations_total": ("counter", {"outcome"}),
    "backstay_restoration_seconds": ("histogram", set()),
    "backstay_audit_records_total": ("counter", set()),
    "backstay_audit_gaps_total": ("counter", set()),
    "backstay_audit_queue": ("gauge", set()),
    "backstay_audit_write_seconds": ("histogram", set()),
    "backstay_store_errors_total": ("counter", {"operation"}),
    "backstay_store_waiting": ("gauge", set()),
    "backstay_store_up": ("gauge", set()),
    "backstay_log_lines_dropped_total": ("counter", set()),
    "backstay_connections": ("gauge", set()),
    "backstay_requests_in_flight": ("gauge", set()),
    "backstay_reloads_total": ("counter", {"result"}),
    "backstay_audit_write_errors_total": ("counter", set()),
    "backstay_certificate_expiry_timestamp_seconds": ("gauge", {"certificate"}),
    "backstay_principal_tokens_total": ("counter", {"principal", "result"}),
    "backstay_principal_splits_total": ("counter", {"principal"}),
    "backstay_principal_keys": ("gauge", {"principal"}),
    "backstay_build_info": ("gauge", {"version", "python", "compiled"}),
}

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(metrics: Metrics) -> Samples:
    """Return what Prometheus reads from the text form."""
    return samples(parse_text(encode(metrics.collect(), "")[0].decode()))


def samples(families: Iterable[Metric]) -> Samples:
    """Return every sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one scraped sample, or None if there is no such series."""
    return scraped(metrics).get((name, tuple(sorted(labels.items()))))


def one_of_everything() -> Metrics:
    """Return metrics on which every method was called once."""
    metrics = Metrics(["history"], ["restoration"], ["sessions"])
    metrics.declare([], [], [], ["user"])
    circuits = {"restoration": 2}
    metrics.read_from(
        Sources(
            lambda: 2, lambda: 3, lambda: circuits, lambda: 5, lambda: 6, lambda: 7, lambda: 1,
            route_circuits=lambda: {"restoration:history": 1}, certificates=lambda: {"listen": 1.8e9},
            principal_keys=lambda: {"user": 1},
        )
    )  # fmt: skip
    metrics.coalesced("history", "led")
    metrics.attempted("sessions", "history", "200", 0.1)
    metrics.retried("history", "network")
    metrics.retry_denied("history", "deadline")
    metrics.retried_request("history", succeeded=True)
    metrics.rejected("restoration")
    metrics.transitioned("restoration", "OPEN")
    metrics.recovered("history", "stale")
    metrics.idempotency("history", "minted")
    metrics.store_failed("claim")
    metrics.bad_request("bad_host")
    metrics.withheld("history")
    metrics.handshake_failed("timeout")
    metrics.reloaded("partial")
    metrics.streamed("history", 3_600.0)
    metrics.finished("history", "GET", 200, "answered", 0.3, "acceptable")
    metrics.restored("restored", 0.6)
    metrics.audit_written(0.004)
    metrics.principal_tokens.counts["user", "verified"] += 1
    return metrics


def test_names_types_and_labels_are_exactly_the_contract() -> None:
    """Dashboards, alerts and checks from outside rely on these names, and on no others being there."""
    found = {}
    for family in parse_text(encode(one_of_everything().collect(), "")[0].decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        found[name] = (family.type, labels)
    assert found == CONTRACT


def test_both_forms_say_the_same() -> None:
    """A scraper that asks for OpenMetrics gets it, with the same figures as the text form."""
    metrics = one_of_everything()
    text, text_type = encode(metrics.collect(), "text/plain;version=0.0.4")
    strict, strict_type = encode(metrics.collect(), "application/openmetrics-text;version=1.0.0;q=0.7,text/plain;q=0.3")
    assert text_type.startswith("text/plain")
    assert strict_type.startswith("application/openmetrics-text")
    families = parse_openmetrics(strict.decode())  # type: ignore[no-untyped-call]  # the library did not annotate it
    assert samples(families) == samples(parse_text(text.decode()))


@pytest.mark.parametrize(
    "accept",
    ["", "*/*", "nonsense", "text/plain;version=x", "text/plain;version=1.0.0", "application/openmetrics-text"],
)
def test_any_accept_field_gets_an_exposition(accept: str) -> None:
    """Whatever a scraper says, it gets the figures in one of the two forms."""
    body, content_type = encode(one_of_everything().collect(), accept)
    assert b"backstay_requests_total" in body
    assert content_type.startswith("application/openmetrics-text" if "openmetrics" in accept else "text/plain")


def test_roles_add_up_to_what_was_counted() -> None:
    """led + joined + alone is the number of requests, each counted where it was decided."""
    metrics = Metrics(["session-create", "history"])
    for role, times in (("led", 1), ("joined", 49), ("alone", 7)):
        for _ in range(times):
            metrics.coalesced("session-create", role)
            metrics.finished("session-create", "POST", 201, "answered", 0.2, "ideal")
    counts = scraped(metrics)
    roles = sum(count for (name, _), count in counts.items() if name == "backstay_coalesced_total")
    requests = sum(count for (name, _), count in counts.items() if name == "backstay_requests_total")
    assert roles == requests == 57


def test_known_series_start_at_zero() -> None:
    """The first increment of a series that was already there shows as a rate; of a new one it does not."""
    metrics = Metrics(["history"], ["sessions"], ["python"])
    assert value(metrics, "backstay_coalesced_total", route="history", role="joined") == 0
    assert value(metrics, "backstay_circuit_transitions_total", circuit="sessions", to="half_open") == 0
    assert value(metrics, "backstay_circuit_rejections_total", circuit="sessions") == 0
    assert value(metrics, "backstay_request_duration_seconds_count", route="history") == 0
    assert value(metrics, "backstay_upstream_duration_seconds_count", upstream="python") == 0


def test_declaring_again_after_a_reload_forgets_nothing() -> None:
    """A reloaded configuration adds series and leaves the counts of the known ones."""
    metrics = Metrics(["history"])
    metrics.coalesced("history", "led")
    metrics.declare(["history", "status"], [], [])
    assert value(metrics, "backstay_coalesced_total", route="history", role="led") == 1
    assert value(metrics, "backstay_coalesced_total", route="status", role="led") == 0


@pytest.mark.parametrize(
    ("method", "label"), [*((method, method) for method in sorted(METHODS)), ("BREW", "OTHER"), ("get", "OTHER")]
)
def test_methods_are_bounded(method: str, label: str) -> None:
    """A stranger's method cannot make a series of its own."""
    metrics = Metrics()
    metrics.finished("history", method, 200, "answered", 0.1, "ideal")
    labels = {"route": "history", "method": label, "status": "200", "outcome": "answered"}
    assert value(metrics, "backstay_requests_total", **labels) == 1


def test_what_has_no_duration_is_counted_and_not_timed() -> None:
    """An event stream is counted as a request and has no duration; its stream time has buckets up to hours."""
    metrics = Metrics(["events"])
    metrics.streamed("events", 5_000.0)
    metrics.finished("events", "GET", 200, "answered", None, "")
    counted = {"route": "events", "method": "GET", "status": "200", "outcome": "answered"}
    assert value(metrics, "backstay_requests_total", **counted) == 1
    assert value(metrics, "backstay_request_duration_seconds_count", route="events") == 0
    assert value(metrics, "backstay_stream_seconds_bucket", route="events", le="1800.0") == 0
    assert value(metrics, "backstay_stream_seconds_bucket", route="events", le="7200.0") == 1


@pytest.mark.parametrize("bound", BOUNDS_S)
def test_a_bound_belongs_to_its_own_bucket(bound: float) -> None:
    """`le` means at most: a request of exactly its target's length met the target."""
    metrics = Metrics()
    metrics.finished("history", "GET", 200, "answered", bound, "ideal")
    at = {
        dict(labels)["le"]: count
        for (name, labels), count in scraped(metrics).items()
        if name == "backstay_request_duration_seconds_bucket"
    }
    assert {le: count for le, count in at.items() if le != "+Inf"} == {
        str(other): float(other >= bound) for other in BOUNDS_S
    }


def test_a_distribution_keeps_its_sum_and_its_longest() -> None:
    """What is longer than every bound is in +Inf, in the count and in the sum."""
    metrics = Metrics()
    for seconds in (0.0, 0.3, 99.0):
        metrics.finished("history", "GET", 200, "answered", seconds, "ideal")
    assert value(metrics, "backstay_request_duration_seconds_bucket", route="history", le="10.0") == 2
    assert value(metrics, "backstay_request_duration_seconds_bucket", route="history", le="+Inf") == 3
    assert value(metrics, "backstay_request_duration_seconds_count", route="history") == 3
    assert value(metrics, "backstay_request_duration_seconds_sum", route="history") == pytest.approx(99.3)


def test_an_attempt_is_timed_in_seconds() -> None:
    """As the name says; so are requests, streams, restorations and writes of the trail."""
    metrics = Metrics(["load"], ["sessions"], ["sessions"])
    metrics.attempted("sessions", "load", "200", 0.25)
    metrics.finished("load", "GET", 200, "answered", 0.25, "ideal")
    metrics.streamed("load", 0.25)
    metrics.restored("restored", 0.25, "ideal")
    metrics.audit_written(0.25)
    sums = {name: number for (name, _), number in scraped(metrics).items() if name.endswith("_seconds_sum")}
    assert sums.pop("backstay_stream_seconds_sum") == 0.25
    assert len(sums) == 4
    assert set(sums.values()) == {0.25}


def test_a_route_without_a_target_has_no_level() -> None:
    """An empty level counts the request and makes no series of the target."""
    metrics = Metrics()
    metrics.finished("plain", "GET", 200, "answered", 0.1, "")
    assert not [name for name, _ in scraped(metrics) if name == "backstay_target_total"]
    assert value(metrics, "backstay_request_duration_seconds_count", route="plain") == 1


def test_gauges_are_read_when_scraped() -> None:
    """Each scrape asks the sources anew; nothing is pushed."""
    flights = iter([4, 9])
    metrics = Metrics()
    metrics.read_from(Sources(flights=lambda: next(flights), circuits=lambda: {"sessions": 1}))
    assert [value(metrics, "backstay_flights") for _ in range(2)] == [4, 9]


def test_what_a_client_chooses_makes_no_series_of_its_own() -> None:
    """Invented methods are one label; statuses are a backend's, and there are 900 of them at most."""
    metrics = Metrics(["load"], ["sessions"], ["sessions"])
    for number in range(5_000):
        metrics.finished("load", f"METHOD{number}", 200 + number % 400, "ok", 0.1, "")
        metrics.traced("load", number / 1000, f"{number:032x}", 0.0)
    assert len(metrics.requests.counts) == 400
    assert len(metrics.request_seconds.series["load"].exemplars) <= 14


def test_the_circuit_of_a_route_has_a_gauge_of_its_own() -> None:
    """An alert on `backstay_circuit_state` is about a backend; one series a route says which one alone is refused."""
    metrics = one_of_everything()
    assert value(metrics, "backstay_circuit_state", circuit="restoration") == 2
    assert value(metrics, "backstay_circuit_state", circuit="restoration:history") is None
    assert value(metrics, "backstay_route_circuit_state", circuit="restoration", route="history") == 1
