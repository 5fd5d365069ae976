"""Marks of writes in the file: a write that is under way or in doubt makes what it concerns old at the next start."""

from collections.abc import Callable, Iterable
from functools import partial

from proxy.store.disk.contents import OpenMark, mark_content
from proxy.store.disk.disk_changes import FOREVER, Change, Kind, Put, Remove

_SIZE = 128  # bytes of a mark, about


class DiskMarks:
    """The marks, one for each scope: open while a write of it is under way, in doubt until a time.

    absent --open--> open --close--> absent, or in doubt --its time is over--> absent
    """

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._open: dict[bytes, int] = {}  # writes under way
        self._for_s: dict[bytes, float] = {}  # for how long each is in doubt after a crash
        self._doubts: dict[bytes, float] = {}  # wall times

    def open(self, scopes: Iterable[bytes], for_s: float) -> list[Change]:
        """Mark scopes of a write that begins; return the changes."""
        changes = list[Change]()
        for scope in scopes:
            self._open[scope] = self._open.get(scope, 0) + 1
            if self._open[scope] == 1 or for_s > self._for_s[scope]:
                self._for_s[scope] = for_s
                changes.append(self._row(scope))
        return changes

    def close(self, scopes: Iterable[bytes]) -> list[Change]:
        """End the marks of a write whose effect is known, or in doubt; return the changes."""
        changes = list[Change]()
        for scope in scopes:
            self._open[scope] -= 1
            if not self._open[scope]:
                del self._open[scope]
                changes.append(self._row(scope))
                if scope not in self._doubts:
                    del self._for_s[scope]
        return changes

    def doubt(self, scopes: Iterable[bytes], for_s: float) -> list[Change]:
        """Keep scopes in doubt for some seconds; return the changes."""
        until = self._wall() + for_s
        changes = list[Change]()
        for scope in scopes:
            if until > self._doubts.get(scope, 0.0):
                self._doubts[scope] = until
                self._for_s[scope] = max(for_s, self._for_s.get(scope, 0.0))
                if scope not in self._open:
                    changes.append(self._row(scope))
        return changes

    def restore(self, marks: Iterable[OpenMark]) -> list[bytes]:
        """Take over the marks of an earlier process; return the scopes of writes that it had under way.

        Each mark is in doubt for its whole time again, because the clock may have been changed. `close` the writes
        when what they concern is removed.
        """
        under_way = list[bytes]()
        for mark in marks:
            self._for_s[mark.scope] = mark.for_s
            self._doubts[mark.scope] = self._wall() + mark.for_s
            if mark.until == FOREVER:
                under_way.append(mark.scope)
                self._open[mark.scope] = 1
        return under_way

    def in_doubt(self, scopes: Iterable[bytes]) -> bool:
        """Tell whether a write of one of these scopes is in doubt."""
        wall = self._wall()
        return any(wall < self._doubts.get(scope, 0.0) for scope in scopes)

    def __bool__(self) -> bool:
        return bool(self._doubts)

    def forget_old(self) -> None:
        """Forget doubts whose time is over; their rows expire by themselves."""
        wall = self._wall()
        self._doubts = {scope: until for scope, until in self._doubts.items() if wall < until}
        known = self._open.keys() | self._doubts.keys()
        self._for_s = {scope: for_s for scope, for_s in self._for_s.items() if scope in known}

    def everything(self) -> list[Change]:
        """Return the changes that write every mark to an empty file."""
        self.forget_old()
        return [self._row(scope) for scope in self._open.keys() | self._doubts.keys()]

    def _row(self, scope: bytes) -> Change:
        until = FOREVER if scope in self._open else self._doubts.get(scope, 0.0)
        if not until:
            return Remove(Kind.MARK, scope)
        mark = OpenMark(scope, until, self._for_s.get(scope, 0.0))
        return Put(Kind.MARK, scope, until, _SIZE, partial(mark_content, mark))
