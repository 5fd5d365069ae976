"""Invalidations that outlive the process. Where nothing is kept that a write concerns, nothing is written.

A write is marked when it begins, beside its call; the mark is durable before its response goes out. What it made old
is removed from the file together with the mark. A write that was refused removes its mark, and nothing else.
"""

from collections.abc import Callable, Iterable

from proxy.policy.invalidation import Invalidations, UncertainWrites
from proxy.store.disk.disk_changes import Change
from proxy.store.disk.disk_marks import DiskMarks
from proxy.store.disk.disk_responses import DiskResponses
from proxy.store.disk.scope_names import ScopeNames

_Write = tuple[str | None, tuple[bytes, ...]]  # subject and owners
_Submit = Callable[[list[Change], bool], None]  # changes, and whether a response waits for them


class DiskDoubts(UncertainWrites):
    """Writes in doubt, also those of the process before."""

    __slots__ = ("_marks", "_names")

    def __init__(self, marks: DiskMarks, names: ScopeNames) -> None:
        super().__init__()
        self._marks = marks
        self._names = names

    def about(self, subject: str | None, owners: Iterable[bytes], now: float) -> bool:
        """Tell whether caching is suspended for this read."""
        if not self._marks:
            return False
        return self._marks.in_doubt(self._names.read(subject, owners))


class DiskInvalidations(Invalidations):
    """Write every invalidation to the file."""

    __slots__ = ("_marks", "_names", "_responses", "_submit", "_under_way", "when_owners_dropped")

    def __init__(self, responses: DiskResponses, marks: DiskMarks, names: ScopeNames, submit: _Submit) -> None:
        super().__init__()
        self._responses = responses
        self._marks = marks
        self._names = names
        self._submit = submit
        self._under_way: dict[_Write, list[list[bytes]]] = {}  # the marks of each write
        self.uncertain = DiskDoubts(marks, names)
        self.when_owners_dropped: Callable[[Iterable[bytes]], None] = _nothing

    def begin(self, subject: str | None, owners: Iterable[bytes], for_s: float = 0.0) -> None:
        """Close flights, and mark what is kept and the write may change."""
        owners = tuple(owners)
        super().begin(subject, owners, for_s)
        index = self._responses.index
        scopes = [scope for scope in self._names.written(subject, owners) if index.has(scope)] if index else []
        self._under_way.setdefault((subject, owners), []).append(scopes)
        self._send(self._marks.open(scopes, for_s))

    def withdraw(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Remove the marks of a write that changed nothing."""
        changes = self._marks.close(self._marked(subject, tuple(owners)))
        if changes:
            self._submit(changes, False)

    def invalidate(self, subject: str | None, owners: Iterable[bytes]) -> None:
        """Invalidate what a write has changed, and remove it with the marks."""
        owners = tuple(owners)
        super().invalidate(subject, owners)
        index, marked = self._responses.index, self._marked(subject, owners)
        written = self._names.written(subject, owners)
        is_covered = all(scope in marked for scope in written if index.has(scope))
        removed = self._responses.take(index.of(written))
        changes = [*removed, *self._marks.close(marked)]
        if changes:  # what the mark covers is old at the next start, whether or not it is removed before
            self._submit(changes, not is_covered)

    def drop_owners(self, owners: Iterable[bytes]) -> None:
        """Invalidate and remove all reads of these owners."""
        owners = tuple(owners)
        super().drop_owners(owners)
        self._remove(self._responses.index.of(map(self._names.owner, owners)))
        self.when_owners_dropped(owners)

    def end_session(self, owners: Iterable[bytes], address: str) -> None:
        """Invalidate and remove reads with no other credentials than these."""
        owners = tuple(owners)
        super().end_session(owners, address)
        self._remove(self._responses.index.of_only(frozenset(map(self._names.owner, owners))))

    def drop_subject(self, subject: str) -> None:
        """Invalidate and remove all reads of the subject."""
        super().drop_subject(subject)
        self._remove(self._responses.index.of([self._names.subject(subject)]))

    def mark_uncertain(self, for_s: float, subject: str | None, owners: Iterable[bytes], now: float) -> None:
        """Cache nothing for `for_s` seconds that a write may still change, also after a restart."""
        self._send(self._marks.doubt(self._names.written(subject, owners), for_s))

    def drop_all(self) -> None:
        """Invalidate and remove all reads."""
        super().drop_all()
        self._remove(self._responses.index.names())

    def _marked(self, subject: str | None, owners: tuple[bytes, ...]) -> list[bytes]:
        """Return the marks of one write of this scope. Of equal writes under way, the last to end has the most."""
        write = (subject, owners)
        under_way = self._under_way.get(write)
        if under_way is None:
            return []
        least = min(under_way, key=len)
        under_way.remove(least)
        if not under_way:
            del self._under_way[write]
        return least

    def _remove(self, names: Iterable[bytes]) -> None:
        self._send(self._responses.take(list(names)))

    def _send(self, changes: list[Change]) -> None:
        if changes:
            self._submit(changes, True)


def _nothing(owners: Iterable[bytes]) -> None:
    """Do nothing."""
