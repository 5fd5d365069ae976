"""The latest number of each key: never less than the true one, in memory of a fixed size."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.latest import Latest

PUTS = st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 99)))


@given(PUTS, st.integers(1, 8))
def test_what_is_told_is_the_latest_or_later(puts: list[tuple[str, int]], places: int) -> None:
    """However many keys share a place."""
    latest = Latest(places)
    for key, number in puts:
        latest.put(key, number)
    for key in "abcdef":
        assert latest.of(key) >= max([number for one, number in puts if one == key], default=0)


def test_with_room_keys_are_told_apart() -> None:
    """With ten times as many places as keys about one in a hundred is told a number that is not its own."""
    latest = Latest(10_000)
    for key in range(1_000):
        latest.put(f"written {key}", key + 1)
    assert sum(latest.of(f"written {key}") != key + 1 for key in range(1_000)) < 50
    assert sum(latest.of(f"never written {key}") > 0 for key in range(1_000)) < 50


def test_before_the_first_number_there_is_nothing() -> None:
    """A sidecar that sees no write holds no table."""
    latest = Latest(262_144)
    assert not latest
    assert latest.of("r1") == 0
    latest.put("r1", 1)
    assert latest
