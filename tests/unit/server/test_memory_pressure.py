"""Who gives way where memory is scarce: whoever caused it, and nobody else."""

from collections import Counter
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from proxy.server.memory_pressure import LIGHT, to_give_way

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
