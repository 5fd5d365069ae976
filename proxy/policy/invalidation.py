"""Decide which cached responses are stale after a write, by a counter and the marks of writes.

A write that begins closes the open flights: a read after the write's response must not join an earlier flight. Only a
write that succeeded or has an unknown outcome invalidates cached responses: a refused or unsent one changed nothing.
"""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from proxy.policy.bounded import Bounded, Holder
from proxy.policy.latest import Latest

_OWNER_BYTES: Final = 128  # an owner's digest, its count and a dict entry
_PLACES: Final = 262_144  # for marks that invalidate cached responses: 4 MiB
_FEW_PLACES: Final = 16_384  # for marks that matter only during a request: 256 KiB
_MOST_ENDED: Final = 16_384  # most credentials whose rejection is remembered

_BY_SUBJECT, _BY_OWNER, _SUBJECTLESS = "subject", "owner", "subjectless"
Key = tuple[str, str | bytes]


class Marks:
    """Remember the counter at which a subject, or an owner's reads, were last marked.

    The memory has a fixed size: keys that share a place with a marked key count as marked too. That is safe, and
    affects only what is older than the mark.
    """

    __slots__ = ("_latest", "since_all")

    def __init__(self, places: int) -> None:
        self.since_all = 0  # counter at which everything was marked
        self._latest = Latest(places)

    def put(self, mark: int, subject: str | None, owners: Iterable[bytes]) -> None:
        """Mark the subject's reads and the owners' reads without a subject; without `subject`, all owners' reads."""
        for key in _written(subject, owners):
            self._latest.put(key, mark)

    def put_owners(self, mark: int, owners: Iterable[bytes]) -> None:
        """Mark all reads of these owners."""
        self.put(mark, None, owners)

    def put_subject(self, mark: int, subject: str) -> None:
        """Mark all reads of the subject."""
        self.put(mark, subject, ())

    def since(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether a read of the subject, by any of its owners, was marked after `stamp`."""
        if stamp < self.since_all:
            return True
        return any(stamp < self._latest.of(key) for key in _read(subject, owners))


def _written(subject: str | None, owners: Iterable[bytes]) -> Iterator[Key]:
    """Yield the keys that a write marks."""
    if subject is not None:
        yield _BY_SUBJECT, subject
    for owner in owners:
        yield (_BY_OWNER if subject is None else _SUBJECTLESS), owner


def _read(subject: str | None, owners: Iterable[bytes]) -> Iterator[Key]:
    """Yield the keys that affect a read."""
    if subject is not None:
        yield _BY_SUBJECT, subject
    for owner in owners:
        yield _BY_OWNER, owner
        if subject is None:
            yield _SUBJECTLESS, owner


class Invalidations:
    """Track, by a counter that grows with every write, which flights are closed and which cached responses are stale.

    A flight or cached response takes a `stamp()` when it begins. A flight is `joinable` while no write of its subject
    (or, without a subject, of one of its owners) has begun or ended since; a cached response is `fresh` while none has
    succeeded. An owner is the digest of one credential: a write that shares one with a read may be the same user's. The
    cost of a write does not depend on the number of open flights.
    """

    __slots__ = ("_begun", "_counter", "_done", "_ended", "uncertain")

    def __init__(self, places: int = _PLACES, most_ended: int = _MOST_ENDED) -> None:
        self._counter = 0
        self._begun = Marks(min(places, _FEW_PLACES))
        self._done = Marks(places)
        self._ended: Bounded[bytes, int] = Bounded(most_ended, most_ended * _OWNER_BYTES)
        self.uncertain = UncertainWrites()

    def stamp(self) -> int:
        """Return the current counter."""
        return self._counter

    def begin(self, subject: str | None, owners: Iterable[bytes], for_s: float = 0.0) -> None:
        """Close the flights that a beginning write may invalidate; it may be in doubt for `for_s` seconds."""
        self._counter += 1
        self._begun.put(self._counter, subject, owners)

    def withdraw(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """End a write that was refused or never sent: it has changed nothing."""

    def invalidate(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Invalidate the subject's reads and the owners' without a subject; without `subject`, all owners' reads."""
        self._counter += 1
        self._done.put(self._counter, subject, owners)

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Invalidate all reads of these owners: a session was ended on request."""
        self._counter += 1
        self._done.put_owners(self._counter, owners)

    def end_session(self, owners: Iterable[bytes], address: str) -> None:
        """Invalidate reads with no other credentials than these: the backend rejected them (401).

        One common credential is not enough: with a widely shared cookie any caller could invalidate all callers'
        reads. Forgotten entries do not count as ended, because any caller can cause rejections. The oldest entries
        of the most frequent address are forgotten first.
        """
        self._counter += 1
        for owner in owners:
            self._ended.put(owner, self._counter, _OWNER_BYTES, inf, 0.0, Holder(address))

    def drop_subject(self, subject: str) -> None:
        """Invalidate all reads of the subject, by an operator's command."""
        self._counter += 1
        self._done.put_subject(self._counter, subject)

    def mark_uncertain(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Cache nothing for `for_s` seconds that a write may still change."""
        self.uncertain.until(now + for_s, subject, owners)

    def close_flights(self) -> None:
        """Close all open flights: after a reload their key may belong to another route."""
        self._counter += 1
        self._begun.since_all = self._counter

    def drop_all(self) -> None:
        """Invalidate all reads: writes may have been missed."""
        self._counter += 1
        self._done.since_all = self._counter

    def fresh(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether a response cached under `stamp` is still fresh. `owners` is iterated only if needed."""
        if stamp == self._counter:
            return True
        owners = tuple(owners)
        return not self._done.since(stamp, subject, owners) and not self._has_ended(stamp, owners)

    def _has_ended(self, stamp: int, owners: tuple[bytes, ...]) -> bool:
        for owner in owners:
            ended = self._ended.get(owner, 0.0)
            if ended is None or ended.value <= stamp:
                return False
        return len(owners) > 0

    def joinable(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether a flight with this stamp may still be joined."""
        if stamp == self._counter:
            return True
        owners = tuple(owners)
        return self.fresh(stamp, subject, owners) and not self._begun.since(stamp, subject, owners)


class UncertainWrites:
    """Remember until when nothing is cached that a write with an unknown outcome may still change.

    The scope is the same as for an invalidation. Keys that share a place in memory are affected as well.
    """

    __slots__ = ("_latest",)

    def __init__(self, places: int = _FEW_PLACES) -> None:
        self._latest = Latest(places)

    def until(self, until: float, subject: str | None, owners: Iterable[bytes]) -> None:
        """Cache nothing of this scope before `until`."""
        for key in _written(subject, owners):
            self._latest.put(key, until)

    def about(self, subject: str | None, owners: Iterable[bytes], now: float) -> bool:
        """Tell whether caching is suspended for this read."""
        return bool(self._latest) and any(now < self._latest.of(key) for key in _read(subject, owners))
