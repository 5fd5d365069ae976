"""Randomness as policies are given it. They never make their own, so that a test can know the next value."""

from typing import Protocol


class RandomSource(Protocol):
    """What policies ask of a `random.Random`."""

    def random(self) -> float:
        """Return a number in [0, 1)."""
        ...

    def uniform(self, a: float, b: float, /) -> float:
        """Return a number between `a` and `b`."""
        ...

    def getrandbits(self, k: int, /) -> int:
        """Return `k` random bits."""
        ...
