"""Claims in a Redis that all replicas share. It contains no personal data: names are digests."""

import asyncio
from typing import Any, NamedTuple

from proxy.policy.claim_rules import (
    TOO_LARGE,
    Acquired,
    Claim,
    ClaimState,
    HeldByOther,
    Orphaned,
    Settled,
    StoreUnavailable,
)
from proxy.policy.recovery_plan import Result
from proxy.store.command_queue import Argument, CommandQueue
from proxy.store.local_claims import LocalClaims, is_here
from proxy.store.packing import MAX_VALUE, Damaged, of_subject, pack, pack_result, unpack, unpack_result
from proxy.store.pubsub import ReplicaPubSub
from proxy.store.redis_connection import RedisConnection, StoreDown
from proxy.store.scripts import CLAIM, RENEW, SETTLE, TAKE_OVER, call

LEASE_S = 1.0  # seconds; an owner that does not renew in this time counts as dead
RENEW_S = 0.25
OUTCOME_S = 5.0  # seconds for which waiters may fetch an outcome


class _Held(NamedTuple):
    """A claim that this process holds, with the value that proves it."""

    claim: Claim
    value: bytes


class RedisClaims:
    """Claims that all replicas see: free -> pending with a lease -> settled, or orphaned when the lease lapses.

    An owner renews its leases while it lives. A landing wakes the waiters, which look again when a lease would expire:
    there is no polling. A command with an unknown outcome is undone.

    Claims settled by this process are also remembered in `here`, as are claims taken while Redis was down: after a
    short outage no request is sent twice.
    """

    spans_replicas = True

    def __init__(
        self, connection: RedisConnection, commands: CommandQueue, pubsub: ReplicaPubSub, name: str, here: LocalClaims
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._pubsub = pubsub
        self._name = name
        self._here = here
        self._count = 0
        self._held: dict[str, _Held] = {}  # this process's claims, by token,
        self._tokens: dict[str, str] = {}  # and the token by the claim's name
        self._timer: asyncio.TimerHandle | None = None
        here.when_forgotten = self._forget

    def _forget(self, name: str) -> None:
        """Free evicted claims in Redis too, so that no caller exceeds the limit of one process there."""
        self._commands.fire_and_forget("DEL", self._key("claim", name))

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim if it is free; return its state. Wait up to `within_s` seconds for a reconnection."""
        known = self._here.settled(claim)
        if known is not None:
            return known
        until = asyncio.get_running_loop().time() + within_s
        token, value = self._token(claim, claim.key)
        command = call(CLAIM, self._keys(claim), value, _ms(claim.orphaned_s), _ms(LEASE_S))
        try:
            found = await self._taking("claim", claim, value, command, until)
        except StoreDown:
            return StoreUnavailable()
        _, taken, lease_ms, ttl_ms = found
        return self._mine(claim, token, value) if taken is None else self._claim_state(claim, taken, lease_ms, ttl_ms)

    async def alone(self, claim: Claim) -> ClaimState:
        """Take the claim in this process only, because Redis is down; return its state here."""
        token = self._tokens.get(claim.name)
        if token is not None:
            held = self._held[token].claim
            return HeldByOther(held.fingerprint, held.key, token, LEASE_S)
        return await self._here.claim(claim)

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        """Take over a dead owner's claim and key; return the claim's state if another replica did so first."""
        token, value = self._token(claim, orphan.key)
        before = _pending(self._key("claim", claim.name), orphan.fingerprint, orphan.key, orphan.token)
        command = call(TAKE_OVER, self._keys(claim), value, _ms(claim.orphaned_s), _ms(LEASE_S), before)
        try:
            _, taken = await self._taking("take_over", claim, value, command)
        except StoreDown:
            return StoreUnavailable()
        return self._mine(claim, token, value) if taken else await self._claim_after(orphan, claim)

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Wait until the owner has settled the claim or may be dead; return its state, None if the time ran out."""
        if is_here(held.token):
            return await self._here.wait(claim, held, within_s)
        loop, landing = asyncio.get_running_loop(), self._pubsub.landing(held.token)
        timer: asyncio.TimerHandle | None = None
        began = loop.time()
        try:
            outcome = await self._outcome(held)  # it may have landed before this process subscribed
            if outcome is None and not landing.done():
                lease_s = within_s if held.token in self._held else held.lease_s  # this process is alive
                patience_s = max(0.001, min(within_s - (loop.time() - began), lease_s))
                timer = loop.call_later(patience_s, landing.cancel)
                await asyncio.wait({landing})
                outcome = await self._outcome(held)
        finally:
            if timer is not None:
                timer.cancel()
            self._pubsub.forget(held.token, landing)
        if outcome is not None:
            return outcome
        left_s = within_s - (loop.time() - began)
        return await self._claim_after(held, claim, left_s) if left_s > 0 else None

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Give the result to all waiters; keep it for later requests, or free the claim."""
        command = self._settle(claim, mine, result, keep=keep)
        if command is None:
            return
        try:
            await self._commands.execute("settle", *command)
        except StoreDown:
            # otherwise later requests with this key would get an unknown outcome
            self._commands.fire_and_forget(*command)
        except asyncio.CancelledError:  # at the deadline: the command may still wait to be sent
            self._commands.fire_and_forget(*command)
            raise

    def settle_soon(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Do the same in the background."""
        if (command := self._settle(claim, mine, result, keep=keep)) is not None:
            self._commands.fire_and_forget(*command)

    def _settle(
        self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool
    ) -> tuple[Argument, ...] | None:
        """Settle the claim in this process; return the command that settles it in Redis, None for a local claim."""
        packed = _packed(result)
        settled = _settled(claim, packed, self._key("claim", claim.name))
        if is_here(mine.token):
            self._here.settle_soon(claim, mine, result, keep=keep)
            if keep:  # stored once Redis is back, unless another replica settled it meanwhile
                self._commands.fire_and_forget(
                    "SET", self._key("claim", claim.name), settled, "PX", _ms(claim.keep_s), "NX"
                )
            return None
        if keep:
            self._here.remember(claim, result)
        outcome = _settled(claim, packed, self._key("outcome", mine.token))
        command = self._settling(claim, mine.token, self._give_up(mine), settled if keep else b"", outcome)
        self._pubsub.landed(mine.token)
        return command

    def release(self, claim: Claim, mine: Acquired, *, sent: bool) -> None:
        """Free the claim in the background, or let its lease expire if the request was sent."""
        if is_here(mine.token):
            self._here.release(claim, mine, sent=sent)
            return
        value = self._give_up(mine)
        if not sent:
            self._commands.fire_and_forget(*self._settling(claim, mine.token, value))

    async def _claim_after(self, owner: HeldByOther | Orphaned, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim unless its owner has settled it in the meantime; return the owner's outcome in that case.

        A settled flight is free, so taking its claim would send the request a second time.
        """
        state = await self.claim(claim, within_s)
        if not isinstance(state, Acquired):
            return state
        try:
            outcome = await self._outcome(owner)
        except asyncio.CancelledError:  # the waiter has left: nobody else would give the claim back
            self.release(claim, state, sent=False)
            raise
        if outcome is None:
            return state
        self.release(claim, state, sent=False)
        return outcome

    async def _outcome(self, held: HeldByOther | Orphaned) -> Settled | None:
        key = self._key("outcome", held.token)
        try:
            packed = await self._commands.execute("outcome", "GET", key)
        except StoreDown:
            return None
        try:
            found = unpack(packed, key)
            return None if found is None else Settled(held.fingerprint, held.key, unpack_result(found[1] or None), 0.0)
        except Damaged as damaged:
            self._connection.damaged("outcome", str(damaged))
            return None

    def _claim_state(self, claim: Claim, value: bytes, lease_ms: int, ttl_ms: int) -> ClaimState:
        """Return a claim's state. A damaged claim was taken: its outcome is unknown, and no request is sent."""
        try:
            return claim_state(self._key("claim", claim.name), value, lease_ms, ttl_ms)
        except Damaged as damaged:
            self._connection.damaged("claim", str(damaged))
            return Settled(claim.fingerprint, claim.key, None, max(0.001, ttl_ms / 1000))

    def _settling(
        self, claim: Claim, token: str, value: bytes, cached: bytes = b"", outcome: bytes = b""
    ) -> tuple[Argument, ...]:
        keys = [*self._keys(claim), self._key("outcome", token)]
        return call(
            SETTLE, keys, value, cached, _ms(claim.keep_s), outcome, _ms(OUTCOME_S), self._pubsub.landed_channel, token
        )  # fmt: skip

    async def _taking(
        self, operation: str, claim: Claim, value: bytes, command: tuple[Argument, ...], until: float = 0.0
    ) -> Any:
        """Return the result of a script that takes the claim. Without a response it may have run: queue a compensation.

        The queue keeps the order, so the compensation runs after the script. Raise StoreDown.
        """
        try:
            while True:
                try:
                    return await self._commands.execute(operation, *command)
                except StoreDown:
                    if asyncio.get_running_loop().time() >= until or not await self._connection.back(until):
                        raise
        except (StoreDown, asyncio.CancelledError):
            self._commands.fire_and_forget(*self._settling(claim, "none", value))
            raise

    # leases

    def _mine(self, claim: Claim, token: str, value: bytes) -> Acquired:
        self._held[token] = _Held(claim, value)
        self._tokens[claim.name] = token
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(RENEW_S, self._renew_all)
        return Acquired(token)

    def _give_up(self, mine: Acquired) -> bytes:
        claim, value = self._held.pop(mine.token)
        if self._tokens.get(claim.name) == mine.token:
            del self._tokens[claim.name]
        return value

    def _renew_all(self) -> None:
        self._timer = None
        if not self._held:
            return
        for claim, value in self._held.values() if self._connection.up else ():
            self._commands.fire_and_forget(*call(RENEW, self._keys(claim), value, _ms(LEASE_S)))
        self._timer = asyncio.get_running_loop().call_later(RENEW_S, self._renew_all)

    def _token(self, claim: Claim, key: str) -> tuple[str, bytes]:
        self._count += 1
        token = f"{self._name}-{self._count:x}"
        return token, _pending(self._key("claim", claim.name), claim.fingerprint, key, token)

    def _keys(self, claim: Claim) -> list[str]:
        return [self._key("claim", claim.name), self._key("lease", claim.name)]

    def _key(self, kind: str, name: str) -> str:
        return self._connection.key(kind, name)

    def close(self) -> None:
        """Stop renewing."""
        if self._timer is not None:
            self._timer.cancel()


def _pending(stored_under: str, fingerprint: str, key: str, token: str) -> bytes:
    document = {"settled": False, "fingerprint": fingerprint, "key": key, "token": token}
    return pack(document, key=stored_under)


def _packed(result: Result | None) -> bytes:
    """Serialise a result, if there is one; a response of more than `MAX_VALUE` bytes is replaced by TOO_LARGE."""
    packed = (result and pack_result(result)) or b""
    return packed if len(packed) <= MAX_VALUE else pack_result(TOO_LARGE) or b""


def _settled(claim: Claim, packed: bytes, stored_under: str) -> bytes:
    """Return a settled claim with its serialised result, as it is stored under a key in Redis."""
    document = {"settled": True, "fingerprint": claim.fingerprint, "key": claim.key}
    return pack({**of_subject(claim.subject), **document}, packed, stored_under)


def claim_state(stored_under: str, value: bytes, lease_ms: int, ttl_ms: int) -> ClaimState:
    """Return the state of a claim in Redis; StoreUnavailable for one of another version. Raise Damaged."""
    found = unpack(value, stored_under)
    if found is None:
        return StoreUnavailable()
    document, packed = found
    try:
        settled, fingerprint, key = document["settled"], str(document["fingerprint"]), str(document["key"])
        token = "" if settled else str(document["token"])
    except KeyError as missing:
        raise Damaged(f"it has no {missing}") from None
    if settled:
        return Settled(fingerprint, key, unpack_result(packed or None), max(0.001, ttl_ms / 1000))
    if lease_ms <= 0:
        return Orphaned(fingerprint, key, token)
    return HeldByOther(fingerprint, key, token, lease_ms / 1000)


def _ms(seconds: float) -> int:
    return max(1, int(seconds * 1000))
