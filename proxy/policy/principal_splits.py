"""Find by which claim two tokens of one subject differ: the later one does not find what the earlier one cached."""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final

from proxy.text import escaped

MOST_SUBJECTS: Final = 5_000  # of one table
_MOST_PRINCIPALS: Final = 4  # remembered of one subject: its devices and clients may differ for good
_MOST_CLAIMS: Final = 48  # compared
_MOST_SHAPES: Final = 64  # tuples of claim names that are stored once for all subjects
_MOST_NAMED: Final = 32  # claims that are remembered as splitting
_LONGEST_NAME: Final = 64  # characters


class _Seen:
    """What is remembered of a subject: its newest principals, and the newest one's claims as hashes."""

    __slots__ = ("hashes", "names", "principals")

    def __init__(self, principal: bytes, names: tuple[str, ...], hashes: tuple[int, ...]) -> None:
        self.principals = [principal]
        self.names = names
        self.hashes = hashes


class PrincipalSplits:
    """Remember the newest principals of each subject, in bounded number: hashes only, nothing of a token."""

    __slots__ = ("_seen", "_shapes", "by", "count")

    def __init__(self) -> None:
        self.count = 0
        self.by: dict[str, int] = {}  # claims by which tokens differed, and how often
        self._seen: OrderedDict[bytes, _Seen] = OrderedDict()
        self._shapes: dict[tuple[str, ...], tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, subject: bytes, principal: bytes, told: Mapping[str, Any]) -> tuple[str, ...]:
        """Remember a principal, whose claims are `told`; return the claims by which it differs from the one before.

        Nothing is returned for a subject's first principal, and for one of its newest ones.
        """
        names = self._shape(tuple(sorted(told)[:_MOST_CLAIMS]))
        hashes = tuple([hash(ascii(told[name])) for name in names])
        seen = self._seen.get(subject)
        if seen is None:
            self._seen[subject] = _Seen(principal, names, hashes)
            if len(self._seen) > MOST_SUBJECTS:
                self._seen.popitem(last=False)
            return ()
        self._seen.move_to_end(subject)
        new = principal not in seen.principals
        differing = _differing(seen, names, hashes) if new else ()
        seen.names, seen.hashes = names, hashes
        if new:
            seen.principals = [*seen.principals, principal][-_MOST_PRINCIPALS:]
            self._count(differing)
        return differing

    def _count(self, differing: tuple[str, ...]) -> None:
        self.count += 1
        for name in differing:
            if name in self.by or len(self.by) < _MOST_NAMED:
                self.by[name] = self.by.get(name, 0) + 1

    def _shape(self, names: tuple[str, ...]) -> tuple[str, ...]:
        known = self._shapes.get(names)
        if known is None and len(self._shapes) < _MOST_SHAPES:
            self._shapes[names] = known = names
        return names if known is None else known

    def __repr__(self) -> str:
        return f"<PrincipalSplits {self.count} by={self.by}>"


def _differing(seen: _Seen, names: tuple[str, ...], hashes: tuple[int, ...]) -> tuple[str, ...]:
    before, after = dict(zip(seen.names, seen.hashes, strict=True)), dict(zip(names, hashes, strict=True))
    found = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    return tuple([escaped(name[:_LONGEST_NAME]) for name in found]) or ("another claim",)
