"""Claims within this process: owners, waiters and stored results, within bounds."""

import asyncio
from collections.abc import Callable, Iterable, Set

from proxy.clock import Clock
from proxy.http.message import Response, held_bytes
from proxy.policy.bounded import Bounded, HeldValue, Holder
from proxy.policy.claim_rules import (
    ERASED,
    NO_ROOM,
    TOO_LARGE,
    Acquired,
    Claim,
    ClaimState,
    HeldByOther,
    Orphaned,
    Settled,
)
from proxy.policy.recovery_plan import Result

DROPPED_AT_ONCE = 500  # responses, about 2 ms
_KEY_BYTES = 256  # bytes of a used key
_Waiting = asyncio.Future[Settled | bool]  # True: the claim is free; False: the time has run out


class _Pending:
    """A held claim and its waiters."""

    __slots__ = ("held", "waiting")

    def __init__(self, held: HeldByOther) -> None:
        self.held = held
        self.waiting: list[_Waiting] = []


class LocalClaims:
    """Claims in memory. A claim lasts while its owner runs; at most `max_entries` results of `max_bytes` are kept."""

    spans_replicas = False

    def __init__(self, clock: Clock, max_entries: int, max_bytes: int) -> None:
        self._clock = clock
        self._count = 0
        self._pending: dict[str, _Pending] = {}
        self._settled: Bounded[str, Settled] = Bounded(max_entries, max_bytes)
        self._with_response: Bounded[str, None] = Bounded(max_entries, max_bytes)  # those with a response
        self.when_forgotten: Callable[[str], None] | None = (
            None  # called with the name of a claim that is evicted early
        )

    def __len__(self) -> int:
        return len(self._pending) + len(self._settled)

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim if it is free; return its state."""
        return self._claim(claim)

    async def alone(self, claim: Claim) -> ClaimState:
        """Do the same: there are no other replicas."""
        return self._claim(claim)

    def settled(self, claim: Claim) -> Settled | None:
        """Return the stored result, if any."""
        now = self._clock.now()
        cached = self._settled.get(claim.name, now)
        return None if cached is None else cached.value._replace(ttl_s=cached.until - now)

    def remember(self, claim: Claim, result: Result | None) -> Settled:
        """Store a result for later requests, within bounds."""
        settled, now = _settled(claim, result), self._clock.now()
        if _size(settled) > self._settled.max_bytes:
            settled = _settled(claim, TOO_LARGE)
        self._store(claim.name, settled, now + claim.keep_s, claim.holder)
        return settled

    def _store(self, name: str, settled: Settled, until: float, holder: Holder) -> None:
        now, size = self._clock.now(), _size(settled)
        for other in self._settled.put(name, settled, size, until, now, holder):
            self._with_response.drop(other)
            if self.when_forgotten is not None:
                self.when_forgotten(other)
        if size > _KEY_BYTES:
            self._with_response.put(name, None, size, until, now, holder)

    def make_room(self, most: int) -> None:
        """Reduce the responses to `most` bytes over several calls; the heaviest holders' are dropped first.

        A key stays used without its response, because forgetting it could execute it twice.
        """
        now = self._clock.now()
        for name in self._with_response.make_room(most, DROPPED_AT_ONCE):
            cached = self._settled.get(name, now)
            if cached is not None:
                without = cached.value._replace(result=NO_ROOM)
                self._settled.put(name, without, _KEY_BYTES, cached.until, now, cached.holder)

    def erase(self, subject: str) -> set[str]:
        """Erase the responses and keys of a subject; return the claims' names. Each key's digest stays used."""
        return self.erase_named(name for name, held in self._settled.items() if held.value.subject == subject)

    def erase_named(self, names: Iterable[str]) -> set[str]:
        """Erase the responses and keys of these claims; return the names of those that are in time."""
        now, erased = self._clock.now(), set[str]()
        for name in list(names):
            held = self._settled.get(name, now)
            self._with_response.drop(name)
            if held is not None:
                left = Settled(held.value.fingerprint, "", ERASED, 0.0)
                self._settled.put(name, left, _KEY_BYTES, held.until, now, held.holder)
                erased.add(name)
        return erased

    def of_callers(self, callers: Set[bytes]) -> list[str]:
        """Return the names of the claims that are charged to these callers."""
        return [name for name, held in self._settled.items() if held.holder.caller in callers]

    def stored(self) -> Iterable[tuple[str, HeldValue[Settled]]]:
        """Return each claim with a stored result, the newest last."""
        return self._settled.items()

    def stored_as(self, name: str) -> HeldValue[Settled] | None:
        """Return the stored result of a claim, if any."""
        return self._settled.get(name, self._clock.now())

    def restore(self, name: str, settled: Settled, left_s: float, holder: Holder) -> None:
        """Store a result of an earlier process for `left_s` more seconds, within bounds."""
        self._store(name, settled, self._clock.now() + left_s, holder)

    def _claim(self, claim: Claim) -> ClaimState:
        pending = self._pending.get(claim.name)
        if pending is not None:
            return pending.held
        if (settled := self.settled(claim)) is not None:
            return settled
        self._count += 1
        token = str(self._count)
        self._pending[claim.name] = _Pending(HeldByOther(claim.fingerprint, claim.key, token))
        return Acquired(token)

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Wait for the claim's holder; return the new state, None if the time ran out."""
        pending = self._pending.get(claim.name)
        if pending is None or pending.held.token != held.token:
            return self._claim(claim)
        loop = asyncio.get_running_loop()
        waiting: _Waiting = loop.create_future()
        pending.waiting.append(waiting)
        timer = loop.call_later(within_s, _resolve, waiting, False)
        try:
            flushed = await waiting
        finally:
            timer.cancel()
        if flushed is True:  # the claim is taken only now, because the woken waiter may have left
            return self._claim(claim)
        return None if flushed is False else flushed

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        """Return the claim's state: no claim here outlives its owner."""
        return self._claim(claim)

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Give the result to all waiters; keep it for later requests, or free the claim."""
        self.settle_soon(claim, mine, result, keep=keep)

    def settle_soon(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Do the same: nothing here waits."""
        pending = self._pending.pop(claim.name)
        settled = self.remember(claim, result) if keep else _settled(claim, result)
        for waiting in pending.waiting:
            _resolve(waiting, settled)

    def release(self, claim: Claim, mine: Acquired, *, sent: bool) -> None:
        """Free the claim, so that the first waiter takes it."""
        for waiting in self._pending.pop(claim.name).waiting:
            _resolve(waiting, True)


def is_here(token: str) -> bool:
    """Tell whether a claim exists only in this process."""
    return token.isdigit()  # tokens of Redis begin with a replica's name


def _settled(claim: Claim, result: Result | None) -> Settled:
    whole = result is None or not isinstance(result.outcome, Response) or result.outcome.whole
    return Settled(claim.fingerprint, claim.key, result if whole else None, 0.0, claim.subject)


def _resolve(waiting: _Waiting, what: Settled | bool) -> None:
    if not waiting.done():
        waiting.set_result(what)


def _size(settled: Settled) -> int:
    outcome = None if settled.result is None else settled.result.outcome
    return _KEY_BYTES + (held_bytes(outcome) if isinstance(outcome, Response) else 0)
