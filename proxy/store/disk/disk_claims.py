"""Claims that outlive the process: a used key stays used, and its response is replayed after a restart.

A claim is in the file before its request is sent, and its outcome before the response goes out. A claim that a dead
process left without an outcome is orphaned: its request may have been executed, so it is repeated only where that is
safe.
"""

from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from proxy.clock import Clock
from proxy.policy.bounded import Holder
from proxy.policy.claim_rules import (
    Acquired,
    Claim,
    ClaimState,
    HeldByOther,
    Orphaned,
    Settled,
    StoreUnavailable,
)
from proxy.policy.recovery_plan import Result
from proxy.store.disk.contents import KeptClaim, claim_content
from proxy.store.disk.disk_changes import Change, Kind, Put, Remove
from proxy.store.disk.disk_writer import ChangeQueue
from proxy.store.disk.scope_names import ScopeNames
from proxy.store.disk.sealing import NAME_BYTES
from proxy.store.local_claims import LocalClaims

_SIZE = 512  # bytes of a claim without a response, about
_DIGEST = 2 * NAME_BYTES  # letters of an address that is a digest


class _Taken(NamedTuple):
    """A claim under way, and what the process before had left of it."""

    claim: Claim
    left: KeptClaim | None


class DiskClaims:
    """Claims in memory, which the file repeats."""

    spans_replicas = False

    def __init__(self, here: LocalClaims, names: ScopeNames, clock: Clock, within_s: float) -> None:
        """Take the claims in memory, and how many seconds a request waits for the disk."""
        self._here = here
        self._names = names
        self._clock = clock
        self._within_s = within_s
        self._orphans: dict[str, KeptClaim] = {}  # of the process before
        self._damaged: dict[bytes, float] = {}  # rows that only say that a key was used, and until when
        self._taken: dict[str, _Taken] = {}  # under way: their rows are in the file
        self._subjects: dict[str, bytes] = {}  # of restored results: the subject's digest
        self.writer: ChangeQueue | None = None
        here.when_forgotten = self._forgotten

    async def claim(self, claim: Claim, within_s: float = 0.0) -> ClaimState:
        """Take the claim if it is free, durably; return its state. StoreUnavailable if the disk does not take it."""
        left = self._left_behind(claim)
        if left is not None:
            return left
        state = await self._here.claim(claim)
        return await self._taken_durably(claim, state) if isinstance(state, Acquired) else state

    async def alone(self, claim: Claim) -> ClaimState:
        """Take the claim in memory only, because the disk refuses it; return its state here."""
        return self._left_behind(claim) or await self._here.claim(claim)

    async def take_over(self, claim: Claim, orphan: Orphaned) -> ClaimState:
        """Take over a claim of the process before, with its key, unless another request did so first."""
        left = self._orphans.pop(claim.name, None)
        taken = claim if left is None else claim._replace(key=left.state.key)
        state = await self._here.claim(taken)
        return await self._taken_durably(taken, state, left) if isinstance(state, Acquired) else state

    async def wait(self, claim: Claim, held: HeldByOther, within_s: float) -> ClaimState | None:
        """Wait for the claim's holder; return the new state, None if the time ran out."""
        state = await self._here.wait(claim, held, within_s)
        return await self._taken_durably(claim, state) if isinstance(state, Acquired) else state

    async def settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Give the result to all waiters; keep it for later requests, or free the claim: on the disk, too."""
        number = self._settle(claim, mine, result, keep=keep)
        if number and self.writer is not None:
            await self.writer.durable(number, self._within_s)

    def settle_soon(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> None:
        """Do the same in the background."""
        self._settle(claim, mine, result, keep=keep)

    def release(self, claim: Claim, mine: Acquired, *, sent: bool) -> None:
        """Free the claim; if its request was sent, it is orphaned for the next process."""
        self._here.release(claim, mine, sent=sent)
        taken = self._taken.pop(claim.name, None)
        if taken is None or sent:
            return
        if taken.left is None:
            self._submit([self._removal(claim.name)])
        else:  # the process before may have had it executed
            self._orphans[claim.name] = taken.left
            self._submit([_put(taken.left, _SIZE)])

    def erase(self, names: Iterable[str]) -> set[str]:
        """Erase the responses and keys of these claims here and in the file; return the names of those in time."""
        erased = self._here.erase_named(names)
        for name in erased:
            self._subjects.pop(name, None)
        self._submit([row for name in erased if (row := self._row(name)) is not None])
        return erased

    def erase_subject(self, subject: str) -> set[str]:
        """Erase the responses and keys of a subject; return the claims' names."""
        digest = self._names.subject(subject)
        restored = [name for name, known in self._subjects.items() if known == digest]
        live = [name for name, held in self._here.stored() if held.value.subject == subject]
        orphans = [name for name, left in self._orphans.items() if left.subject == digest]
        for name in orphans:
            left = self._orphans[name]
            bare = left._replace(state=Orphaned(left.state.fingerprint, "", ""), subject=b"")
            self._orphans[name] = bare
            self._submit([_put(bare, _SIZE)])
        return self.erase([*restored, *live]) | set(orphans)

    def erase_callers(self, owners: Iterable[bytes]) -> None:
        """Erase the responses that callers with these credentials were given."""
        live = set(owners)
        self.erase(self._here.of_callers(live | set(map(self._names.owner, live))))

    def make_room(self, most: int) -> None:
        """Reduce the responses to `most` bytes; a key stays used without its response."""
        self._here.make_room(most)

    def restore(self, kept: KeptClaim) -> None:
        """Take over a claim of an earlier process, if its time is not over."""
        left_s = kept.until - self._clock.wall()
        if left_s <= 0:
            return
        if isinstance(kept.state, Orphaned):
            self._orphans[kept.claim] = kept
            return
        if kept.subject:
            self._subjects[kept.claim] = kept.subject
        self._here.restore(kept.claim, kept.state, left_s, kept.holder)

    def restore_damaged(self, name: bytes, until: float) -> None:
        """Take over that a key was used until `until`, although its row cannot be read."""
        self._damaged[name] = until

    def everything(self) -> list[Change]:
        """Return the changes that write every claim to an empty file."""
        stored = [row for name, _ in self._here.stored() if (row := self._row(name)) is not None]
        taken = [self._pending(taken.claim) for taken in self._taken.values()]
        return [*stored, *taken, *(_put(left, _SIZE) for left in self._orphans.values())]

    def sweep(self) -> None:
        """Forget what has expired; its rows expire by themselves."""
        wall = self._clock.wall()
        self._orphans = {name: left for name, left in self._orphans.items() if wall < left.until}
        self._damaged = {name: until for name, until in self._damaged.items() if wall < until}
        self._subjects = {name: of for name, of in self._subjects.items() if self._here.stored_as(name) is not None}

    def _left_behind(self, claim: Claim) -> ClaimState | None:
        """Return the state of a claim that a dead process had taken; None for any other."""
        wall = self._clock.wall()
        left = self._orphans.get(claim.name)
        if left is not None and wall < left.until:
            state = left.state
            return state if isinstance(state, Orphaned) else None
        until = self._damaged.get(self._names.of_claim(claim.name), 0.0) if self._damaged else 0.0
        return Settled(claim.fingerprint, claim.key, None, until - wall) if wall < until else None

    async def _taken_durably(self, claim: Claim, state: Acquired, left: KeptClaim | None = None) -> ClaimState:
        writer = self.writer
        self._taken[claim.name] = _Taken(claim, left)
        if writer is None or not writer.up:
            self.release(claim, state, sent=False)
            return StoreUnavailable()
        try:
            written = await writer.durable(writer.submit([self._pending(claim)]), self._within_s)
        except BaseException:  # the caller has left
            self.release(claim, state, sent=False)
            raise
        if written:
            return state
        self.release(claim, state, sent=False)
        return StoreUnavailable()

    def _settle(self, claim: Claim, mine: Acquired, result: Result | None, *, keep: bool) -> int:
        """Settle the claim; return the number of the group that makes it durable, 0 for none."""
        self._here.settle_soon(claim, mine, result, keep=keep)
        known = self._taken.pop(claim.name, None) is not None
        self._subjects.pop(claim.name, None)
        row = self._row(claim.name) if keep else None
        if row is not None:
            return self._submit([row])
        return self._submit([self._removal(claim.name)]) if known else 0

    def _row(self, name: str) -> Change | None:
        """Return the row of a stored result; None if there is none."""
        held = self._here.stored_as(name)
        if held is None:
            return None
        subject = self._subjects.get(name) or self._names.subject(held.value.subject)
        until = self._clock.wall() + held.until - self._clock.now()
        holder = held.holder if _is_digest(held.holder) else self._names.holder(held.holder)
        kept = KeptClaim(self._names.of_claim(name), name, held.value._replace(subject=None), holder, until, subject)
        return _put(kept, held.size + _SIZE)

    def _pending(self, claim: Claim) -> Put:
        state = Orphaned(claim.fingerprint, claim.key, "")
        until, subject = self._clock.wall() + claim.orphaned_s, self._names.subject(claim.subject)
        holder = self._names.holder(claim.holder)
        return _put(KeptClaim(self._names.of_claim(claim.name), claim.name, state, holder, until, subject), _SIZE)

    def _removal(self, name: str) -> Change:
        return Remove(Kind.CLAIM, self._names.of_claim(name))

    def _forgotten(self, name: str) -> None:
        """Remove an evicted claim from the file, so that no caller exceeds the limits there."""
        self._subjects.pop(name, None)
        self._submit([self._removal(name)])

    def _submit(self, changes: list[Change]) -> int:
        return self.writer.submit(changes) if changes and self.writer is not None else 0


def _put(kept: KeptClaim, size: int) -> Put:
    return Put(Kind.CLAIM, kept.name, kept.until, size, partial(claim_content, kept), kept.subject)


def _is_digest(holder: Holder) -> bool:
    """Tell whether a holder was restored from a file; no address is so long a hexadecimal number."""
    return len(holder.address) == _DIGEST
