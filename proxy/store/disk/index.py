"""Which rows of cached responses are in the file, and which of them a write, a logout or an erasure concerns."""

from collections.abc import Iterable
from typing import NamedTuple

_NONE: frozenset[bytes] = frozenset()


class Scopes(NamedTuple):
    """What a cached response is about, as digests: it is old when a write concerns one of `writes`.

    Among these are its `owners`, the credentials that its caller showed, and its `subject`, which is b"" if there is
    none. `route` is the beginning of the key, which names the route's version.
    """

    writes: frozenset[bytes]
    owners: frozenset[bytes]
    subject: bytes
    route: bytes


class KeptIndex:
    """The rows by name, and the names by each scope."""

    def __init__(self) -> None:
        self._rows: dict[bytes, Scopes] = {}
        self._by_scope: dict[bytes, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: bytes) -> bool:
        return name in self._rows

    def scopes(self, name: bytes) -> Scopes:
        """Return what a row is about."""
        return self._rows[name]

    def names(self) -> Iterable[bytes]:
        """Return the names of all rows."""
        return self._rows.keys()

    def add(self, name: bytes, scopes: Scopes) -> None:
        """Add a row, in place of one with the same name."""
        self.drop(name)
        self._rows[name] = scopes
        for scope in scopes.writes:
            self._by_scope.setdefault(scope, set()).add(name)

    def drop(self, name: bytes) -> None:
        """Remove a row, if it is there."""
        scopes = self._rows.pop(name, None)
        if scopes is None:
            return
        for scope in scopes.writes:
            names = self._by_scope[scope]
            names.discard(name)
            if not names:
                del self._by_scope[scope]

    def clear(self) -> None:
        """Remove every row."""
        self._rows.clear()
        self._by_scope.clear()

    def has(self, scope: bytes) -> bool:
        """Tell whether a row is about this scope."""
        return scope in self._by_scope

    def of(self, scopes: Iterable[bytes]) -> set[bytes]:
        """Return the rows that are about any of these scopes."""
        return {name for scope in scopes for name in self._by_scope.get(scope, _NONE)}

    def of_only(self, owners: frozenset[bytes]) -> set[bytes]:
        """Return the rows whose caller showed some of these credentials and no others."""
        return {name for name in self.of(owners) if self._rows[name].owners <= owners}

    def of_route(self, route: bytes) -> set[bytes]:
        """Return the rows of a route's version."""
        return {name for name, scopes in self._rows.items() if scopes.route == route}
