"""Digests of what a store knows about: keys, subjects, credentials and holders, as a file's own names have them."""

from collections.abc import Iterable

from proxy.policy.bounded import Holder
from proxy.store.disk.index import Scopes
from proxy.store.disk.sealing import Names

_ANY = ("utf-8", "surrogateescape")  # a subject may contain invalid Unicode


class ScopeNames:
    """The digests of one file. A subject and a credential have one name each, wherever it is used."""

    def __init__(self, names: Names) -> None:
        self._names = names

    def use(self, names: Names) -> None:
        """Use the names of a file that was opened."""
        self._names = names

    def of_key(self, key: bytes) -> bytes:
        """Return the name of a cached response's row."""
        return self._names.of(b"response", key)

    def of_claim(self, name: str) -> bytes:
        """Return the name of a claim's row."""
        return self._names.of(b"claim", name.encode())

    def subject(self, subject: str | None) -> bytes:
        """Return the name of a subject; b"" without one."""
        return b"" if subject is None else self._names.of(b"subject", subject.encode(*_ANY))

    def owner(self, owner: bytes) -> bytes:
        """Return the name of a credential."""
        return self._names.of(b"owner", owner)

    def holder(self, holder: Holder) -> Holder:
        """Return a holder without its address and credential."""
        return Holder(self._names.of(b"address", holder.address.encode(*_ANY)).hex(), self.owner(holder.caller))

    def scopes(self, subject: str | None, owners: Iterable[bytes], route: bytes) -> Scopes:
        """Return what a cached response is about: what a write must concern to make it old."""
        owners = list(owners)
        shown = frozenset(map(self.owner, owners))
        if subject is None:
            return Scopes(shown.union(map(self._subjectless, owners)), shown, b"", route)
        named = self.subject(subject)
        return Scopes(shown | {named}, shown, named, route)

    def written(self, subject: str | None, owners: Iterable[bytes]) -> list[bytes]:
        """Return what a write concerns: its subject, and its sender's responses without one; else all of these."""
        if subject is None:
            return [self.owner(owner) for owner in owners]
        return [self.subject(subject), *(self._subjectless(owner) for owner in owners)]

    def read(self, subject: str | None, owners: Iterable[bytes]) -> frozenset[bytes]:
        """Return what a read is about."""
        return self.scopes(subject, owners, b"").writes

    def _subjectless(self, owner: bytes) -> bytes:
        return self._names.of(b"subjectless", owner)
