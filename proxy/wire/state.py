"""How a connection goes from one state to the next: by a move that stands in its table, or not at all."""

from typing import TypeVar

from proxy.errors import IllegalMove
from proxy.words import Sign

S = TypeVar("S", bound=Sign)


def moved(moves: dict[S, tuple[S, ...]], before: S, after: S) -> S:
    """Return `after`. Raise IllegalMove where the table has no such move."""
    if after not in moves[before]:
        raise IllegalMove(f"{before.name} -> {after.name}")
    return after
