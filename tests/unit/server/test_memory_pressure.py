"""Scarce memory closes the connections that use most of it, and no others."""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from proxy.server.memory_pressure import CUT_AT_ONCE, LIGHT, WEIGHED_AT_ONCE, Relief, to_give_way
from tests.wire.kit import turn

KIB = 1024


class Connection(NamedTuple):
    """A connection from an address, and what it holds."""

    address: str
    held: int


def test_the_address_that_holds_most_gives_way() -> None:
    """Its heaviest connections first, and no more of them than must."""
    mob = [Connection("10.9.9.9", size * KIB) for size in (60, 64, 62, 58)]
    others = [Connection(f"10.0.0.{number}", 64 * KIB) for number in range(3)]
    assert to_give_way([*others, *mob], 320 * KIB) == [mob[1], mob[2]]


def test_nobody_gives_way_where_there_is_room() -> None:
    """However heavy somebody is."""
    assert to_give_way([Connection("10.0.0.1", 100 * KIB)], 100 * KIB) == []


def test_who_holds_little_is_not_to_blame() -> None:
    """Thousands of idle connections hold nothing that could be let go."""
    idle = [Connection("10.0.0.1", LIGHT - 1)] * 1000
    heavy = Connection("10.0.0.2", 64 * KIB)
    assert to_give_way([*idle, heavy], 0) == [heavy]


@given(
    st.lists(st.builds(Connection, st.sampled_from(["a", "b", "c"]), st.integers(0, 9 * LIGHT))), st.integers(0, 10**6)
)
def test_what_stays_is_within_the_bound(connections: list[Connection], most: int) -> None:
    """Or only light ones are left; and nobody goes of an address that holds less than one from which nobody went."""
    going = to_give_way(connections, most)
    staying = Counter(connections) - Counter(going)
    assert staying + Counter(going) == Counter(connections)
    held = sum(one.held for one in staying.elements())
    assert held <= most or all(one.held < LIGHT for one in staying)


class Held:
    """A connection that lets go when it is told, and counts what it was asked."""

    def __init__(self, address: str, held: int) -> None:
        self.address = address
        self._held = held
        self.weighed = 0
        self.gone = False

    @property
    def held(self) -> int:
        """Return what it holds."""
        self.weighed += 1
        return self._held

    def give_way(self) -> None:
        """Let go."""
        self._held, self.gone = 0, True


async def test_a_turn_of_the_loop_weighs_and_cuts_some() -> None:
    """Before, thousands were weighed and hundreds cut while everybody else waited."""
    relief, count = Relief(), 2 * WEIGHED_AT_ONCE + 1
    connections = [Held("10.0.0.1", LIGHT) for _ in range(count)]
    gone, weighed = [relief.relieve(connections, 0)], [sum(one.weighed for one in connections)]
    while not all(one.gone for one in connections):
        await turn()
        gone.append(sum(one.gone for one in connections))
        weighed.append(sum(one.weighed for one in connections))
    assert max(later - before for before, later in pairwise(gone)) == CUT_AT_ONCE
    assert max(later - before for before, later in pairwise(weighed)) <= WEIGHED_AT_ONCE + CUT_AT_ONCE
    assert weighed[0] == WEIGHED_AT_ONCE
    assert relief.relieve(connections, 0) == count
    assert relief.relieve([], 0) == 0


async def test_who_was_answered_meanwhile_stays() -> None:
    """It holds nothing any more that could be let go."""
    relief = Relief()
    connections = [Held("10.0.0.1", 4 * LIGHT) for _ in range(CUT_AT_ONCE + 1)]
    assert relief.relieve(connections, 0) == CUT_AT_ONCE
    (waiting,) = [one for one in connections if not one.gone]
    waiting._held = 0
    await turn()
    assert not waiting.gone
