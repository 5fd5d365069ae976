"""Mutate inputs from a seed: the same seed gives the same inputs on every machine."""

from collections.abc import Callable, Hashable, Iterator
from random import Random

from tests.fuzz.target import Target

LONGEST = 4096  # bytes; growth is tested elsewhere
_ODD = b"\r\n\0 \t:;,=\"'\\/%?#[]{}()<>@\x7f\x80\xff0aA"
_MOST_CHANGES = 6


class Mutator:
    """Changes known inputs at random, and remembers those whose outcome was new."""

    def __init__(self, target: Target, seed: str) -> None:
        self._random = Random(f"{target.name}:{seed}")
        self._words = target.words or (b"0",)
        self.known = target.inputs() or [b""]
        self._outcomes: set[Hashable] = set()

    def inputs(self) -> Iterator[bytes]:
        """Yield every known input as it is, then changed ones without an end."""
        yield from tuple(self.known)
        while True:
            yield self._changed(self._random.choice(self.known))

    def learn(self, data: bytes, outcome: Hashable) -> None:
        """Keep an input whose outcome nobody saw before."""
        if outcome not in self._outcomes:
            self._outcomes.add(outcome)
            self.known.append(data)

    def _changed(self, data: bytes) -> bytes:
        for _ in range(self._random.randint(1, _MOST_CHANGES)):
            data = self._random.choice(_CHANGES)(self, data)
        return data[:LONGEST]

    def _place(self, data: bytes) -> int:
        return self._random.randint(0, len(data))

    def _span(self, data: bytes) -> tuple[int, int]:
        start = self._place(data)
        return start, min(len(data), start + int(self._random.expovariate(0.15)) + 1)

    def _flip(self, data: bytes) -> bytes:
        if not data:
            return data
        at = self._random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << self._random.randrange(8))]) + data[at + 1 :]

    def _odd(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + bytes([self._random.choice(_ODD)]) + data[at + self._random.randint(0, 1) :]

    def _word(self, data: bytes) -> bytes:
        at = self._place(data)
        return data[:at] + self._random.choice(self._words) + data[at:]

    def _drop(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[end:]

    def _repeat(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:end] + data[start:end] * self._random.choice((1, 1, 2, 40)) + data[end:]

    def _move(self, data: bytes) -> bytes:
        start, end = self._span(data)
        rest = data[:start] + data[end:]
        at = self._place(rest)
        return rest[:at] + data[start:end] + rest[at:]

    def _splice(self, data: bytes) -> bytes:
        other = self._random.choice(self.known)
        return data[: self._place(data)] + other[self._place(other) :]

    def _case(self, data: bytes) -> bytes:
        start, end = self._span(data)
        return data[:start] + data[start:end].swapcase() + data[end:]


_CHANGES: tuple[Callable[[Mutator, bytes], bytes], ...] = (
    Mutator._flip, Mutator._odd, Mutator._word, Mutator._word, Mutator._drop, Mutator._repeat, Mutator._move,
    Mutator._splice, Mutator._case,
)  # fmt: skip
