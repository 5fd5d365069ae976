"""Kept answers in a Redis that every replica reads. Nothing in it names a person: keys are digests.

What a write makes old is told by marks: a kept answer carries the marks that stood before it was asked for, a write
sets new ones, and an answer whose marks are not the present ones is not there. Marks need no clock and no message.
"""

from hashlib import blake2b
from typing import NamedTuple

from proxy.parts import Look, Mark, Scope
from proxy.policy.freshness import Seals
from proxy.policy.kept import Kept
from proxy.store.link import Link, StoreDown
from proxy.store.packing import MAX_VALUE, pack_kept, unpack_kept

ALL = "mark:all"
MARK_S = 86_400  # a mark outlives every answer that carries it


def digest(*parts: bytes) -> str:
    """Return a name that tells nothing of its parts."""
    return blake2b(b"\0".join(parts), digest_size=20).hexdigest()


class RedisStore:
    """Kept answers, through aiocache. Redis's own `maxmemory` bounds them; each has its time."""

    def __init__(self, link: Link, seals: Seals) -> None:
        self._link = link
        self._seals = seals

    @property
    def up(self) -> bool:
        """Tell whether Redis answers."""
        return self._link.up

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is kept under `key`, unless a write anywhere has made it old."""
        stamp, names = self._seals.stamp(), mark_names(scope)
        try:
            packed, *marks = await self._link.run(
                "look", lambda: self._link.cache.multi_get([digest(key), *names.of_writes, *names.of_ends])
            )  # fmt: skip
        except StoreDown:
            return Look(None)
        present = [(mark or b"").decode("latin-1") for mark in marks]  # whatever somebody else has put there
        mark = tuple(text.encode() for text in present)
        found = unpack_kept(packed, stamp)
        valid = found is not None and _hold(found[1], present, len(names.of_writes))
        return Look(found[0] if found is not None and valid else None, mark)

    async def put(self, key: bytes, kept: Kept, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Keep an answer under the marks that stood before it was asked for; without them it is not kept."""
        if mark is None:
            return
        packed, seconds = pack_kept(kept, [text.decode() for text in mark]), float(min(ttl_s, MARK_S))
        if len(packed) > MAX_VALUE:
            return
        try:
            await self._link.run("put", lambda: self._link.cache.set(digest(key), packed, ttl=seconds))
        except StoreDown:
            return

    async def drop(self, key: bytes) -> None:
        """Keep nothing under `key` any more."""
        try:
            await self._link.run("drop", lambda: self._link.cache.delete(digest(key)))
        except StoreDown:
            return


class MarkNames(NamedTuple):
    """The marks that an answer carries: any that a write has set makes it old; so do those of ends, all together."""

    of_writes: list[str]
    of_ends: list[str]


def mark_names(scope: Scope) -> MarkNames:
    """Return the marks that an answer of this scope carries: of everything, of each owner, and of its subject."""
    owners = [owner.hex() for owner in scope.owners]
    ends, names = [mark_of_ended(owner) for owner in owners], [ALL, *(mark_of_owner(owner) for owner in owners)]
    if scope.subject is not None:
        return MarkNames([*names, mark_of_subject(scope.subject)], ends)
    return MarkNames([*names, *(mark_of_subjectless(owner) for owner in owners)], ends)


def _hold(before: list[str], present: list[str], writes: int) -> bool:
    """Tell whether an answer's marks still stand: none of a write is new, nor all of ended sessions."""
    if before[:writes] != present[:writes] or len(before) != len(present):
        return False
    ends = list(zip(before[writes:], present[writes:], strict=True))
    return not ends or any(one == other for one, other in ends)


def mark_of_owner(owner: str) -> str:
    """Return the mark of all that an owner reads."""
    return f"mark:owner:{owner}"


def mark_of_ended(owner: str) -> str:
    """Return the mark of an owner whose session has ended."""
    return f"mark:ended:{owner}"


def mark_of_subjectless(owner: str) -> str:
    """Return the mark of what an owner reads that has no subject."""
    return f"mark:subjectless:{owner}"


def mark_of_subject(subject: str) -> str:
    """Return the mark of all that is read of a subject."""
    return f"mark:subject:{digest(subject.encode('utf-8', 'surrogateescape'))}"
