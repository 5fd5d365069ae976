"""`dry_run = true`: stages that evaluate every policy, note its decision, and only forward the request."""

from proxy.exchange.attempts import Attempts
from proxy.exchange.cache import Cache
from proxy.exchange.claims import Claiming
from proxy.exchange.joining import Joining
from proxy.exchange.opening import Opening
from proxy.exchange.pipeline import Stages
from proxy.exchange.recovery import Recovery
from proxy.exchange.state import LOST, Exchange, Lead
from proxy.http.fields import Lines
from proxy.http.message import Outcome, Request
from proxy.http.problems import Refusal
from proxy.policy import recovery_plan
from proxy.policy.attempt_facts import Attempt
from proxy.policy.breaker import Permit
from proxy.policy.coalescing import ALONE, JOINED, Flight, Joined
from proxy.policy.recovery_plan import Honest, Result
from proxy.policy.retry import Again, Decision, Stop
from proxy.policy.route_circuit import Admission

PATIENCE_S = 30.0  # seconds, as in the catch-all route: a dry run shortens no request


class DryRunOpening(Opening):
    """Refuse nothing, and use the timeout of the catch-all route."""

    __slots__ = ()

    def open(self, x: Exchange) -> None:
        """Fill in the request's facts; note a refusal."""
        try:
            super().open(x)
        except Refusal as refusal:
            _record(x, f"refuse: {refusal.status} {refusal.metric}")
        x.deadline = x.started + PATIENCE_S


class DryRunJoining(Joining):
    """Send every request by itself. Flights only show which requests would have joined."""

    __slots__ = ()

    def join(self, x: Exchange, now: float) -> Joined:
        """Return the request's place: alone or as a leader."""
        place = super().join(x, now)
        x.flight = None
        if place.role is JOINED and place.flight is not None:
            self._flights.left()
            _record(x, f"join {place.flight.id}")
            return Joined(ALONE, reason="dry_run")
        return place

    def lead(self, x: Exchange, flight: Flight | None, began: float) -> Lead:
        """Return a lead for this request alone, with the only deadline of a dry run."""
        return Lead(None, x.deadline, x.request, shown=flight)

    def land(self, x: Exchange, lead: Lead, result: Result) -> None:
        """Remove the flight, which has no followers."""
        super().land(x, lead, result)
        if lead.shown is not None:
            self._flights.land(lead.shown, LOST, x.request, x.started)


class DryRunClaims(Claiming):
    """Claim nothing: a claim would block a real request."""

    __slots__ = ()

    async def replayed(self, x: Exchange) -> Result | None:
        """Replay nothing."""
        return None

    async def sent_elsewhere(self, x: Exchange, lead: Lead) -> Result | None:
        """Wait for no other replica."""
        return None

    def mint(self, x: Exchange) -> None:
        """Note that a key would be injected."""
        super().mint(x)
        if x.key is not None and x.key.source == "minted":
            _record(x, "inject an idempotency key")
            x.key = None


class DryRunCache(Cache):
    """Serve nothing from the cache."""

    __slots__ = ()

    async def fresh(self, x: Exchange, lead: Lead) -> Result | None:
        """Note that a cached response would be used."""
        if await super().fresh(x, lead) is not None:
            _record(x, "reuse a cached response")
        return None


class DryRunAttempts(Attempts):
    """Send once, without fields of the sidecar."""

    __slots__ = ()

    def admit(self, x: Exchange, attempt: Attempt, now: float) -> Permit | Admission | None:
        """Return a permit; the circuits count and never refuse."""
        if self._circuit.is_open:
            _record(x, "fast-fail: the circuit is open")
        return super().admit(x, attempt, now)

    def explain(self, x: Exchange, attempt: Attempt, decision: Decision) -> Decision:
        """Note that another attempt would follow, and stop."""
        if not isinstance(decision, Again):
            return super().explain(x, attempt, decision)
        _record(x, f"retry: {decision.reason}")
        return super().explain(x, attempt, Stop("dry_run"))

    def added(self, x: Exchange, request: Request, attempt: Attempt, remaining_s: float) -> Lines:
        """Return only the trace's line: the tracer removed the caller's, and the backend needs this attempt's."""
        return () if self._tracer is None else (self._tracer.attempt(x, self._clock.wall()),)

    def goes_on(self, x: Exchange, lead: Lead) -> bool:
        """Continue nothing without a client."""
        return False


class DryRunRecovery(Recovery):
    """Leave every outcome unchanged."""

    __slots__ = ()

    async def run(self, x: Exchange, lead: Lead, outcome: Outcome) -> Result:
        """Note what recovery would have done."""
        await self._cache.end_session(x, lead, outcome)
        plan = recovery_plan.plan(self._route.recovery, outcome, x.match.names, x.subject.value)
        if not isinstance(plan, Honest):
            _record(x, f"recover: {type(plan).__name__}")
        return Result(outcome)


DRY = Stages(
    DryRunOpening, DryRunJoining, DryRunClaims, DryRunCache, DryRunAttempts, DryRunRecovery, silent=True
)  # fmt: skip


def _record(x: Exchange, what: str) -> None:
    if x.would is not None:
        x.would.append(what)
