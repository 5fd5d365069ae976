"""Step 5: claim a request, so that it is sent once across replicas and replayed if it is repeated."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import assert_never

from proxy.exchange.in_time import in_time
from proxy.exchange.ports import Ports, Wiring
from proxy.exchange.state import OUT_OF_TIME, Exchange, Lead
from proxy.http.fields import Lines
from proxy.http.message import BodyStream, Lost
from proxy.http.problems import Refusal
from proxy.policy import claim_rules, idempotency
from proxy.policy.claim_rules import (
    Acquired,
    Ask,
    Claim,
    ClaimState,
    HeldByOther,
    Misuse,
    RespondWith,
    Settled,
    StoreUnavailable,
    TakeOver,
    Wait,
)
from proxy.policy.coalescing import Flight, given_in_person, stream_of
from proxy.policy.deadline import remaining
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.recovery_plan import Result
from proxy.policy.routing import Idempotency, Route


class Claiming:
    """Claim a route's requests."""

    __slots__ = ("_clock", "_flights", "_identifier", "_meter", "_random", "_responses", "_route", "_store")

    def __init__(self, route: Route, wiring: Wiring, ports: Ports) -> None:
        self._route = route
        self._identifier = wiring.identifier
        self._flights = ports.flights
        self._store = ports.claims
        self._responses = ports.store
        self._meter = ports.meter
        self._random = ports.random
        self._clock = ports.clock

    async def replayed(self, x: Exchange) -> Result | None:
        """Claim a client's own key before joining; return the response stored under it, for this caller only.

        The same key in flight in this process is joined with its flight; in another replica it is awaited.
        Raise Refusal if a required store is unavailable, or if the key was used for another request.
        """
        self._require_store()
        route, key = self._route, x.key
        if route.idempotency is not Idempotency.REPLAY or key is None or x.request.safe:
            return None
        x.identity = self._identifier.identify(x.request, x.subject.value)
        holder = self._identifier.holder(x.request)
        claim = claim_rules.of_key(route, x.request, x.identity.principal, key, holder, x.subject.value)
        return await self._in_time(partial(self._own_key, x, claim), x.deadline)

    async def _own_key(self, x: Exchange, claim: Claim) -> Result | None:
        state = await self._store.claim(claim, remaining(x.deadline, self._clock.now()) / 2)
        if isinstance(state, StoreUnavailable) and not self._route.store_required:
            state = await self._store.alone(claim)
        waits = isinstance(claim_rules.judge(claim, state, self._route), Wait)
        if waits and self._flights.has(x.identity.key):
            self._count("joined")
            return None
        return await self._follow(x, claim, state, x.deadline)

    async def sent_elsewhere(self, x: Exchange, lead: Lead) -> Result | None:
        """Claim a flight's request key for all replicas; return the result of another replica, if any."""
        flight = lead.flight
        if flight is None or not self._store.spans_replicas:
            return None
        claim = claim_rules.of_flight(self._route, flight.key, x.key, x.subject.value)
        return await self._in_time(partial(self._of_flight, x, claim, lead.deadline), lead.deadline)

    async def _of_flight(self, x: Exchange, claim: Claim, until: float) -> Result | None:
        return await self._follow(x, claim, await self._store.claim(claim), until)

    async def _in_time(self, find: Callable[[], Awaitable[Result | None]], until: float) -> Result | None:
        """Return what is found, OUT_OF_TIME at the deadline."""
        if not self._store.spans_replicas:
            return await find()
        return await in_time(find, remaining(until, self._clock.now()), OUT_OF_TIME)

    def mint(self, x: Exchange) -> None:
        """Mint a key for all attempts of a request without one, if its route requires one."""
        if x.key is None:
            x.key = idempotency.minted(self._route, x.request, x.subject.value, x.started_wall, self._random)

    async def settle(self, x: Exchange, lead: Lead, result: Result) -> None:
        """Settle the claims of all callers of a flight before any of them gets the response, or at the deadline.

        A cookie may be for one connection only: then the response is not stored, but the key stays used. The
        followers' keys are freed, because each sends its own request.
        """
        flight, private = lead.flight, given_in_person(result, x.identity, x.request)
        stream = None if private else stream_of(result)
        if stream is not None:
            self._settle_when_whole(x, flight, result, stream)
            return
        given = None if private else claim_rules.stored(result, self._route.settings.replay_answer_limit)
        settle = partial(self._settle, given, result, lead.deadline)
        while x.held:
            await settle(*x.held.pop())
        while flight is not None and not private and flight.held:
            await settle(*flight.held.pop())

    async def _settle(self, given: Result | None, result: Result, until: float, claim: Claim, mine: Acquired) -> None:
        store, keep = self._store, claim_rules.to_keep(claim, result)
        left_s = remaining(until, self._clock.now())
        if not store.spans_replicas:
            await store.settle(claim, mine, given, keep=keep)
        elif left_s > 0:
            await in_time(partial(store.settle, claim, mine, given, keep=keep), left_s, None)
        else:  # in the background: the claim's waiters get the result a moment later
            store.settle_soon(claim, mine, given, keep=keep)

    def release_unsettled(self, x: Exchange) -> None:
        """Release claims of the request that were not settled."""
        self._release(x.held, sent=any(attempt.sent for attempt in x.attempts))

    def release_flight(self, flight: Flight, *, sent: bool) -> None:
        """Release unsettled claims of a flight's followers."""
        self._release(flight.held, sent=sent)

    def _release(self, held: list[tuple[Claim, Acquired]], *, sent: bool) -> None:
        """Release claims: at once if nothing was sent, otherwise when their leases expire."""
        while held:
            self._store.release(*held.pop(), sent=sent)

    def _require_store(self) -> None:
        if self._route.store_required and not self._responses.up:
            raise claim_rules.store_gone()

    async def _follow(self, x: Exchange, claim: Claim, state: ClaimState, until: float) -> Result | None:
        """Wait, take over or replay, until this request may be sent (None) or another's response is available."""
        held: HeldByOther | None = None
        while True:
            lost = held is not None and isinstance(state, StoreUnavailable)
            judgement = (
                claim_rules.store_lost(self._route, held)
                if lost and held
                else claim_rules.judge(claim, state, self._route)
            )
            match judgement:
                case Ask(adopted):
                    self._go_ahead(x, claim, state, adopted)
                    return None
                case RespondWith(result):
                    return self._given(x, state, result)
                case Misuse():
                    self._count("mismatch")
                    detail = "this Idempotency-Key was used for another request; a new request needs a new key"
                    raise Refusal(422, "idempotency_key_reused", detail, closes=False)
                case TakeOver(orphan):
                    state = await self._store.take_over(claim, orphan)
                    if isinstance(state, Acquired):
                        self._count("taken_over")
                        _adopt(x, orphan.key)
                case Wait(held):
                    left_s = remaining(until, self._clock.now())
                    waited = await self._store.wait(claim, held, left_s) if left_s > 0 else None
                    if waited is None:
                        return OUT_OF_TIME
                    state = waited
                case _:
                    assert_never(judgement)

    def _go_ahead(self, x: Exchange, claim: Claim, state: ClaimState, adopted: str) -> None:
        _adopt(x, adopted)
        if isinstance(state, Acquired):
            x.held.append((claim, state))
        self._count("claimed" if isinstance(state, Acquired) else "untold")

    def _given(self, x: Exchange, state: ClaimState, result: Result) -> Result:
        if result is claim_rules.UNKNOWN or result is claim_rules.STORE_GONE:
            self._count("unknown" if result is claim_rules.UNKNOWN else "untold")
        elif claim_rules.is_lost(result):
            self._count("not_kept")
        elif isinstance(state, Settled) and state.ttl_s:
            self._count("replayed")
            x.alone_because = "replayed"
            return claim_rules.replayed(result, state.ttl_s)
        return result

    def _settle_when_whole(self, x: Exchange, flight: Flight | None, result: Result, stream: BodyStream) -> None:
        """Settle the claims when a streamed response is complete or too large."""
        store, held, x.held = self._store, x.held, []
        if flight is not None:
            held, flight.held = [*held, *flight.held], []
        waiting = [(claim, mine) for claim, mine in held if claim_rules.may_wait(claim, result)]
        for claim, mine in held:
            if not claim_rules.may_wait(claim, result):
                store.settle_soon(claim, mine, None, keep=False)

        def settle(body: bytes | Lost, trailers: Lines) -> None:
            whole = claim_rules.collected(result, body, trailers)
            for claim, mine in waiting:
                store.settle_soon(claim, mine, whole, keep=claim_rules.to_keep(claim, result))

        if waiting:
            stream.collect(self._route.settings.replay_answer_limit, settle)

    def _count(self, result: str) -> None:
        self._meter.idempotency(self._route.operation, result)


def _adopt(x: Exchange, key: str) -> None:
    """Use the key of the earlier attempt: the backend recognises only that one."""
    if key:
        value = key.encode("latin-1")
        x.key = IdempotencyKey(value, "adopted")
        x.request.fields = x.request.fields.with_line(b"Idempotency-Key", value)
