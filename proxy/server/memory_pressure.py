"""Which connections have to go where memory gets scarce: the heaviest ones of the address that holds most."""

from collections.abc import Iterable
from typing import Final, Protocol, TypeVar

from proxy.policy.bounded import Weights

LIGHT: Final = 16_384  # bytes; a connection that holds less is not to blame


class Heavy(Protocol):
    """A connection, as far as its memory goes."""

    @property
    def address(self) -> str:
        """Return whose it is."""
        ...

    @property
    def held(self) -> int:
        """Return the bytes of memory that it holds, about."""
        ...


C = TypeVar("C", bound=Heavy)


def to_give_way(connections: Iterable[C], most: int) -> list[C]:
    """Return which connections have to go, so that the others hold at most `most` bytes together."""
    weights: Weights[str] = Weights()
    heavy: dict[str, list[tuple[int, C]]] = {}
    total, going = 0, list[C]()
    for connection in connections:
        held = connection.held
        total += held
        if held >= LIGHT:
            weights.change(connection.address, held)
            heavy.setdefault(connection.address, []).append((held, connection))
    if total <= most:
        return going
    for of_address in heavy.values():
        of_address.sort(key=lambda weighed: weighed[0])
    while total > most and weights:
        address = weights.heaviest()
        held, connection = heavy[address].pop()
        weights.change(address, -held)
        total -= held
        going.append(connection)
    return going
