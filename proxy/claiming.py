"""Step 5's longer half: a request is claimed, so that it is asked once across replicas and replayed when repeated."""

from typing import assert_never

from proxy.bag import OUT_OF_TIME
from proxy.errors import Reason, Refusal
from proxy.fields import Lines
from proxy.message import Lost, Stream
from proxy.policy import answers, claims
from proxy.policy.attempts import effect, effect_of
from proxy.policy.claims import Answer, Ask, Claim, Held, Mine, Misuse, Settled, Standing, TakeOver, Untold, Wait
from proxy.policy.coalescing import Flight, given_in_person, stream_of
from proxy.policy.deadline import remaining
from proxy.policy.idempotency import Key
from proxy.policy.recovery import Result
from proxy.policy.routing import Idempotency
from proxy.recovering import Recovering


class Claiming(Recovering):
    """How an exchange claims what it asks. Without a claim to make it costs a plain request one look."""

    __slots__ = ()

    async def _ask(self) -> Result:
        """Ask upstream: steps 6 to 9, which are the page's."""
        raise NotImplementedError

    async def _replayed(self) -> Result | None:
        """Claim a client's own key, before joining (I4): return what is stored under it, for this caller alone.

        The same key in flight here is joined with its flight; in flight elsewhere, it is waited for.
        """
        self._require_store()
        parts, route, key = self._parts, self.route, self.key
        if route.idempotency is not Idempotency.REPLAY or key is None or self.request.safe:
            return None
        self.identity = self._wiring.identifier.identify(self.request, self.subject.value)
        claim = claims.of_key(route, self.request, self.identity.principal, key, self.holder)
        standing = await parts.claims.claim(claim, remaining(self._until, parts.clock.now()) / 2)
        if isinstance(standing, Untold) and not route.store_required:
            standing = await parts.claims.alone(claim)
        waits = isinstance(claims.judge(claim, standing, route), Wait)
        if waits and parts.flights.has(self.identity.question):
            self._note("joined")
            return None
        return await self._follow_claim(claim, standing)

    def _require_store(self) -> None:
        if self.route.store_required and not self._parts.store.up:
            detail = answers.problem_of(claims.STORE_GONE.outcome).detail
            raise Refusal(503, "store", detail, closes=False, error=Reason.UNRECORDED)

    async def _ask_once(self, flight: Flight | None) -> Result:
        """Ask an unsafe question, unless another replica does; settle its claims before anybody is answered."""
        result = await self._asked_elsewhere(flight)
        if result is None:
            try:
                result = await self._ask()
            finally:
                changed = self._end_write(effect(self.attempts))
        else:
            changed = self._end_write(effect_of(result.outcome))
        if changed and self._parts.replicas is not None:
            await self._parts.replicas.told()
        await self._settle_claims(flight, result)
        return result

    async def _asked_elsewhere(self, flight: Flight | None) -> Result | None:
        """Claim a flight's question for every replica; return what another one brought home."""
        store = self._parts.claims
        if flight is None or not store.spans_replicas:
            return None
        claim = claims.of_flight(self.route, flight.key, self.key)
        return await self._follow_claim(claim, await store.claim(claim))

    async def _follow_claim(self, claim: Claim, standing: Standing) -> Result | None:
        """Wait, take over or answer, until it is ours to ask (None) or somebody's answer is here."""
        held: Held | None = None
        while True:
            lost = held is not None and isinstance(standing, Untold)
            judgement = claims.bereft(self.route, held) if lost and held else claims.judge(claim, standing, self.route)
            match judgement:
                case Ask(adopted):
                    self._go_ahead(claim, standing, adopted)
                    return None
                case Answer(result):
                    return self._given(standing, result)
                case Misuse():
                    self._note("mismatch")
                    detail = "this Idempotency-Key was used for another request; a new request needs a new key"
                    raise Refusal(422, "idempotency_key_reused", detail, closes=False)
                case TakeOver(orphan):
                    standing = await self._parts.claims.take_over(claim, orphan)
                    if isinstance(standing, Mine):
                        self._note("taken_over")
                        self._adopt(orphan.key)
                case Wait(held):
                    left_s = remaining(self._until, self._parts.clock.now())
                    waited = await self._parts.claims.wait(claim, held, left_s) if left_s > 0 else None
                    if waited is None:
                        return OUT_OF_TIME
                    standing = waited
                case _:
                    assert_never(judgement)

    def _go_ahead(self, claim: Claim, standing: Standing, adopted: str) -> None:
        self._adopt(adopted)
        if isinstance(standing, Mine):
            self.held.append((claim, standing))
        self._note("claimed" if isinstance(standing, Mine) else "untold")

    def _given(self, standing: Standing, result: Result) -> Result:
        if result is claims.UNKNOWN or result is claims.STORE_GONE:
            self._note("unknown" if result is claims.UNKNOWN else "untold")
        elif claims.is_lost(result):
            self._note("not_kept")
        elif isinstance(standing, Settled) and standing.ttl_s:
            self._note("replayed")
            self.alone_because = "replayed"
            return claims.replayed(result, standing.ttl_s)
        return result

    def _adopt(self, key: str) -> None:
        """Ask with the key that it was asked with before: only so can the backend know it again."""
        if key:
            value = key.encode("latin-1")
            self.key = Key(value, "adopted")
            self.request.fields = self.request.fields.with_line(b"Idempotency-Key", value)

    async def _settle_claims(self, flight: Flight | None, result: Result) -> None:
        """Settle every claim of those who asked together, before anybody is answered (I4).

        The cookie of a caller whom nothing names goes to one connection: nobody is given the answer again, and its key
        stays used. The followers' keys are free, for each of them asks for itself.
        """
        store, private = self._parts.claims, self.identity.anonymous and given_in_person(result)
        stream = None if private else stream_of(result)
        if stream is not None:
            self._settle_when_whole(flight, result, stream)
            return
        given = None if private else claims.stored(result, self.route.replay_answer_limit)
        while self.held:
            claim, mine = self.held.pop()
            await store.settle(claim, mine, given, keep=claims.to_keep(claim, result))
        while flight is not None and not private and flight.held:
            claim, mine = flight.held.pop()
            await store.settle(claim, mine, given, keep=claims.to_keep(claim, result))

    def _settle_when_whole(self, flight: Flight | None, result: Result, stream: Stream) -> None:
        """Settle the claims of those who asked together once an answer that comes in pieces is here, or too large."""
        store, held, self.held = self._parts.claims, self.held, []
        if flight is not None:
            held, flight.held = [*held, *flight.held], []
        waiting = [(claim, mine) for claim, mine in held if claims.may_wait(claim, result)]
        for claim, mine in held:
            if not claims.may_wait(claim, result):
                store.settle_soon(claim, mine, None, keep=False)

        def settle(body: bytes | Lost, trailers: Lines) -> None:
            whole = claims.collected(result, body, trailers)
            for claim, mine in waiting:
                store.settle_soon(claim, mine, whole, keep=claims.to_keep(claim, result))

        if waiting:
            stream.collect(self.route.replay_answer_limit, settle)

    def _let_claims_go(self, held: list[tuple[Claim, Mine]], *, asked: bool) -> None:
        """Give up what was never settled: at once if nothing was asked, else by letting its lease lapse (I6)."""
        while held:
            self._parts.claims.let_go(*held.pop(), asked=asked)

    def _note(self, result: str) -> None:
        self._parts.meter.idempotency(self.route.operation, result)
