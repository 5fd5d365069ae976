"""Which answers are too old to be read after a write: a counter, and what each write marks. It knows no flight.

A write that begins closes the flights that are open: a read after its answer must not join one from before. Only a
write that is done, or whose outcome is unknown, makes kept answers old: one that was refused, or never sent, changed
nothing, whoever sent it.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from math import inf
from typing import Final, TypeVar

from proxy.policy.bounded import Bounded, Holder

K = TypeVar("K", str, bytes)
_LONGEST_SUBJECT: Final = 64  # characters
_OWNER_BYTES: Final = 128  # an owner's digest, its count and its place in a dict


def _held_as(subject: str) -> str:
    """Return what a subject is remembered by: a long one by its digest, for a client chooses how long it is."""
    if len(subject) <= _LONGEST_SUBJECT:
        return subject
    return "\x7f" + blake2b(subject.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()


class Marks:
    """Remember, by the count of a `Seals`, what was marked when: a subject, or what an owner reads.

    At most `limit` entries a map are remembered: what is forgotten counts as marked, so forgetting is never wrong.
    """

    __slots__ = ("_by_owner", "_by_subject", "_limit", "_subjectless", "forgotten")

    def __init__(self, limit: int) -> None:
        self.forgotten = 0
        self._limit = limit
        self._by_subject: OrderedDict[str, int] = OrderedDict()
        self._by_owner: OrderedDict[bytes, int] = OrderedDict()
        self._subjectless: OrderedDict[bytes, int] = OrderedDict()

    def put(self, mark: int, subject: str | None, owners: Iterable[bytes]) -> None:
        """Mark the subject's reads, whoever's, and its owners' without one; with no subject, all of theirs."""
        if subject is None:
            self.put_owners(mark, owners)
            return
        self.put_subject(mark, subject)
        for owner in owners:
            self._put(self._subjectless, owner, mark)

    def put_owners(self, mark: int, owners: Iterable[bytes]) -> None:
        """Mark all that they read."""
        for owner in owners:
            self._put(self._by_owner, owner, mark)

    def put_subject(self, mark: int, subject: str) -> None:
        """Mark all that is read of the subject."""
        self._put(self._by_subject, _held_as(subject), mark)

    def since(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether a read of the subject, by any of its owners, was marked after `stamp`."""
        if stamp < self.forgotten or (subject is not None and stamp < self._by_subject.get(_held_as(subject), 0)):
            return True
        for owner in owners:
            if stamp < self._by_owner.get(owner, 0) or (subject is None and stamp < self._subjectless.get(owner, 0)):
                return True
        return False

    def _put(self, marks: OrderedDict[K, int], key: K, mark: int) -> None:
        marks[key] = mark
        marks.move_to_end(key)
        if len(marks) > self._limit:
            _, oldest = marks.popitem(last=False)
            self.forgotten = max(self.forgotten, oldest)


class Seals:
    """Remember, by a counter that grows with every write, which flights are closed and which kept answers are old.

    A flight or a kept answer takes a `stamp()` when it begins. A flight is `joinable` while no write of its subject
    (or, without a subject, of one of its owners) has begun or ended since; a kept answer is `fresh` while none has
    been done. Owners are what a request shows of who sends it, each by itself: a write that shares one of them with a
    read may be the same user's. Sealing costs the writer the same however many flights are open.
    """

    __slots__ = ("_begun", "_counter", "_done", "_ended", "doubts")

    def __init__(self, limit: int = 65_536) -> None:
        self._counter = 0
        self._begun = Marks(limit)
        self._done = Marks(limit)
        self._ended: Bounded[bytes, int] = Bounded(limit, limit * _OWNER_BYTES)
        self.doubts = Doubts()

    def stamp(self) -> int:
        """Return the mark of now."""
        return self._counter

    def begin(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Close the flights that a write may make old: it begins."""
        self._counter += 1
        self._begun.put(self._counter, subject, owners)

    def seal(self, subject: str | None, owners: Iterable[bytes]) -> None:
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

    def doubt(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Have nothing kept, for so many seconds, of what a write may still change."""
        self.doubts.until(now + for_s, subject, owners)

    def drop_all(self) -> None:
        """Make old all that was read (writes may have gone unheard)."""
        self._counter += 1
        self._done.forgotten = self._counter

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


class Doubts:
    """Remember until when nothing is kept of what a write may still change: its outcome is unknown (C4).

    As with seals: its subject, whoever's, and its owners' reads without one; with no subject, all of theirs. At most
    `limit` entries are remembered: past that everything is in doubt for as long as the one that was forgotten.
    """

    __slots__ = ("_all_until", "_limit", "_until")

    def __init__(self, limit: int = 4096) -> None:
        self._limit = limit
        self._all_until = 0.0
        self._until: OrderedDict[tuple[str, str | bytes], float] = OrderedDict()

    def until(self, until: float, subject: str | None, owners: Iterable[bytes]) -> None:
        """Have nothing kept of it before `until`."""
        if subject is None:
            marks: list[tuple[str, str | bytes]] = [("owner", owner) for owner in owners]
        else:
            marks = [("subject", _held_as(subject)), *(("subjectless", owner) for owner in owners)]
        for mark in marks:
            self._until[mark] = max(until, self._until.get(mark, 0.0))
            self._until.move_to_end(mark)
        while len(self._until) > self._limit:
            _, forgotten = self._until.popitem(last=False)
            self._all_until = max(self._all_until, forgotten)

    def about(self, subject: str | None, owners: Iterable[bytes], now: float) -> bool:
        """Tell whether nothing may be kept of it now."""
        if now < self._all_until:
            return True
        if not self._until:
            return False
        marks = _read_as(subject, owners)
        return any(now < self._until.get(mark, 0.0) for mark in marks)


def _read_as(subject: str | None, owners: Iterable[bytes]) -> Iterator[tuple[str, str | bytes]]:
    """Yield the marks that concern a read."""
    if subject is not None:
        yield "subject", _held_as(subject)
    for owner in owners:
        yield "owner", owner
        if subject is None:
            yield "subjectless", owner
