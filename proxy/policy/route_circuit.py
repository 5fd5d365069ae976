"""Decide which circuit a route's timeout counts for, and whether a route may be sent. This module never waits."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy.policy.breaker import CircuitBreaker, CircuitMode, CircuitState, Permit, Refused
from proxy.policy.classify import FAILURES, Verdict
from proxy.policy.routing import EVERY, Route

_NO_ANSWER = FAILURES | {Verdict.RATE_LIMITED, Verdict.REFUSED, Verdict.CANCELLED}


class Admission(NamedTuple):
    """Permission of both circuits for one attempt. Report it exactly once, whatever happens."""

    shared: Permit
    own: Permit


class AttemptOutcome(NamedTuple):
    """What the circuits learn from one attempt; the fields are those of `CircuitBreaker.report`, times in seconds."""

    verdict: Verdict
    elapsed: bool  # a timeout of the route ended the attempt
    sent_at: float
    now: float
    took_s: float | None
    counted: bool


class RouteCircuit:
    """The circuits of one route: its own, for its timeouts, and the one that it shares with other routes.

    ::

        outcome of an attempt          the route's own circuit   the shared circuit
        a timeout of the route         failure                   failure, if another route has timed out since
                                                                 the last success of any of its routes
        no connection, 502, 503, 504   nothing                   failure
        any other response but 429     success                   success
        429, client left, refusal      nothing                   as `CircuitBreaker` says

        shared circuit                 own circuit               a request
        forced open                    any                       is refused
        forced closed                  any but forced open       is sent
        not closed                     any                       is refused, or probes the shared circuit
        not closed, hung               closed, no timeout        is sent: two responses close the shared circuit
        closed                         not closed                is refused, or probes the own circuit
        closed                         closed                    is sent

    So a timeout refuses only routes that have timed out themselves. Two kinds of route have no circuit of their own:

    * the only route of a circuit: its timeouts are failures of that circuit;
    * the catch-all route without a configured circuit: its requests have nothing in common, so their timeouts count
      nothing, and a hung circuit does not refuse them.

    `own` is then the shared circuit. While both are quiet, callers take the shared permit and report no success.
    """

    __slots__ = ("_counts_timeouts", "_route", "own", "shared")

    def __init__(
        self, shared: CircuitBreaker, own: CircuitBreaker | None = None, route: str = "", *,
        counts_timeouts: bool = True,
    ) -> None:  # fmt: skip
        self.shared = shared
        self.own = own or shared
        self._route = route
        self._counts_timeouts = counts_timeouts

    @property
    def is_open(self) -> bool:
        """Tell whether one of the circuits is open."""
        return CircuitState.OPEN in (self.shared.state, self.own.state)

    def decide(self, found: Permit | Refused, now: float, within_s: float) -> Permit | Admission | Refused:
        """Return what both circuits say, after the shared one said `found`.

        `within_s`: the attempt ends after this many seconds at the latest.
        """
        if isinstance(found, Refused):
            if not self._is_exempt:
                return found._replace(circuit=self.shared.name)
            found = self.shared.permit
        if self.own is self.shared:
            return found
        if self._is_overruled:
            return Admission(found, self.own.permit)
        own = self.own.admit(now, within_s)
        if isinstance(own, Refused):
            self.shared.give_back(found)
            return own._replace(circuit=self.own.name)
        return Admission(found, own)

    def report(self, permit: Permit | Admission, said: AttemptOutcome) -> None:
        """Settle what was permitted."""
        if said.elapsed and not self._counts_timeouts:
            self.give_back(permit)
            return
        shared, own = self._parts(permit, said.sent_at)
        separate = self.own is not self.shared
        late = self._route if said.elapsed and separate else ""
        self.shared.report(shared, said.verdict, said.now, took_s=said.took_s, counted=said.counted, late=late)
        if separate and (said.elapsed or said.verdict not in _NO_ANSWER):
            self.own.report(own, said.verdict, said.now, counted=said.counted)
        elif separate:
            self.own.give_back(own)

    def give_back(self, permit: Permit | Admission) -> None:
        """Settle what was permitted for an attempt that is no evidence about the backend."""
        if isinstance(permit, Admission):
            self.own.give_back(permit.own)
            permit = permit.shared
        self.shared.give_back(permit)

    def counts(self, permit: Permit | Admission, sent_at: float) -> bool:
        """Tell whether a report under this permit is still counted."""
        shared, own = self._parts(permit, sent_at)
        return self.shared.counts(shared) and (self.own is self.shared or self.own.counts(own))

    def note(self, cause: str) -> None:
        """Note the newest failure, for logs."""
        self.shared.cause = self.own.cause = cause

    def refuses_for(self, now: float) -> float:
        """Return for how many seconds every attempt will be refused; 0 if one may be admitted."""
        shared_s = 0.0 if self._is_exempt else self.shared.refuses_for(now)
        return shared_s if self._is_overruled else max(shared_s, self.own.refuses_for(now))

    def _parts(self, permit: Permit | Admission, sent_at: float) -> tuple[Permit, Permit]:
        if isinstance(permit, Admission):
            return permit.shared, permit.own
        return permit, self.own.permit_of(sent_at)

    @property
    def _is_exempt(self) -> bool:
        """Tell whether the shared circuit is open because of other routes' timeouts only."""
        shared = self.shared
        has_no_timeout = not self._counts_timeouts or (self.own is not shared and self.own.quiet)
        return shared.hung and has_no_timeout and shared.mode is CircuitMode.AUTO

    @property
    def _is_overruled(self) -> bool:
        """Tell whether an operator's override of the shared circuit decides for the own one."""
        return self.shared.mode is CircuitMode.FORCED_CLOSED and self.own.mode is CircuitMode.AUTO

    def __repr__(self) -> str:
        return f"<RouteCircuit {self.own!r} {self.shared!r}>"


def counts_timeouts(route: Route) -> bool:
    """Tell whether a route's timeouts are evidence: those of unmatched requests are not, unless they name a circuit."""
    return route.template != EVERY or route.settings.circuit is not None


def own_circuits(routes: Sequence[Route]) -> Mapping[str, str]:
    """Return the name of each own circuit, `CIRCUIT:ROUTE`, by operation."""
    users = Counter([route.circuit for route in routes])
    return {
        route.operation: f"{route.circuit}:{route.operation}"
        for route in routes
        if users[route.circuit] > 1 and counts_timeouts(route)
    }
