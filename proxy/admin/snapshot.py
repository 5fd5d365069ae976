"""The status page's figures as one JSON document, without subjects, ids or other data that requires the token."""

from collections import Counter as Tally
from collections.abc import Mapping, Sequence

from proxy import __version__
from proxy.admin.control import ControlPlane
from proxy.observe.instruments import BOUNDS_S, Key, Series
from proxy.policy.breaker import CircuitBreaker
from proxy.policy.outcome import GOOD
from proxy.policy.restoration import Restoration, RestorationState
from proxy.policy.routing import Route
from proxy.principals.registry import PrincipalView


def snapshot(control: ControlPlane) -> dict[str, object]:
    """Return the figures since the start; the difference of two snapshots gives rates. Times are in seconds."""
    metrics, sources, now = control.metrics, control.metrics.sources, control.now()
    return {
        "version": __version__,
        "now": now,
        "ready": control.ready(),
        "switches": dict(control.switches()),
        "circuits": [circuit_view(circuit, now) for circuit in control.shown_circuits],
        "bounds": BOUNDS_S,
        "routes": _routes(control),
        "roles": _by_last(metrics.coalesced_requests.counts) | {"attempts": sum(metrics.attempts.counts.values())},
        "retries": _by_last(metrics.retries.counts),
        "denied": _by_last(metrics.denied.counts),
        "restorations": _by_last(metrics.restorations.counts),
        "restoration": _distribution(metrics.restoration_seconds.series[""]),
        "audit": {
            "records": sources.audit_records(), "gaps": sources.audit_gaps(), "queue": sources.audit_queue(),
            "write_errors": sources.audit_write_errors(),
        },
        "store": {"up": bool(sources.store_up()), "errors": metrics.store_errors.total()},
        "connections": sources.connections(),
        "in_flight": sources.in_flight(),
        "principals": [principal_view(one) for one in control.principals()],
        "flights": sources.flights(),
        "followers": sources.followers(),
    }  # fmt: skip


def circuit_view(circuit: CircuitBreaker, now: float) -> dict[str, object]:
    """Return one circuit; times are in seconds."""
    opened_at = circuit.opened_at
    return {
        "name": circuit.name,
        "state": circuit.shown.name,
        "failures": circuit.failures,
        "opened_ago_s": None if opened_at is None else round(now - opened_at, 3),
        "probes_in_s": round(circuit.probes_in(now), 3),
        "mode": circuit.mode.value,
        "repr": repr(circuit),
    }


def principal_view(one: PrincipalView) -> dict[str, object]:
    """Return one `[principal.NAME]` table; times are in seconds."""
    return {
        "name": one.name,
        "keys": one.keys,
        "keys_age_s": one.keys_age_s,
        "failure": one.failure,
        "tokens": one.tokens,
        "splits": one.splits,
        "by": dict(one.by),
    }


def restoration_view(subject: str, known: Sequence[Restoration], now: float) -> dict[str, object]:
    """Return a subject's restorations, one for each user, the latest last; `state` is that of the latest."""
    return {
        "subject": subject,
        "state": known[-1].state if known else RestorationState.NOT_RESTORED,
        "restorations": [
            {
                "state": one.state,
                "ms": round(one.seconds * 1000, 3),
                "ended_ago_s": round(now - one.ended, 3),
                "correlation_ids": one.correlation_ids,
            }
            for one in known
        ],
    }


def _routes(control: ControlPlane) -> list[dict[str, object]]:
    good: Tally[str] = Tally()
    finished: Tally[str] = Tally()
    for (operation, _, _, outcome), count in control.metrics.requests.counts.items():
        finished[str(operation)] += count
        good[str(operation)] += count if str(outcome) in GOOD else 0
    durations = control.metrics.request_seconds.series
    return [
        {**_route(route, durations), "count": finished[route.operation], "succeeded": good[route.operation]}
        for route in control.routes()
    ]


def _route(route: Route, durations: Mapping[str, Series]) -> dict[str, object]:
    """Return a route's name, target and durations, which are fewer than its requests: an event stream has none."""
    target = None if route.target is None else list(route.target)
    return {"name": route.operation, "target": target, **_distribution(durations[route.operation])}


def _distribution(series: Series) -> dict[str, object]:
    return {"count": series.count, "buckets": list(series.buckets), "total_s": round(series.total_s, 6)}


def _by_last(counts: Mapping[Key, int]) -> dict[str, int]:
    """Return the sums by the last label."""
    sums: Tally[str] = Tally()
    for key, count in counts.items():
        sums[str(key[-1])] += count
    return dict(sums)
