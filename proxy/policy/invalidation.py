"""Which answers are too old to be read after a write: a counter, and what each write marks. It knows no flight.

A write that begins closes the flights that are open: a read after its answer must not join one from before. Only a
write that is done, or whose outcome is unknown, makes kept answers old: one that was refused, or never sent, changed
nothing, whoever sent it.
"""

from collections.abc import Iterable, Iterator
from math import inf
from typing import Final

from proxy.policy.bounded import Bounded, Holder
from proxy.policy.latest import Latest

_OWNER_BYTES: Final = 128  # an owner's digest, its count and its place in a dict
_PLACES: Final = 262_144  # of marks that make kept answers old: 4 MiB,
_FEW_PLACES: Final = 16_384  # of marks that matter for as long as a request takes: 256 KiB,
_MOST_ENDED: Final = 16_384  # and credentials that a backend did not know

_BY_SUBJECT, _BY_OWNER, _SUBJECTLESS = "subject", "owner", "subjectless"
Key = tuple[str, str | bytes]


class Marks:
    """Remember, by the count of a `Invalidations`, what was marked when: a subject, or what an owner reads.

    The memory has a fixed size, and what shares its places with something that was marked counts as marked too. That
    is never wrong, and it is about what is older than those marks only.
    """

    __slots__ = ("_latest", "since_all")

    def __init__(self, places: int) -> None:
        self.since_all = 0  # everything was marked
        self._latest = Latest(places)

    def put(self, mark: int, subject: str | None, owners: Iterable[bytes]) -> None:
        """Mark the subject's reads, whoever's, and its owners' without one; with no subject, all of theirs."""
        for key in _written(subject, owners):
            self._latest.put(key, mark)

    def put_owners(self, mark: int, owners: Iterable[bytes]) -> None:
        """Mark all that they read."""
        self.put(mark, None, owners)

    def put_subject(self, mark: int, subject: str) -> None:
        """Mark all that is read of the subject."""
        self.put(mark, subject, ())

    def since(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether a read of the subject, by any of its owners, was marked after `stamp`."""
        if stamp < self.since_all:
            return True
        return any(stamp < self._latest.of(key) for key in _read(subject, owners))


def _written(subject: str | None, owners: Iterable[bytes]) -> Iterator[Key]:
    """Yield what a write is about."""
    if subject is not None:
        yield _BY_SUBJECT, subject
    for owner in owners:
        yield (_BY_OWNER if subject is None else _SUBJECTLESS), owner


def _read(subject: str | None, owners: Iterable[bytes]) -> Iterator[Key]:
    """Yield what concerns a read."""
    if subject is not None:
        yield _BY_SUBJECT, subject
    for owner in owners:
        yield _BY_OWNER, owner
        if subject is None:
            yield _SUBJECTLESS, owner


class Invalidations:
    """Remember, by a counter that grows with every write, which flights are closed and which kept answers are old.

    A flight or a kept answer takes a `stamp()` when it begins. A flight is `joinable` while no write of its subject
    (or, without a subject, of one of its owners) has begun or ended since; a kept answer is `fresh` while none has
    been done. Owners are what a request shows of who sends it, each by itself: a write that shares one of them with a
    read may be the same user's. Sealing costs the writer the same however many flights are open.
    """

    __slots__ = ("_begun", "_counter", "_done", "_ended", "uncertain")

    def __init__(self, places: int = _PLACES, most_ended: int = _MOST_ENDED) -> None:
        self._counter = 0
        self._begun = Marks(min(places, _FEW_PLACES))
        self._done = Marks(places)
        self._ended: Bounded[bytes, int] = Bounded(most_ended, most_ended * _OWNER_BYTES)
        self.uncertain = UncertainWrites()

    def stamp(self) -> int:
        """Return the mark of now."""
        return self._counter

    def begin(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Close the flights that a write may make old: it begins."""
        self._counter += 1
        self._begun.put(self._counter, subject, owners)

    def invalidate(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Make old the subject's reads, whoever's, and its owners' without one; with no subject, all of theirs."""
        self._counter += 1
        self._done.put(self._counter, subject, owners)

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Make old all that any of them has read: a session was ended on request."""
        self._counter += 1
        self._done.put_owners(self._counter, owners)

    def end_session(self, owners: Iterable[bytes], address: str) -> None:
        """Make old what was read by whoever showed nothing but these: the backend does not know them (401).

        One in common is not enough here: a cookie that many share would let a stranger drop what is kept for all. Nor
        is what is forgotten counted as ended: anybody can be refused without end. Who is, from an address, most often
        is forgotten first.
        """
        self._counter += 1
        for owner in owners:
            self._ended.put(owner, self._counter, _OWNER_BYTES, inf, 0.0, Holder(address))

    def drop_subject(self, subject: str) -> None:
        """Make old all that was read of the subject (an operator's word)."""
        self._counter += 1
        self._done.put_subject(self._counter, subject)

    def mark_uncertain(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Have nothing kept, for so many seconds, of what a write may still change."""
        self.uncertain.until(now + for_s, subject, owners)

    def close_flights(self) -> None:
        """Have no flight that is open now joined any more: it may be another route's question by now."""
        self._counter += 1
        self._begun.since_all = self._counter

    def drop_all(self) -> None:
        """Make old all that was read (writes may have gone unheard)."""
        self._counter += 1
        self._done.since_all = self._counter

    def fresh(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether what was kept under `stamp` may still be read. `owners` is looked at only if need be."""
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
        """Tell whether a flight that began at `stamp` may still be joined."""
        if stamp == self._counter:
            return True
        owners = tuple(owners)
        return self.fresh(stamp, subject, owners) and not self._begun.since(stamp, subject, owners)


class UncertainWrites:
    """Remember until when nothing is kept of what a write may still change: its outcome is unknown.

    As with seals: its subject, whoever's, and its owners' reads without one; with no subject, all of theirs. What
    shares its places in memory with these is in doubt as well.
    """

    __slots__ = ("_latest",)

    def __init__(self, places: int = _FEW_PLACES) -> None:
        self._latest = Latest(places)

    def until(self, until: float, subject: str | None, owners: Iterable[bytes]) -> None:
        """Have nothing kept of it before `until`."""
        for key in _written(subject, owners):
            self._latest.put(key, until)

    def about(self, subject: str | None, owners: Iterable[bytes], now: float) -> bool:
        """Tell whether nothing may be kept of it now."""
        return bool(self._latest) and any(now < self._latest.of(key) for key in _read(subject, owners))
