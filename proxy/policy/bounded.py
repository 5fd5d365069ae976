"""A bounded map with expiry. If it is full, the caller who holds most is evicted from."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Holder(NamedTuple):
    """The caller who is charged for a value: the client's address, and what distinguishes callers of one address."""

    address: str = ""
    caller: bytes = b""


ANYBODY = Holder()


class HeldValue(Generic[V]):
    """A value, its expiry, its size in bytes, and its holder."""

    __slots__ = ("holder", "size", "until", "value")

    def __init__(self, value: V, until: float, size: int, holder: Holder) -> None:
        self.value = value
        self.until = until
        self.size = size
        self.holder = holder


class Bounded(Generic[K, V]):
    """Hold at most `max_entries` values of `max_bytes` together.

    There are no timers: an expired value is removed by a look-up, or when it is the oldest and a value is added. A full
    map evicts the oldest value of the heaviest caller at the heaviest address, so storing more never evicts other
    callers' values. A caller may invent names, so the address is compared first.
    """

    __slots__ = ("_by_address", "_by_caller", "_held", "_max_entries", "_of_holder", "_slot", "max_bytes", "size")

    def __init__(self, max_entries: int, max_bytes: int) -> None:
        self._held: OrderedDict[K, HeldValue[V]] = OrderedDict()
        self._max_entries = max_entries
        self.max_bytes = max_bytes
        self._slot = max(1, max_bytes // max_entries)  # weight of an entry in addition to its bytes
        self._of_holder: dict[Holder, dict[K, None]] = {}  # in order of insertion
        self._by_address: Weights[str] = Weights()
        self._by_caller: dict[str, Weights[bytes]] = {}
        self.size = 0

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> Iterable[tuple[K, HeldValue[V]]]:
        """Return each key and its value, the newest last."""
        return self._held.items()

    def get(self, key: K, now: float) -> HeldValue[V] | None:
        """Return the value of `key` unless it has expired."""
        held = self._held.get(key)
        if held is None or now < held.until:
            return held
        self.drop(key)
        return None

    def put(self, key: K, value: V, size: int, until: float, now: float, holder: Holder = ANYBODY) -> list[K]:
        """Hold a value of `size` bytes, unless it alone exceeds the limit; return the evicted keys."""
        gave_way: list[K] = []
        self.drop(key)
        if size > self.max_bytes:
            return gave_way
        self._held[key] = HeldValue(value, until, size, holder)
        self._of_holder.setdefault(holder, {})[key] = None
        self.size += size
        self._weigh(holder, size + self._slot)
        while next(iter(self._held.values())).until <= now:
            self.drop(next(iter(self._held)))
        while len(self._held) > self._max_entries or self.size > self.max_bytes:
            gave_way.append(self._to_give_way())
            self.drop(gave_way[-1])
        return gave_way

    def make_room(self, most: int, at_once: int) -> list[K]:
        """Hold at most `most` bytes; drop at most `at_once` values in this call, those of the heaviest first.

        Return their keys.
        """
        gave_way: list[K] = []
        while self.size > most and len(gave_way) < at_once:
            gave_way.append(self._to_give_way())
            self.drop(gave_way[-1])
        return gave_way

    def drop(self, key: K) -> None:
        """Remove the value of `key`."""
        held = self._held.pop(key, None)
        if held is None:
            return
        self.size -= held.size
        keys = self._of_holder[held.holder]
        del keys[key]
        if not keys:
            del self._of_holder[held.holder]
        self._weigh(held.holder, -held.size - self._slot)

    def _weigh(self, holder: Holder, change: int) -> None:
        address = holder.address
        self._by_address.change(address, change)
        callers = self._by_caller.setdefault(address, Weights())
        callers.change(holder.caller, change)
        if not callers:
            del self._by_caller[address]

    def _to_give_way(self) -> K:
        address = self._by_address.heaviest()
        caller = self._by_caller[address].heaviest()
        return next(iter(self._of_holder[Holder(address, caller)]))


N = TypeVar("N", str, bytes)


class Weights(Generic[N]):
    """Weights by name, with the heaviest one.

    The heap has each name at least once with its weight or more: a growing weight is pushed again, a stale entry is
    corrected at the top. The heap is rebuilt before it is twice as long as the number of names.
    """

    __slots__ = ("_heap", "_of")

    def __init__(self) -> None:
        self._of: dict[N, int] = {}
        self._heap: list[tuple[int, N]] = []  # negative weights: heapq keeps the smallest on top

    def __len__(self) -> int:
        return len(self._of)

    def change(self, name: N, by: int) -> None:
        """Add to a name's weight; remove the name when its weight becomes 0."""
        weight = self._of.get(name, 0) + by
        if not weight:
            del self._of[name]
            return
        self._of[name] = weight
        if by > 0:
            heappush(self._heap, (-weight, name))
            if len(self._heap) > 2 * len(self._of) + 16:
                self._heap = [(-heavy, one) for one, heavy in self._of.items()]
                heapify(self._heap)

    def heaviest(self) -> N:
        """Return the name with the greatest weight. There must be one."""
        while True:
            known, name = self._heap[0]
            weight = self._of.get(name)
            if weight is None:
                heappop(self._heap)
            elif weight == -known:
                return name
            else:
                heapreplace(self._heap, (-weight, name))
