"""The maximum of each key, in memory of a fixed size: nothing is evicted."""

from array import array
from collections.abc import Hashable
from typing import Final

_ROWS: Final = 2
_BITS: Final = 31  # of a hash for each row; Python's hash of text has 64 bits and a secret seed


class Latest:
    """Return for a key the greatest number that was put, or a greater one.

    Each key hashes to a place in each of two rows, which it shares with other keys. The smaller of both places is never
    less than the key's number; it is greater only if other keys took both places (a count-min sketch, Cormode and
    Muthukrishnan 2005). With ten times as many `places` as keys this has a probability of 1 %.
    """

    __slots__ = ("_places", "_rows")

    def __init__(self, places: int) -> None:
        """Take the number of places in a row, each of 8 bytes. Memory is allocated with the first `put`."""
        self._places = places
        self._rows: list[array[float]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def put(self, key: Hashable, number: float) -> None:
        """Store a number greater than 0, unless a greater one is stored."""
        if not self._rows:
            self._rows = [array("d", bytes(8 * self._places)) for _ in range(_ROWS)]
        code = hash(key)
        for row in self._rows:
            place = code % self._places
            if number > row[place]:
                row[place] = number
            code >>= _BITS

    def of(self, key: Hashable) -> float:
        """Return the number of a key; 0 if one of its places is empty."""
        if not self._rows:
            return 0.0
        code, latest = hash(key), 0.0
        for n, row in enumerate(self._rows):
            number = row[code % self._places]
            latest = number if n == 0 or number < latest else latest
            code >>= _BITS
        return latest
