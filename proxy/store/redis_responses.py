"""Cached responses in a Redis that all replicas share. It contains no personal data: keys are digests.

Invalidation uses marks: a cached response has the marks from before its request, a write sets new ones, and a response
with outdated marks is ignored. Marks need no clock and no message.

There are at most `2 * PLACES` marks. Each owner and each subject has two of them, chosen by its digest and shared with
other keys. A response is outdated if both marks of a key have changed, which other keys can also cause.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

from proxy.clock import Clock
from proxy.exchange.ports import Look, Mark, Scope
from proxy.policy.bounded import Bounded
from proxy.policy.invalidation import Invalidations
from proxy.policy.response_cache import CachedResponse
from proxy.store.command_queue import CommandQueue
from proxy.store.packing import MAX_VALUE, Damaged, pack_cached, unpack_cached
from proxy.store.redis_connection import RedisConnection, StoreDown

Pair = tuple[str, str]
ALL: Pair = ("mark:all", "mark:all")
MARK_S = 86_400  # seconds; a mark outlives every response that has it
PLACES = 131_072  # in each of two rows; all of them take about 30 MiB of Redis


def digest(*parts: bytes) -> str:
    """Return a digest of the parts, as a key without personal data."""
    return blake2b(b"\0".join(parts), digest_size=20).hexdigest()


class RedisStore:
    """Cached responses, through aiocache: `max_entries` of `max_bytes` from this process, each with an expiry."""

    def __init__(
        self,
        connection: RedisConnection,
        commands: CommandQueue,
        invalidations: Invalidations,
        clock: Clock,
        max_entries: int,
        max_bytes: int,
    ) -> None:
        self._connection = connection
        self._commands = commands
        self._invalidations = invalidations
        self._clock = clock
        self._ours: Bounded[str, None] = Bounded(max_entries, max_bytes)  # what this process has stored

    @property
    def up(self) -> bool:
        """Tell whether Redis is up."""
        return self._connection.up

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is cached under `key`, unless a write in any replica has invalidated it."""
        stamp, pairs, name = self._invalidations.stamp(), mark_names(scope), digest(key)
        names = [name for pair in (*pairs.of_writes, *pairs.of_ends) for name in pair]
        try:
            packed, *marks = await self._connection.run(
                "look", lambda: self._connection.cache.multi_get([name, *names])
            )
        except StoreDown:
            return Look(None)
        present = [(mark or b"").decode("latin-1") for mark in marks]  # another program may have written anything
        mark = tuple(text.encode() for text in present)
        try:
            found = unpack_cached(packed, stamp, self._connection.key(name))
        except Damaged as damaged:
            self._connection.damaged("look", str(damaged))
            return Look(None, mark)
        valid = found is not None and _hold(found[1], present, len(pairs.of_writes))
        return Look(found[0] if found is not None and valid else None, mark)

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Cache a response with the marks from before its request; without marks it is not cached."""
        if mark is None:
            return
        name, now, seconds = digest(key), self._clock.now(), float(min(ttl_s, MARK_S))
        packed = pack_cached(cached, [text.decode() for text in mark], self._connection.key(name))
        if len(packed) > MAX_VALUE:
            return
        try:
            await self._connection.run("put", lambda: self._connection.cache.set(name, packed, ttl=seconds))
        except StoreDown:
            return
        for other in self._ours.put(name, None, len(packed), now + seconds, now, scope.holder):
            self._commands.fire_and_forget("DEL", self._connection.key(other))

    async def drop(self, key: bytes) -> None:
        """Drop what is cached under `key`."""
        self._ours.drop(digest(key))
        try:
            await self._commands.execute("drop", "DEL", self._connection.key(digest(key)))
        except StoreDown:
            return

    def forget(self, beginning: bytes) -> None:
        """Do nothing: keys are digests, and each response expires."""


class MarkNames(NamedTuple):
    """The marks of a response. It is outdated if both marks of a pair have changed, or all marks of ended sessions."""

    of_writes: list[Pair]
    of_ends: list[Pair]


def mark_names(scope: Scope) -> MarkNames:
    """Return the marks of a response of this scope: of everything, of each owner, and of its subject."""
    owners = list(scope.owners)
    ends, names = [mark_of_ended(owner) for owner in owners], [ALL, *(mark_of_owner(owner) for owner in owners)]
    if scope.subject is not None:
        return MarkNames([*names, mark_of_subject(scope.subject)], ends)
    return MarkNames([*names, *(mark_of_subjectless(owner) for owner in owners)], ends)


def _hold(before: list[str], present: list[str], writes: int) -> bool:
    """Tell whether a response's marks are current: no pair has changed, and not all marks of ended sessions have."""
    if len(before) != len(present):
        return False
    changed = [_is_new(before[at : at + 2], present[at : at + 2]) for at in range(0, len(before), 2)]
    of_writes, of_ends = changed[:writes], changed[writes:]
    return not any(of_writes) and not (of_ends and all(of_ends))


def _is_new(before: Sequence[str], present: Sequence[str]) -> bool:
    return before[0] != present[0] and before[1] != present[1]


def mark_of_owner(owner: bytes) -> Pair:
    """Return the marks of all reads of an owner."""
    return _places(b"owner", owner)


def mark_of_ended(owner: bytes) -> Pair:
    """Return the marks of an owner whose session has ended."""
    return _places(b"ended", owner)


def mark_of_subjectless(owner: bytes) -> Pair:
    """Return the marks of an owner's reads without a subject."""
    return _places(b"subjectless", owner)


def mark_of_subject(subject: str) -> Pair:
    """Return the marks of all reads of a subject."""
    return _places(b"subject", subject.encode("utf-8", "surrogateescape"))


def _places(kind: bytes, key: bytes) -> Pair:
    """Return the key's mark in each of the two rows."""
    code = int.from_bytes(blake2b(kind + b"\0" + key, digest_size=8).digest(), "big")
    return f"mark:0:{hex(code % PLACES)[2:]}", f"mark:1:{hex((code >> 32) % PLACES)[2:]}"
