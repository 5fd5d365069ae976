"""Choose which connections to close when memory is scarce: the heaviest of the address that uses most."""

import asyncio
from collections.abc import Iterable, Sequence
from heapq import heapify, heappop
from typing import Final, Generic, Protocol, TypeVar

from proxy.policy.bounded import Weights

LIGHT: Final = 16_384  # bytes; a lighter connection is never closed
WEIGHED_AT_ONCE: Final = 250  # connections, about 0.4 ms: then requests continue
CUT_AT_ONCE: Final = 8  # connections, about 0.1 ms each: several requests of each are recorded


class Heavy(Protocol):
    """A connection with its memory use."""

    @property
    def address(self) -> str:
        """Return the client's address."""
        ...

    @property
    def held(self) -> int:
        """Return the approximate memory in bytes."""
        ...


class Yielding(Heavy, Protocol):
    """A connection that can release its memory."""

    def give_way(self) -> None:
        """Release memory, which is scarce."""
        ...


C = TypeVar("C", bound=Heavy)


class Weighing(Generic[C]):
    """The total memory of connections, and the heavy ones of each address."""

    def __init__(self) -> None:
        self._total = 0
        self._heavy: dict[str, list[tuple[int, int, C]]] = {}  # the negative weight and a number, for heapq

    def add(self, connections: Iterable[C]) -> None:
        """Weigh some connections."""
        for connection in connections:
            held = connection.held
            self._total += held
            if held >= LIGHT:
                of_address = self._heavy.setdefault(connection.address, [])
                of_address.append((-held, len(of_address), connection))

    def to_give_way(self, most: int) -> list[C]:
        """Return the connections to close, so that the others use at most `most` bytes together."""
        going = list[C]()
        if self._total <= most:
            return going
        weights: Weights[str] = Weights()
        for address, of_address in self._heavy.items():
            heapify(of_address)
            weights.change(address, -sum([heavy[0] for heavy in of_address]))
        while self._total > most and weights:
            address = weights.heaviest()
            lighter, _, connection = heappop(self._heavy[address])
            weights.change(address, lighter)
            self._total += lighter
            going.append(connection)
        return going


def to_give_way(connections: Iterable[C], most: int) -> list[C]:
    """Return the connections to close, so that the others use at most `most` bytes together."""
    weighing: Weighing[C] = Weighing()
    weighing.add(connections)
    return weighing.to_give_way(most)


class Relief:
    """Weigh all connections and close the heaviest, a few in each loop iteration.

    Weighing thousands of connections takes milliseconds, and closing hundreds takes more: other requests would have to
    wait.
    """

    def __init__(self) -> None:
        self._under_way = False
        self._gone = 0

    def relieve(self, connections: Iterable[Yielding], most: int) -> int:
        """Start unless it is running; return how many connections were closed since the last call."""
        if not self._under_way:
            self._under_way = True
            self._weigh(Weighing(), list(connections), most)
        gone, self._gone = self._gone, 0
        return gone

    def _weigh(self, weighing: Weighing[Yielding], connections: Sequence[Yielding], most: int) -> None:
        weighing.add(connections[:WEIGHED_AT_ONCE])
        if len(connections) > WEIGHED_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._weigh, weighing, connections[WEIGHED_AT_ONCE:], most)
        else:
            self._cut(weighing.to_give_way(most))

    def _cut(self, going: Sequence[Yielding]) -> None:
        for connection in going[:CUT_AT_ONCE]:
            if connection.held >= LIGHT:  # its response may have been sent meanwhile
                connection.give_way()
                self._gone += 1
        if len(going) > CUT_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._cut, going[CUT_AT_ONCE:])
        else:
            self._under_way = False
