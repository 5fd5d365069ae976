"""Cached responses that outlive the process: memory answers, and the file has the same.

What is evicted from memory leaves the file too, so the bounds of memory are those of the file. A response that is
cached for a few seconds only is not written: it would have expired before a process could start again.
"""

from collections.abc import Callable, Iterable
from functools import partial

from proxy.clock import Clock
from proxy.exchange.ports import Look, Mark, Scope
from proxy.http.message import held_bytes
from proxy.policy.bounded import Bounded
from proxy.policy.response_cache import CachedResponse
from proxy.store.disk.contents import KeptResponse, response_content
from proxy.store.disk.disk_changes import Change, Kind, Put, Remove
from proxy.store.disk.index import KeptIndex
from proxy.store.disk.scope_names import ScopeNames
from proxy.store.memory_store import DROPPED_AT_ONCE

WORTH_S = 10.0  # seconds; a response with a shorter lifetime is cached in memory only
ROUTE_BYTES = 8  # of a key: they name the version of its route

Submit = Callable[[list[Change], bool], object]  # changes, and whether somebody waits for them


class DiskResponses:
    """At most `max_entries` responses of `max_bytes`; the oldest of the heaviest holder are evicted first."""

    def __init__(self, clock: Clock, bounds: tuple[int, int], names: ScopeNames, submit: Submit) -> None:
        self._clock = clock
        self._bounds = bounds
        self._names = names
        self._submit = submit
        self._responses: Bounded[bytes, KeptResponse] = Bounded(*bounds)
        self.index = KeptIndex()  # of the rows in the file, also those that are parked
        self._parked: dict[bytes, float] = {}  # rows whose time seems to be over, until when
        self.is_up: Callable[[], bool] = lambda: True

    @property
    def up(self) -> bool:
        """Tell whether what is stored reaches the disk."""
        return self.is_up()

    async def look(self, key: bytes, scope: Scope) -> Look:
        """Return what is cached under `key`; the caller checks its freshness."""
        held = self._responses.get(self._names.of_key(key), self._clock.now())
        return Look(None if held is None else held.value.cached)

    async def put(self, key: bytes, cached: CachedResponse, ttl_s: float, scope: Scope, mark: Mark) -> None:
        """Cache a response for at most `ttl_s` seconds, and write it to the file in the background."""
        name, now = self._names.of_key(key), self._clock.now()
        scopes = self._names.scopes(scope.subject, scope.owners, key[:ROUTE_BYTES])
        kept = KeptResponse(name, cached, scopes, self._names.holder(scope.holder), self._clock.wall() + ttl_s)
        size = len(key) + held_bytes(cached.response)
        evicted = self._responses.put(name, kept, size, now + ttl_s, now, scope.holder)
        changes = self._forget(evicted)
        if ttl_s >= WORTH_S and size <= self._bounds[1]:
            self.index.add(name, scopes)
            changes.append(_row_of(kept, size))
        else:
            changes += self._forget([name])
        if changes:
            self._submit(changes, False)

    async def drop(self, key: bytes) -> None:
        """Drop what is cached under `key`, because a newer response forbids it."""
        self.remove([self._names.of_key(key)])

    def forget(self, beginning: bytes) -> None:
        """Drop what is cached under keys with this prefix, which names a route's version."""
        self.remove(self.index.of_route(beginning[:ROUTE_BYTES]))

    def remove(self, names: Iterable[bytes]) -> None:
        """Drop these rows here and in the file."""
        changes = self.take(names)
        if changes:
            self._submit(changes, True)

    def take(self, names: Iterable[bytes]) -> list[Change]:
        """Drop these rows here; return the changes that drop them in the file, for the caller to submit."""
        names = list(names)
        for name in names:
            self._responses.drop(name)
        return self._forget(names)

    def shed(self) -> None:
        """Drop everything."""
        self._responses = Bounded(*self._bounds)
        self.remove(list(self.index.names()))

    def make_room(self, most: int) -> None:
        """Reduce the cache to `most` bytes over several calls; the heaviest holders' responses are dropped first."""
        changes = self._forget(self._responses.make_room(most, DROPPED_AT_ONCE))
        if changes:
            self._submit(changes, False)

    def restore(self, kept: KeptResponse) -> list[Change]:
        """Take over a response that an earlier process cached; return the changes if others give way.

        One whose time seems to be over is parked: it stays in the file, and only there.
        """
        now, left_s = self._clock.now(), kept.until - self._clock.wall()
        self.index.add(kept.name, kept.scopes)
        if left_s <= 0:
            self._parked[kept.name] = kept.until
            return []
        size = held_bytes(kept.cached.response)
        return self._forget(self._responses.put(kept.name, kept, size, now + left_s, now, kept.holder))

    def everything(self) -> list[Change]:
        """Return the changes that write all of this to an empty file; what was parked is gone."""
        found, rows = list[Change](), set(self.index.names())
        self.index.clear()
        self._parked.clear()
        for name, held in self._responses.items():
            if name in rows:
                self.index.add(name, held.value.scopes)
                found.append(_row_of(held.value, held.size))
        return found

    def sweep(self, high_water: float) -> list[Change]:
        """Drop what has expired; return the changes. `high_water` is wall time in seconds."""
        now = self._clock.now()
        self._parked = {name: until for name, until in self._parked.items() if high_water < until}
        gone = [name for name in self.index.names() if name not in self._parked]
        return self._forget(name for name in gone if self._responses.get(name, now) is None)

    def _forget(self, names: Iterable[bytes]) -> list[Change]:
        found = list[Change]()
        for name in names:
            if name in self.index:
                self._parked.pop(name, None)
                self.index.drop(name)
                found.append(Remove(Kind.RESPONSE, name))
        return found


def _row_of(kept: KeptResponse, size: int) -> Put:
    return Put(Kind.RESPONSE, kept.name, kept.until, size, partial(response_content, kept), kept.scopes.subject)
