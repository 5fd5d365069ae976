"""Step 9's longer ways to an answer: create what is missing, fall back on what was kept. The page chooses."""

from proxy.keeping import Keeping
from proxy.message import Outcome, Request, discard
from proxy.policy import idempotency, kept, recovery
from proxy.policy.attempts import effect
from proxy.policy.recovery import Create, LoadAgain, Plan, Recovered


class Recovering(Keeping):
    """What recovery asks for by itself. Its requests join no flight and are never recovered themselves."""

    __slots__ = ()

    async def _climb(self, request: Request) -> Outcome:
        """Run one ladder of attempts: steps 6 to 8, which are the page's."""
        raise NotImplementedError

    def _preflight(self, outcome: Outcome) -> Recovered | None:
        learnt = self._wiring.cors.preflight(self.request, self._parts.router.scope(self.request))
        return recovery.preflight(outcome, learnt)

    async def _create(self, plan: Create, before: Outcome) -> Plan:
        parts, subject, first = self._parts, self.subject.value, len(self.attempts)
        key = idempotency.mint(
            subject, self.route.operation, self.started_wall, parts.random, quoted=self.route.quoted_key
        )  # fmt: skip
        self._begin_write()
        created = await self._climb(
            recovery.own_request(self.request, plan.method, plan.target, plan.body, key.value)
        )  # fmt: skip
        self._end_write(effect(self.attempts[first:]))
        after = self._chosen(recovery.after_create(before, created), created)
        if not isinstance(after, LoadAgain):
            return after
        found = await self._climb(self.request)
        return self._chosen(recovery.after_load_again(before, found), found)

    def _chosen(self, plan: Plan, found: Outcome) -> Plan:
        """Let go of what was found where the plan does not use it."""
        if not recovery.uses(plan, found):
            discard(found)
        return plan

    async def _stale(self, before: Outcome) -> Recovered | None:
        found = await self._look()
        if found is None or not self._fresh(found.stamp):
            return None
        result = kept.stale(self.route, self.request, found, before, self._parts.clock.wall())
        return None if result is None else Recovered(result)
