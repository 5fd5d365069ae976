"""Step 5: cache reads; invalidate before and after a write, and skip caching while its outcome is unknown."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

from proxy.exchange.in_time import in_time
from proxy.exchange.ports import Ports, Scope, Wiring
from proxy.exchange.state import Exchange, Lead
from proxy.http.caller import Standing
from proxy.http.headers import CACHE_CONDITIONS
from proxy.http.message import Outcome, Response
from proxy.policy import response_cache
from proxy.policy.attempt_facts import Effect
from proxy.policy.deadline import remaining
from proxy.policy.recovery_plan import AnswerInstead, Result
from proxy.policy.response_cache import CachedResponse, Keep
from proxy.policy.routing import Route

T = TypeVar("T")

LEAST_S = 0.001  # for a command that must reach the store's queue
NEVER_FRESH = -1  # older than any invalidation


class Cache:
    """Cached responses, and their invalidation by writes."""

    __slots__ = (
        "_cached_since",
        "_cached_under",
        "_clock",
        "_identifier",
        "_invalidations",
        "_replicas",
        "_route",
        "_store",
    )

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._identifier = wiring.identifier
        self._cached_under, self._cached_since = wiring.cached_under, wiring.cached_since
        self._invalidations = ports.flights.invalidations
        self._replicas = ports.replicas
        self._store = ports.store
        self._clock = ports.cache_clock or ports.clock

    def begin_write(self, x: Exchange) -> None:
        """Close the flights that a write may invalidate, before it is sent."""
        self._invalidations.begin(x.subject.value, self._owners(x), self._route.total_timeout_s)

    def end_write(self, x: Exchange, effect: Effect) -> bool:
        """Invalidate what a write has changed, before its response is sent; tell whether anything was invalidated.

        While the outcome is unknown, nothing is cached that the backend may still change. A subject that a token claims
        without being verified then does not count: in an outage a stranger could invalidate any user's responses.
        """
        invalidations, subject = self._invalidations, x.subject.value
        if effect is Effect.NONE:
            invalidations.withdraw(subject, self._owners(x))
            return False
        owners = begun_by = tuple(self._owners(x))
        if effect is Effect.UNKNOWN:  # first: a crash between the two must not lose the doubt
            owners = tuple(self._identifier.owners(x.request, claimed=False))
            invalidations.mark_uncertain(self._route.total_timeout_s, subject, owners, self._clock.now())
        if owners != begun_by:
            invalidations.withdraw(subject, begun_by)
        invalidations.invalidate(subject, owners)
        if self._route.settings.ends_session:
            invalidations.drop_owners(owners)
        return True

    async def end_session(self, x: Exchange, lead: Lead, outcome: Outcome) -> None:
        """Invalidate what the caller has read if the response shows that the session has ended.

        An expired token, which is verified within the leeway, shows nothing about its principal. The other replicas are
        informed before the caller gets the response.
        """
        if response_cache.ends_session(outcome) and not self._is_expired(x):
            shown = self._identifier.owners(x.request, claimed=False)
            self._invalidations.end_session(shown, x.request.client)
            await self.inform_replicas(lead)

    async def inform_replicas(self, lead: Lead) -> None:
        """Wait until Redis has received all invalidations so far: at most `store.timeout`, and until the deadline."""
        if self._replicas is not None:
            await self._in_time(self._replicas.flushed, lead, None)

    def stamp(self, x: Exchange) -> int:
        """Return the current stamp, under which a response to a request sent now may be cached."""
        return NEVER_FRESH if self._is_uncertain(x) else self._invalidations.stamp()

    async def fresh(self, x: Exchange, lead: Lead) -> Result | None:
        """Return a fresh cached response, None if there is none."""
        found = await self._look(x, lead)
        if found is None or not self._is_fresh(x, found.stamp) or not response_cache.may_read(self._route, x.request):
            return None
        return response_cache.reread(self._route, x.request, found, self._clock.wall())

    async def stale(self, x: Exchange, lead: Lead, before: Outcome) -> AnswerInstead | None:
        """Return a stale cached response for an outage, None if there is none or the request's token permits none.

        At the deadline it is the one that was there when the request was sent: no write that this process knows of has
        invalidated it since.
        """
        standing = x.request.standing
        if standing is None or (standing.offline is None and not standing.refused):
            return await self._stale(x, lead, before, lead.cached)
        if standing.offline is None:
            return None
        identity, x.request.standing = x.identity, Standing(standing.offline)
        x.identity = self._identifier.identify(x.request, x.subject.value)
        try:
            return await self._stale(x, lead, before, None)
        finally:
            x.identity, x.request.standing = identity, standing

    async def _stale(
        self, x: Exchange, lead: Lead, before: Outcome, late: CachedResponse | None
    ) -> AnswerInstead | None:
        """Return the stale response of the exchange's identity; `late` is looked at if the store does not answer."""
        found = await self._in_time(partial(self._look, x, lead), lead, late)
        if found is None or not self._is_fresh(x, found.stamp):
            return None
        result = response_cache.stale(self._route, x.request, found, before, self._clock.wall())
        return None if result is None else AnswerInstead(result)

    async def store(self, x: Exchange, lead: Lead, result: Result, stamp: int) -> None:
        """Cache a response, or update the cached one from a 304; drop it if it is no longer valid."""
        route = self._route
        arrived, result = result.outcome, response_cache.merged(lead.cached, result)
        verdict = response_cache.judge(route, x.request, result, anonymous=x.identity.anonymous)
        response = result.outcome
        if verdict is Keep.STORE and isinstance(response, Response) and self._is_fresh(x, stamp):
            varied, subject = response_cache.varied(response, x.request), x.subject.value
            wall = self._clock.wall()
            if isinstance(arrived, Response):
                response = response_cache.with_age(response, arrived, wall)
            entry = CachedResponse(response, wall, stamp, varied, subject)
            scope = self._scope(x)._replace(holder=self._identifier.holder(x.request))
            ttl_s = response_cache.keep_for(route)
            await self._in_time(partial(self._store.put, self._key(x), entry, ttl_s, scope, lead.mark), lead, None)
        elif verdict is Keep.DROP and lead.cached is not None:
            await self._in_time(partial(self._store.drop, self._key(x)), lead, None, least_s=LEAST_S)

    async def _in_time(self, question: Callable[[], Awaitable[T]], lead: Lead, late: T, *, least_s: float = 0.0) -> T:
        """Return the result of a question to the store, or `late` at the deadline. A store of this process is fast."""
        if self._replicas is None:
            return await question()
        return await in_time(question, max(least_s, remaining(lead.deadline, self._clock.now())), late)

    async def _look(self, x: Exchange, lead: Lead) -> CachedResponse | None:
        """Return the cached response, fresh or not, if the request matches its Vary fields."""
        found, lead.mark = await self._store.look(self._key(x), self._scope(x))
        known = found is not None and found.arrived >= self._cached_since and found.fits(x.request)
        lead.cached = found if known else None
        return lead.cached

    def _is_expired(self, x: Exchange) -> bool:
        """Tell whether the request's verified token has expired."""
        standing = x.request.standing
        return standing is not None and standing.caller is not None and self._clock.wall() >= standing.caller.expires

    def _is_uncertain(self, x: Exchange) -> bool:
        return self._invalidations.uncertain.about(x.subject.value, self._owners(x), self._clock.now())

    def _is_fresh(self, x: Exchange, stamp: int) -> bool:
        return self._invalidations.fresh(stamp, x.subject.value, self._owners(x)) and not self._is_uncertain(x)

    def _key(self, x: Exchange) -> bytes:
        key = x.identity.key
        if not CACHE_CONDITIONS.isdisjoint(x.request.fields):
            key = self._identifier.cache_key(x.request, x.subject.value)
        return self._cached_under + key

    def _scope(self, x: Exchange) -> Scope:
        return Scope(x.subject.value, self._owners(x))

    def _owners(self, x: Exchange) -> Iterator[bytes]:
        """Yield a digest of each credential of the request."""
        return self._identifier.owners(x.request)
