"""What both stores in memory stand on: values that have their time, within bounds. The oldest give way."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Held(NamedTuple, Generic[V]):
    """A value, when its time is over, and its size in bytes."""

    value: V
    until: float
    size: int


class Bounded(Generic[K, V]):
    """At most `max_entries` values of `max_bytes` together, in the order in which they came.

    Nothing is timed: what is over goes when it is asked for, or when it is the oldest and something new comes.
    """

    __slots__ = ("_held", "_max_bytes", "_max_entries", "size")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._held: OrderedDict[K, Held[V]] = OrderedDict()
        self._max_entries = max_entries
        self._max_bytes = max_bytes
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K, now: float) -> Held[V] | None:
        """Return what is held under `key`, if its time is not over."""
        held = self._held.get(key)
        if held is None or now < held.until:
            return held
        self.drop(key)
        return None

    def put(self, key: K, value: V, size: int, until: float, now: float) -> None:
        """Hold a value, unless it alone is over the bound."""
        self.drop(key)
        if size > self._max_bytes:
            return
        self._held[key] = Held(value, until, size)
        self.size += size
        while self._full or next(iter(self._held.values())).until <= now:
            self.drop(next(iter(self._held)))

    @property
    def _full(self) -> bool:
        return len(self._held) > self._max_entries or self.size > self._max_bytes

    def drop(self, key: K) -> None:
        """Let go of what is held under `key`."""
        held = self._held.pop(key, None)
        if held is not None:
            self.size -= held.size
