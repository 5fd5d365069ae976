"""Step 9: replace a failure by the existing session, a created one, a stale response or a fallback, if possible."""

import asyncio

from proxy.exchange.attempts import Attempts
from proxy.exchange.cache import Cache
from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.state import Exchange, Lead
from proxy.http.message import Outcome, discard
from proxy.policy import idempotency, recovery_plan
from proxy.policy.attempt_facts import effect
from proxy.policy.cors import exposing
from proxy.policy.event_source import is_event_source
from proxy.policy.recovery_plan import (
    AnswerInstead,
    Create,
    LoadAgain,
    LoadExisting,
    Plan,
    Result,
    UseStale,
)
from proxy.policy.routing import Route


class Recovery:
    """Recover from failures. Its own requests join no flight and are not recovered."""

    __slots__ = ("_attempts", "_cache", "_cors", "_meter", "_random", "_route", "_router", "_wired")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports, attempts: Attempts, cache: Cache) -> None:
        self._route = route
        self._cors = wiring.cors
        self._router = ports.router
        self._wired = ports.wired
        self._meter = ports.meter
        self._random = ports.random
        self._attempts = attempts
        self._cache = cache

    async def run(self, x: Exchange, lead: Lead, outcome: Outcome) -> Result:
        """Return the result for the client, which may be the outcome itself."""
        await self._cache.end_session(x, lead, outcome)
        rules, names, subject = self._route.recovery, x.match.names, x.subject.value
        if rules.fallback is not None and is_event_source(x.request.method, x.request.fields):  # JSON ends it for ever
            rules = rules.without_fallback()
        plan = recovery_plan.plan(rules, outcome, names, subject)
        if isinstance(plan, LoadExisting):
            found = await self._attempts.run(x, lead, recovery_plan.own_request(x.request, plan.method, plan.target))
            plan = _chosen(recovery_plan.after_load(rules, outcome, found, names, subject), found)
        elif isinstance(plan, Create):
            plan = await self._create(x, lead, plan, outcome)
        elif isinstance(plan, UseStale):
            stale = await self._cache.stale(x, lead, outcome)
            plan = stale or recovery_plan.last_resort(rules, outcome, names, subject)
        recovered = plan if isinstance(plan, AnswerInstead) else self._preflight(x, outcome)
        if recovered is None:
            return Result(outcome)
        discard(outcome)
        self._meter.recovered(self._route.operation, recovered.kind)
        return recovered.readable(exposing(self._cors.lines(x.request)))

    def _preflight(self, x: Exchange, outcome: Outcome) -> AnswerInstead | None:
        """Answer a preflight in an outage: as the upstream did before, else by `cors` of the route that it requests."""
        request, scope = x.request, self._router.scope(x.request)
        if not scope:
            return None
        wanted = scope.partition(b" ")[0].decode("latin-1")
        known = self._cors.preflight(request, scope)
        if known is None:
            route = self._router.find(request.path, wanted).route
            known = self._wired(route).cors.configured_preflight(request, wanted)
        return recovery_plan.preflight(outcome, known)

    async def _create(self, x: Exchange, lead: Lead, plan: Create, before: Outcome) -> Plan:
        route, attempts, first = self._route, self._attempts, len(x.attempts)
        key = idempotency.mint(
            x.subject.value, route.operation, x.started_wall, self._random, quoted=route.quoted_key
        )  # fmt: skip
        self._cache.begin_write(x)
        request = recovery_plan.own_request(x.request, plan.method, plan.target, plan.body, key.value)
        try:
            created = await attempts.run(x, lead, request)
        finally:  # also if the request is cancelled: a create that was sent may have been done
            changed = self._cache.end_write(x, effect(x.attempts[first:]))
        try:
            if changed:
                await self._cache.inform_replicas(lead)
        except asyncio.CancelledError:
            discard(created)
            raise
        after = _chosen(recovery_plan.after_create(before, created), created)
        if not isinstance(after, LoadAgain):
            return after
        found = await attempts.run(x, lead, x.request)
        return _chosen(recovery_plan.after_load_again(before, found), found)


def _chosen(plan: Plan, found: Outcome) -> Plan:
    """Discard the outcome that was found if the plan does not use it."""
    if not recovery_plan.uses(plan, found):
        discard(found)
    return plan
