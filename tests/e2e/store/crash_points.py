"""Run a sidecar that kills itself with SIGKILL at a named point of a write: `python -m tests.e2e.store.crash_points`.

The first argument is the point, the rest is the command line of `backstay`. The point is armed by a write (PATCH) to a
subject of which something is kept, and works once.
"""

import os
import signal
import sqlite3
import sys
from collections.abc import Callable, Iterable
from typing import Any

from proxy.cli.main import main
from proxy.exchange.cache import Cache
from proxy.exchange.responder import Responder
from proxy.store.disk.cache_file import CacheFile
from proxy.store.disk.disk_changes import Kind, Put, Remove
from proxy.store.disk.disk_invalidations import DiskInvalidations
from proxy.store.disk.folder import StoreFolder

Where = tuple[type, str, bool]  # a class, its method, and whether the process dies after it instead of before


def die() -> None:
    """End the process as `kill -9` does."""
    os.kill(os.getpid(), signal.SIGKILL)


def _of(kind: Kind, change: type[Put] | type[Remove]) -> Callable[[Iterable[Any]], bool]:
    return lambda changes: any(isinstance(each, change) and each.kind is kind for each in changes)


_marks, _removals = _of(Kind.MARK, Put), _of(Kind.RESPONSE, Remove)


def _is_write(changes: Iterable[Any]) -> bool:
    return _marks(changes) or _removals(changes)


CALLS: dict[str, Where] = {
    "before the mark is queued": (DiskInvalidations, "begin", False),
    "after the mark is queued": (DiskInvalidations, "begin", True),
    "at the backend's answer": (Cache, "end_write", False),
    "after the removal is queued": (Cache, "end_write", True),
    "before the client's answer": (Responder, "respond", False),
    "after the client's answer": (Responder, "respond", True),
}
COMMITS: dict[str, tuple[Callable[[Iterable[Any]], bool], bool]] = {
    "before the mark's commit": (_marks, False),
    "after the mark's commit": (_marks, True),
    "before the removal's commit": (_removals, False),
    "after the removal's commit": (_removals, True),
}
REFUSED: dict[str, Where | None] = {
    "the disk refuses, before the epoch is void": (StoreFolder, "void", False),
    "the disk refuses, after the epoch is void": (StoreFolder, "void", True),
    "the disk refuses, before the client's answer": CALLS["before the client's answer"],
    "the disk refuses, and the client is answered": None,
}
ANSWERED = "the client is answered"  # the test kills the process then
POINTS = (*CALLS, *COMMITS, *REFUSED, ANSWERED)
_armed = False


def _arm() -> None:
    """Let the point work from the first write on."""
    begin = DiskInvalidations.begin

    def armed(self: DiskInvalidations, *arguments: Any) -> None:
        global _armed
        _armed = True
        begin(self, *arguments)

    setattr(DiskInvalidations, "begin", armed)  # noqa: B010 - a type checker need not follow


def _at_call(where: Where) -> None:
    owner, name, after = where
    real = getattr(owner, name)

    def called(*arguments: Any, **named: Any) -> Any:
        if _armed and not after:
            die()
        result = real(*arguments, **named)
        if _armed and after:
            die()
        return result

    setattr(owner, name, called)


def _at_commit(concerns: Callable[[Iterable[Any]], bool], *, after: bool) -> None:
    real = CacheFile.apply

    def apply(self: CacheFile, changes: Iterable[Any], *arguments: Any) -> None:
        changes = list(changes)
        if _armed and concerns(changes) and not after:
            die()
        real(self, changes, *arguments)
        if _armed and concerns(changes) and after:
            die()

    setattr(CacheFile, "apply", apply)  # noqa: B010 - a type checker need not follow


def _refuse() -> None:
    real = CacheFile.apply

    def apply(self: CacheFile, changes: Iterable[Any], *arguments: Any) -> None:
        changes = list(changes)
        if _armed:
            raise sqlite3.OperationalError("database or disk is full")
        real(self, changes, *arguments)

    setattr(CacheFile, "apply", apply)  # noqa: B010 - a type checker need not follow


def crash_at(point: str) -> None:
    """Let this process die at a point."""
    if point in REFUSED:
        _refuse()
        where = REFUSED[point]
        if where is not None:
            _at_call(where)
    elif point == ANSWERED:
        return
    elif point in CALLS:
        _at_call(CALLS[point])
    else:
        concerns, after = COMMITS[point]
        _at_commit(concerns, after=after)
    _arm()


if __name__ == "__main__":
    crash_at(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    sys.exit(main())
