"""Observe finished exchanges before their record is made: restorations, targets and exemplars."""

from proxy.exchange.ports import Ledger, Tracer
from proxy.exchange.state import Exchange
from proxy.observe.failure_log import FailureLog
from proxy.observe.metrics import Metrics
from proxy.observe.target_log import TargetLog
from proxy.policy.latency_target import Target
from proxy.policy.outcome import ANSWERED
from proxy.policy.restoration import (
    Half,
    Restoration,
    Restorations,
    RestorationState,
    Step,
    found,
)

RESTORATION = "restoration"  # the operation's name for the target of a whole restoration
RESTORATION_TARGET = Target(1.0, 2.0, 2.0)  # the seed document's "total restoration": under 1 s, at most 2 s

HALVES = {half.value: half for half in Half}
OUTCOMES = {
    RestorationState.RESTORED: "restored",
    RestorationState.RESTORED_EMPTY: "restored_empty",
    RestorationState.RESTORED_ERROR: "restored_error",
}


class Observer:
    """Follow restorations, log failures and missed targets, set exemplars, then pass the exchange to the ledger."""

    __slots__ = ("_failures", "_ledger", "_metrics", "_targets", "_tracer", "restorations")

    def __init__(
        self, ledger: Ledger, metrics: Metrics, targets: TargetLog, failures: FailureLog, tracer: Tracer | None = None
    ) -> None:
        """Take the ledger that writes the record."""
        self._ledger = ledger
        self._metrics = metrics
        self._targets = targets
        self._failures = failures
        self._tracer = tracer
        self.restorations = Restorations()

    def record(self, exchange: Exchange) -> None:
        """Observe a finished exchange and pass it on. Never waits, never raises."""
        route, seconds, endless = exchange.route, exchange.wait_s, exchange.endless
        if route.restoration is not None and exchange.subject.value is not None:
            self._follow(exchange, HALVES[route.restoration], exchange.subject.value)
        if exchange.trace_id is not None and not endless:
            self._metrics.traced(route.operation, seconds, exchange.trace_id, exchange.started_wall + seconds)
        if route.target is not None and not endless:
            self._targets.hold(route.operation, route.target, seconds, exchange.correlation.id)
        if exchange.ending is not ANSWERED or len(exchange.attempts) > 1:
            self._failures.report(exchange)
        self._ledger.record(exchange)
        if self._tracer is not None:
            self._tracer.end(exchange)

    def _follow(self, x: Exchange, half: Half, subject: str) -> None:
        what = found(half, x.result, x.answered, succeeded=x.succeeded)
        step = Step(half, what, x.started, x.started + x.wait_s, x.correlation.id, x.request.client)
        who = hash(x.identity.principal)  # keyed for each process: no credential is kept in memory
        x.restoration = restoration = self.restorations.take(subject, who, step)
        if restoration is not None and restoration.finished:
            self._count(restoration, x.correlation.id)

    def _count(self, restoration: Restoration, correlation_id: str) -> None:
        seconds = restoration.seconds
        self._metrics.restored(OUTCOMES[restoration.state], seconds, RESTORATION_TARGET.level(seconds))
        self._targets.hold(RESTORATION, RESTORATION_TARGET, seconds, correlation_id)
