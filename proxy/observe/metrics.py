"""The metrics of the sidecar. Counting increments an integer and never raises; the contract fixes the names."""

import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.process_collector import ProcessCollector

from proxy import __version__
from proxy.build import COMPILED
from proxy.observe.instruments import STREAM_BOUNDS_S, Counter, Histogram

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
ROLES = ("led", "joined", "alone")
STATES = ("closed", "half_open", "open")
RELOADS = ("applied", "partial", "refused")
_PROCESS: Final = ProcessCollector(registry=None)


def _nothing() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Sources:
    """Callbacks for values that others count, called only for a scrape, on the event loop."""

    flights: Callable[[], int] = _nothing
    followers: Callable[[], int] = _nothing
    circuits: Callable[[], Mapping[str, int]] = dict  # name -> 0 closed, 1 half-open, 2 open
    audit_records: Callable[[], int] = _nothing
    audit_gaps: Callable[[], int] = _nothing
    audit_queue: Callable[[], int] = _nothing
    store_up: Callable[[], int] = _nothing
    store_waiting: Callable[[], int] = _nothing
    log_lines_dropped: Callable[[], int] = _nothing
    route_circuits: Callable[[], Mapping[str, int]] = dict  # CIRCUIT:ROUTE -> as `circuits`
    connections: Callable[[], int] = _nothing
    in_flight: Callable[[], int] = _nothing
    audit_write_errors: Callable[[], int] = _nothing
    certificates: Callable[[], Mapping[str, float]] = dict  # setting -> seconds since 1970
    principal_keys: Callable[[], Mapping[str, int]] = dict  # name of a [principal.NAME] table -> usable keys


