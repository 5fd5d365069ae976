"""Which answers are too old to be read after a write (C4): one counter and three maps. It knows no flight by name."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K", str, bytes)


class Seals:
    """Remember, by a counter that grows with every write, what each write made old.

    A flight or a kept answer takes a `stamp()` when it begins; it is `fresh` while no write has sealed its subject (or,
    without a subject, its principal) since. Sealing costs the writer the same however many flights are open. At most
    `limit` entries a map are remembered: what is forgotten counts as sealed, so forgetting is never wrong.
    """

    __slots__ = ("_by_principal", "_by_subject", "_counter", "_forgotten", "_limit", "_subjectless")

    def __init__(self, limit: int = 65_536) -> None:
        self._counter = 0
        self._forgotten = 0
        self._limit = limit
        self._by_subject: OrderedDict[str, int] = OrderedDict()
        self._by_principal: OrderedDict[bytes, int] = OrderedDict()
        self._subjectless: OrderedDict[bytes, int] = OrderedDict()

    def stamp(self) -> int:
        """Return the mark of now."""
        return self._counter

    def seal(self, subject: str | None, principal: bytes) -> None:
        """Make old the subject's reads, whoever's, and the principal's without one; with no subject, all of its own."""
        self._counter += 1
        if subject is None:
            self._put(self._by_principal, principal)
        else:
            self._put(self._by_subject, subject)
            self._put(self._subjectless, principal)

    def drop_principal(self, principal: bytes) -> None:
        """Make old all that the principal has read (a 401, a session's end)."""
        self._counter += 1
        self._put(self._by_principal, principal)

    def drop_subject(self, subject: str) -> None:
        """Make old all that was read of the subject (an operator's word)."""
        self._counter += 1
        self._put(self._by_subject, subject)

    def fresh(self, stamp: int, subject: str | None, principal: bytes) -> bool:
        """Tell whether what began at `stamp` may still be read."""
        if stamp == self._counter:
            return True
        if stamp < self._forgotten or stamp < self._by_principal.get(principal, 0):
            return False
        if subject is None:
            return stamp >= self._subjectless.get(principal, 0)
        return stamp >= self._by_subject.get(subject, 0)

    def _put(self, marks: OrderedDict[K, int], key: K) -> None:
        marks[key] = self._counter
        marks.move_to_end(key)
        if len(marks) > self._limit:
            _, mark = marks.popitem(last=False)
            self._forgotten = max(self._forgotten, mark)
