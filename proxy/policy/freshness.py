"""Which answers are too old to be read after a write (C4): a counter, and what each write marks. It knows no flight."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import TypeVar

K = TypeVar("K", str, bytes)


class Seals:
    """Remember, by a counter that grows with every write, what each write made old.

    A flight or a kept answer takes a `stamp()` when it begins; it is `fresh` while no write has sealed its subject (or,
    without a subject, one of its owners) since. Owners are what a request shows of who sends it, each by itself: a
    write that shares one of them with a read may be the same user's. Sealing costs the writer the same however many
    flights are open. At most `limit` entries a map are remembered: what is forgotten counts as sealed, so forgetting
    is never wrong.
    """

    __slots__ = ("_by_owner", "_by_subject", "_counter", "_forgotten", "_limit", "_subjectless", "doubts")

    def __init__(self, limit: int = 65_536) -> None:
        self._counter = 0
        self._forgotten = 0
        self._limit = limit
        self._by_subject: OrderedDict[str, int] = OrderedDict()
        self._by_owner: OrderedDict[bytes, int] = OrderedDict()
        self._subjectless: OrderedDict[bytes, int] = OrderedDict()
        self.doubts = Doubts()

    def stamp(self) -> int:
        """Return the mark of now."""
        return self._counter

    def seal(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Make old the subject's reads, whoever's, and its owners' without one; with no subject, all of theirs."""
        if subject is None:
            self.drop_owners(owners)
            return
        self._counter += 1
        self._put(self._by_subject, subject)
        for owner in owners:
            self._put(self._subjectless, owner)

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Make old all that they have read (a 401, a session's end)."""
        self._counter += 1
        for owner in owners:
            self._put(self._by_owner, owner)

    def drop_subject(self, subject: str) -> None:
        """Make old all that was read of the subject (an operator's word)."""
        self._counter += 1
        self._put(self._by_subject, subject)

    def doubt(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Have nothing kept, for so many seconds, of what a write may still change."""
        self.doubts.until(now + for_s, subject, owners)

    def drop_all(self) -> None:
        """Make old all that was read (writes may have gone unheard)."""
        self._counter += 1
        self._forgotten = self._counter

    def fresh(self, stamp: int, subject: str | None, owners: Iterable[bytes]) -> bool:
        """Tell whether what began at `stamp` may still be read. `owners` is looked at only if need be."""
        if stamp == self._counter:
            return True
        if stamp < self._forgotten or (subject is not None and stamp < self._by_subject.get(subject, 0)):
            return False
        for owner in owners:
            if stamp < self._by_owner.get(owner, 0) or (subject is None and stamp < self._subjectless.get(owner, 0)):
                return False
        return True

    def _put(self, marks: OrderedDict[K, int], key: K) -> None:
        marks[key] = self._counter
        marks.move_to_end(key)
        if len(marks) > self._limit:
            _, mark = marks.popitem(last=False)
            self._forgotten = max(self._forgotten, mark)


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
            marks = [("subject", subject), *(("subjectless", owner) for owner in owners)]
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
        yield "subject", subject
    for owner in owners:
        yield "owner", owner
        if subject is None:
            yield "subjectless", owner