class Metrics:
    """Count requests and their results, and export the counts.

    Labels are bounded: routes, upstreams and circuits come from the configuration, reasons and results from enums,
    and a method outside the standard set is `OTHER`. All methods run on the event loop, except `audit_written`.
    """

    __slots__ = (
        "_bad_requests", "_handshakes", "_idempotency", "_recoveries", "_rejections", "_reloads", "_stream_seconds",
        "_there", "_upstream_seconds", "_withheld", "_write_seconds", "attempts", "coalesced_requests",
        "denied", "principal_splits", "principal_tokens",
        "request_seconds", "requests", "restoration_seconds", "restorations", "retried_requests",
        "retries", "sources", "store_errors", "targets", "transitions",
    )  # fmt: skip

    def __init__(self, routes: Iterable[str] = (), circuits: Iterable[str] = (), upstreams: Iterable[str] = ()) -> None:
        self.sources = Sources()
        self._there: Mapping[str, Collection[str]] = {}  # by label: the values that are exported; others are dropped
        self._count_requests()
        self._count_upstreams()
        self._count_restorations()
        self._count_principals()
        self.declare(routes, circuits, upstreams)

    def _count_requests(self) -> None:
        self.requests = Counter("backstay_requests", "Finished requests.", ("route", "method", "status", "outcome"))
        self.request_seconds = Histogram(
            "backstay_request_duration_seconds",
            "Time from a request's head to its response or a stream's head. Tunnels and event streams are not timed.",
            "route",
        )
        self._stream_seconds = Histogram(
            "backstay_stream_seconds", "Time from the head of a streamed response or a tunnel to its end.", "route",
            STREAM_BOUNDS_S,
        )  # fmt: skip
        self.targets = Counter("backstay_target", "Requests by the level of their route's target.", ("route", "level"))
        self.coalesced_requests = Counter(
            "backstay_coalesced",
            "Requests by their role in a flight; the three roles add up to all requests.",
            ("route", "role"),
        )
        self._idempotency = Counter(
            "backstay_idempotency", "Idempotency keys, by how they were handled.", ("route", "result")
        )
        self.store_errors = Counter(
            "backstay_store_errors",
            "Commands that the store did not carry out; the requests continued without it.",
            ("operation",),
        )
        self._recoveries = Counter(
            "backstay_recoveries", "Failures that became a good response, by kind of recovery.", ("route", "kind")
        )
        self._bad_requests = Counter(
            "backstay_bad_requests", "Requests that were refused: malformed, or beyond a limit.", ("reason",)
        )
        self._withheld = Counter(
            "backstay_audit_withheld",
            "Responses counted and recorded as delivered, though the client got 503: their records were late.",
            ("route",),
        )
        self._handshakes = Counter(
            "backstay_tls_handshakes_failed", "TLS handshakes with clients that were not completed.", ("reason",)
        )
        self._reloads = Counter("backstay_reloads", "Reloads of the configuration, by their result.", ("result",))
        for result in RELOADS:
            self._reloads.declare(result)

    def _count_upstreams(self) -> None:
        self.attempts = Counter(
            "backstay_upstream_attempts",
            "Attempts at the upstream, by status code or failure.",
            ("upstream", "route", "result"),
        )
        self._upstream_seconds = Histogram("backstay_upstream_duration_seconds", "Duration of one attempt.", "upstream")
        self.retries = Counter(
            "backstay_retries", "Retries that were made, by the failure before them.", ("route", "reason")
        )
        self.denied = Counter(
            "backstay_retries_denied",
            "Retries that would have followed and were denied, by reason.",
            ("route", "reason"),
        )
        self.retried_requests = Counter(
            "backstay_retried_requests", "Requests with at least one retry, by how they ended.", ("route", "result")
        )
        self._rejections = Counter(
            "backstay_circuit_rejections", "Attempts that an open circuit refused.", ("circuit",)
        )
        self.transitions = Counter(
            "backstay_circuit_transitions", "Transitions of a circuit, by its new state.", ("circuit", "to")
        )

    def _count_principals(self) -> None:
        self.principal_tokens = Counter(
            "backstay_principal_tokens",
            "Tokens that were judged, once each: `verified`, or why they were refused.",
            ("principal", "result"),
        )
        self.principal_splits = Counter(
            "backstay_principal_splits",
            "Tokens that differ from an earlier one of their subject in a claim that is not volatile.",
            ("principal",),
        )

    def _count_restorations(self) -> None:
        self.restorations = Counter(
            "backstay_restorations", "Finished session restorations, by their state.", ("outcome",)
        )
        self.restoration_seconds = Histogram(
            "backstay_restoration_seconds", "Time of a session restoration, status and history together."
        )
        self._write_seconds = Histogram("backstay_audit_write_seconds", "Time to write one batch of audit records.")

    def declare(
        self,
        routes: Iterable[str],
        circuits: Iterable[str],
        upstreams: Iterable[str],
        principals: Iterable[str] = (),
    ) -> None:
        """Start the known series at 0, also after a reload."""
        for principal in principals:
            self.principal_splits.declare(principal)
        for route in routes:
            self.request_seconds.declare(route)
            self._stream_seconds.declare(route)
            for role in ROLES:
                self.coalesced_requests.declare(route, role)
        for circuit in circuits:
            self._rejections.declare(circuit)
            for state in STATES:
                self.transitions.declare(circuit, state)
        for upstream in upstreams:
            self._upstream_seconds.declare(upstream)

    def forget_others(
        self,
        routes: Iterable[str],
        circuits: Iterable[str],
        upstreams: Iterable[str],
        principals: Iterable[str] = (),
    ) -> None:
        """Drop all other series, now and after running requests have counted. A series that returns begins at 0."""
        self._there = {
            "route": {*routes, "restoration"}, "circuit": frozenset(circuits), "upstream": frozenset(upstreams),
            "principal": frozenset(principals),
        }  # fmt: skip
        self._forget()

    def _forget(self) -> None:
        for label, values in self._there.items():
            for instrument in self._instruments:
                instrument.keep_only(label, values)

    def read_from(self, sources: Sources) -> None:
        """Take the gauges from `sources`."""
        self.sources = sources

    def coalesced(self, route: str, role: str) -> None:
        """Count a request's role in a flight: `led`, `joined` or `alone`."""
        self.coalesced_requests.counts[route, role] += 1

    def attempted(self, upstream: str, route: str, result: str, seconds: float) -> None:
        """Count one upstream attempt; `result` is its status or failure reason."""
        self.attempts.counts[upstream, route, result] += 1
        self._upstream_seconds.series[upstream].observe(seconds)

    def retried(self, route: str, reason: str) -> None:
        """Count a retry."""
        self.retries.counts[route, reason] += 1

    def retry_denied(self, route: str, reason: str) -> None:
        """Count a retry that was refused."""
        self.denied.counts[route, reason] += 1

    def retried_request(self, route: str, succeeded: bool) -> None:
        """Count the end of a request that was retried, once."""
        self.retried_requests.counts[route, "succeeded" if succeeded else "failed"] += 1

    def rejected(self, circuit: str) -> None:
        """Count an attempt that the circuit refused."""
        self._rejections.counts[circuit,] += 1

    def transitioned(self, circuit: str, to: str) -> None:
        """Count a circuit's transition; `to` may be in any case."""
        self.transitions.counts[circuit, to.lower()] += 1

    def recovered(self, route: str, kind: str) -> None:
        """Count a recovered response."""
        self._recoveries.counts[route, kind] += 1

    def idempotency(self, route: str, result: str) -> None:
        """Count the handling of an idempotency key."""
        self._idempotency.counts[route, result] += 1

    def store_failed(self, operation: str) -> None:
        """Count a failed operation of the store."""
        self.store_errors.counts[operation,] += 1

    def withheld(self, route: str) -> None:
        """Count a response that is counted as delivered and was withheld."""
        self._withheld.counts[route,] += 1

    def bad_request(self, reason: str) -> None:
        """Count a request that was refused. If its head was not read, it is not in `requests`."""
        self._bad_requests.counts[reason,] += 1

    def handshake_failed(self, reason: str) -> None:
        """Count a failed TLS handshake of a client: `limit`, `timeout` or `refused`."""
        self._handshakes.counts[reason,] += 1

    def reloaded(self, result: str) -> None:
        """Count a reload: `applied`, `partial` (some tables need a restart) or `refused`."""
        self._reloads.counts[result,] += 1

    def streamed(self, route: str, seconds: float) -> None:
        """Observe the time of a streamed response or a tunnel, from its head to its end."""
        self._stream_seconds.series[route].observe(seconds)

    def finished(self, route: str, method: str, status: int, outcome: str, wait_s: float | None, level: str) -> None:
        """Count a finished request; `level` is "" without a target, `wait_s` None for an endless response."""
        self.requests.counts[route, method if method in METHODS else "OTHER", status, outcome] += 1
        if wait_s is not None:
            self.request_seconds.series[route].observe(wait_s)
        if level:
            self.targets.counts[route, level] += 1

    def traced(self, route: str, seconds: float, trace_id: str, wall: float) -> None:
        """Make a finished request the exemplar of its bucket, which links dashboards to traces."""
        self.request_seconds.series[route].exemplify(seconds, trace_id, wall)

    def restored(self, outcome: str, seconds: float, level: str = "") -> None:
        """Count a finished session restoration; its target has the operation name `restoration`."""
        self.restorations.counts[outcome,] += 1
        if level:
            self.targets.counts["restoration", level] += 1
        self.restoration_seconds.series[""].observe(seconds)

    def audit_written(self, seconds: float) -> None:
        """Observe the duration of one audit write."""
        self._write_seconds.series[""].observe(seconds)

    def collect(self) -> Sequence[Metric]:
        """Return all families with current values: a copy, consistent if called on the event loop."""
        self._forget()
        families = (instrument.family() for instrument in self._instruments)
        return [*families, *self._gauges_by_name(), *self._gauges()]

    @property
    def _instruments(self) -> tuple[Counter | Histogram, ...]:
        return (
            self.requests, self.request_seconds, self._stream_seconds, self.targets, self.coalesced_requests,
            self._idempotency, self._recoveries, self._bad_requests, self._withheld, self._handshakes, self._reloads,
            self.attempts,
            self._upstream_seconds, self.retries, self.denied, self.retried_requests, self._rejections,
            self.transitions, self.restorations, self.restoration_seconds, self._write_seconds, self.store_errors,
            self.principal_tokens, self.principal_splits,
        )  # fmt: skip

    def _gauges_by_name(self) -> list[Metric]:
        source = self.sources
        states = GaugeMetricFamily(
            "backstay_circuit_state", "State of a circuit: 0 closed, 1 half-open, 2 open.", labels=["circuit"]
        )
        for name, state in source.circuits().items():
            states.add_metric([name], state)
        of_routes = GaugeMetricFamily(
            "backstay_route_circuit_state",
            "State of a route's own circuit, for its timeouts: 0 closed, 1 half-open, 2 open.",
            labels=["circuit", "route"],
        )
        for name, state in source.route_circuits().items():
            of_routes.add_metric(name.split(":"), state)
        expiries = GaugeMetricFamily(
            "backstay_certificate_expiry_timestamp_seconds",
            "When the first certificate of a chain that the sidecar shows expires, in seconds since 1970.",
            labels=["certificate"],
        )
        for name, expiry in source.certificates().items():
            expiries.add_metric([name], expiry)
        keys = GaugeMetricFamily(
            "backstay_principal_keys", "Keys of an issuer that can verify tokens.", labels=["principal"]
        )
        for name, count in source.principal_keys().items():
            keys.add_metric([name], count)
        return [states, of_routes, expiries, keys]

    def _gauges(self) -> list[Metric]:
        source = self.sources
        built = {
            "version": __version__, "python": platform.python_version(), "compiled": "yes" if COMPILED else "no"
        }  # fmt: skip
        return [
            GaugeMetricFamily("backstay_connections", "Client connections that are open.", source.connections()),
            GaugeMetricFamily(
                "backstay_requests_in_flight",
                "Requests that have begun and have no record yet, streams and tunnels among them.",
                source.in_flight(),
            ),
            GaugeMetricFamily("backstay_flights", "Flights under way.", source.flights()),
            GaugeMetricFamily("backstay_store_up", "1 while the store is available, else 0.", source.store_up()),
            GaugeMetricFamily(
                "backstay_store_waiting", "Commits that wait for the disk, with sqlite://.", source.store_waiting()
            ),
            GaugeMetricFamily(
                "backstay_flight_followers", "Requests that joined a flight under way.", source.followers()
            ),
            CounterMetricFamily("backstay_audit_records", "Audit records written.", source.audit_records()),
            CounterMetricFamily(
                "backstay_audit_gaps", "Audit records lost; a gap in the trail counts them.", source.audit_gaps()
            ),
            CounterMetricFamily(
                "backstay_audit_write_errors",
                "Attempts to write the audit trail that the disk refused; each is repeated until it succeeds.",
                source.audit_write_errors(),
            ),
            GaugeMetricFamily("backstay_audit_queue", "Audit records that wait for the disk.", source.audit_queue()),
            CounterMetricFamily(
                "backstay_log_lines_dropped",
                "Log lines lost because standard error was not read in time.",
                source.log_lines_dropped(),
            ),
            InfoMetricFamily(
                "backstay_build", "Version of the sidecar and of Python, and whether it is compiled.", built
            ),
        ]


def process_families() -> list[Metric]:
    """Return the process's memory, CPU time, open files and start time. Reads /proc: call it in a thread."""
    return list(_PROCESS.collect())


class _Families:
    """Collected families, in the form that prometheus_client's encoders expect."""

    __slots__ = ("_families",)

    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Sequence[Metric]:
        return self._families


def encode(families: Sequence[Metric], accept: str) -> tuple[bytes, str]:
    """Return `families` as text or OpenMetrics, and the content type. Pure: may run in a thread."""
    try:
        encoder, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # prometheus_client raises them for a version that is not a number
        encoder, content_type = choose_encoder("")
    return encoder(_Families(families)), content_type
