"""The random source of policies. It is injected, so that a test knows the next value."""

from typing import Protocol


class RandomSource(Protocol):
    """The methods of `random.Random` that policies use."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between `a` and `b`."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Return `k` random bits."""
        ...
