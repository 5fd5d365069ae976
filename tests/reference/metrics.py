"""The page of all metrics, made from a scrape of a new sidecar."""

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from functools import cache

from prometheus_client.core import Metric

from proxy.audit.record_schema import WHY
from proxy.http.problems import Reason
from proxy.observe.metrics import METHODS, RELOADS, ROLES, STATES, Metrics
from proxy.observe.observer import OUTCOMES
from proxy.policy.latency_target import Level
from proxy.policy.outcome import RequestOutcome
from proxy.policy.recovery_plan import RecoveryKind
from proxy.policy.retry import CAUSES
from proxy.policy.token_rules import TokenFault
from tests.reference.markdown import code, codes, page, table
from tests.reference.source import refusals, words_given

_NOT_DENIED = frozenset(
    {"answered", "client_deadline", "dry_run", "nobody_waits", "not_retryable", "probe", "unfinished"}
)
_OPEN = frozenset(
    {"circuit", "principal", "route", "status", "upstream", "version", "python", "le", "quantile"}
)  # no fixed list
_SERIES = re.compile(r"_(total|info|bucket|sum|count|created)$")
_INTRODUCTION = """\
`GET /metrics` on the control plane gives every metric in Prometheus' text format, or in OpenMetrics where the
scraper asks for it. Durations are in seconds. Every label is bounded: routes, circuits and upstreams come from the
configuration, all other values from fixed lists. After a reload the series of names that are gone are dropped.
The usual `process_*` metrics (memory, CPU time, open files, start time) are there too.

`backstay_requests_total` has no request that was refused before it was one, such as a malformed head or one connection
too many. `backstay_bad_requests_total` has those, and every later refusal. An open circuit's refusals are in
`backstay_circuit_rejections_total`, not in `backstay_upstream_attempts_total`. The pool's are in the latter."""


def metrics() -> str:
    """Return the page."""
    families = sorted(Metrics().collect(), key=lambda family: family.name)
    return page(
        "Metrics",
        "`proxy/observe/metrics.py`",
        _INTRODUCTION,
        table(("metric", "type", "labels", "meaning"), map(_row, families)),
        "## Labels",
        table(("label", "of", "values"), _labels(families)),
    )


def is_documented(series: str, labels: Mapping[str, str]) -> bool:
    """Tell whether the page lists the values of a series' labels; a status code is listed as such."""
    values, family = _values(), _SERIES.sub("", series)
    listed = (values.get(f"{label} {family}", values.get(label, "")) for label in labels)
    return all(
        label in _OPEN or f"`{value}`" in text or (value.isdigit() and "status code" in text)
        for (label, value), text in zip(labels.items(), listed, strict=True)
    )


def _row(family: Metric) -> tuple[str, ...]:
    return (code(name_of(family)), family.type, codes(labels_of(family)), family.documentation)


def name_of(family: Metric) -> str:
    """Return the name that a query uses; of a histogram, the one before `_bucket`, `_sum` and `_count`."""
    return str(family.name) + {"counter": "_total", "info": "_info"}.get(family.type, "")


def labels_of(family: Metric) -> tuple[str, ...]:
    """Return the names of a family's labels."""
    given = tuple(getattr(family, "_labelnames", ()))
    return given or tuple(name for sample in family.samples[:1] for name in sample.labels if name != "le")


def _labels(families: Iterable[Metric]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each label that means the same everywhere, and for each of one metric alone."""
    values = _values()
    having: dict[str, list[str]] = {}
    for family in families:
        for label in labels_of(family):
            own = f"{label} {family.name}"
            having.setdefault(own if own in values else label, []).append(name_of(family))
    for key in sorted(having):
        yield code(key.partition(" ")[0]), codes(having[key]), values[key]


@cache
def _values() -> dict[str, str]:
    """Return what a label can be, by its name, or by metric and name where it depends."""
    failures = _words(reason for reason in Reason)
    return {
        "circuit": "names of the configured circuits: of an upstream, or what a route's `circuit` says. In "
        "counters also `CIRCUIT:ROUTE`, a route's own",
        "compiled": codes(("yes", "no")),
        "kind": _words(RecoveryKind),
        "level": _words(Level),
        "method": codes((*sorted(METHODS), "OTHER")),
        "operation": codes(words_given("store", "execute", "damaged", "failed", "run", "try_anyway", "_taking")),
        "outcome": f"{_words(RequestOutcome)}, or the failure: {failures}",
        "principal": "names of the `[principal.NAME]` tables",
        "python": "version of Python",
        "role": codes(ROLES),
        "route": "`operation` of the configured routes, `passthrough`, and for targets `restoration`",
        "status": "status code that went to the client; 499 if it left first, or the sidecar stopped; "
        "of an EventSource, whose connection was closed, the one that it would have had "
        "(503 went to those that `backstay_audit_withheld_total` counts)",
        "to": codes(STATES),
        "upstream": "names of the configured upstreams",
        "version": "version of Backstay",
        "reason backstay_bad_requests": codes(sorted({refusal.reason for refusal in refusals()})),
        "result backstay_idempotency": codes(words_given("exchange", "_count")),
        "outcome backstay_restorations": codes(OUTCOMES.values()),
        "certificate": "`listen`, and `upstreams.NAME` of each upstream that has a `tls_certificate`",
        "result backstay_reloads": codes(RELOADS),
        "result backstay_retried_requests": codes(("succeeded", "failed")),
        "result backstay_principal_tokens": f"`verified`, {_words(TokenFault)}",
        "reason backstay_retries": codes(sorted(CAUSES)),
        "reason backstay_retries_denied": codes(sorted(set(WHY) - CAUSES - _NOT_DENIED)),
        "reason backstay_tls_handshakes_failed": codes(("limit", "timeout", "refused")),
        "result backstay_upstream_attempts": f"status code, or the failure: {failures}",
    }


def _words(members: Iterable[Enum]) -> str:
    return codes(str(member.value) for member in members)
