"""The latest number of each key, in memory of a fixed size: nothing is forgotten, and nobody can fill it."""

from array import array
from collections.abc import Hashable
from typing import Final

_ROWS: Final = 2
_BITS: Final = 31  # of a hash for each row; Python's hash of text has 64, and a secret of the process in it


class Latest:
    """Return for a key the greatest number that was put for it, or a greater one.

    Each key has a place in each of two rows, by its hash, which it shares with other keys. What stands in both is
    never less than the key's own number; it is more only where other keys took both places (a count-min sketch, Cormode
    and Muthukrishnan 2005). With `places` far above the number of keys in use that is rare: 1 % with a tenth as many.
    """

    __slots__ = ("_places", "_rows")

    def __init__(self, places: int) -> None:
        """Take the places of a row, each of 8 bytes. They are made with the first number."""
        self._places = places
        self._rows: list[array[float]] = []

    def __bool__(self) -> bool:
        return bool(self._rows)

    def put(self, key: Hashable, number: float) -> None:
        """Remember a number of more than 0, unless a greater one is known."""
        if not self._rows:
            self._rows = [array("d", bytes(8 * self._places)) for _ in range(_ROWS)]
        code = hash(key)
        for row in self._rows:
            place = code % self._places
            if number > row[place]:
                row[place] = number
            code >>= _BITS

    def of(self, key: Hashable) -> float:
        """Return the number of a key; 0 where nothing was put in one of its places."""
        if not self._rows:
            return 0.0
        code, latest = hash(key), 0.0
        for n, row in enumerate(self._rows):
            number = row[code % self._places]
            latest = number if n == 0 or number < latest else latest
            code >>= _BITS
        return latest
