"""Bounded maps evict values of the caller who holds most, never those of callers who hold little."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.bounded import Bounded, Holder, Weights

ADA, EVE = Holder("10.0.0.1", b"ada"), Holder("10.0.0.1", b"eve")
FAY = Holder("10.0.0.2", b"fay")


def kept(held: Bounded[str, int], *keys: str) -> list[str]:
    """Return which of the keys are held still."""
    return [key for key in keys if held.get(key, 0.0) is not None]


def test_who_holds_most_gives_way() -> None:
    """One caller stores without end, by number and by size: what another holds, though older, stays.

    Before, the oldest gave way, whoever's it was.
    """
    for size in (1, 400):
        held: Bounded[str, int] = Bounded(max_entries=100, max_bytes=10_000)
        for number in range(3):
            held.put(f"ada {number}", number, 10, 9.0, 0.0, ADA)
        for number in range(1000):
            held.put(f"eve {number}", number, size, 9.0, 0.0, EVE)
        assert kept(held, "ada 0", "ada 1", "ada 2", "eve 0", "eve 999") == ["ada 0", "ada 1", "ada 2", "eve 999"]
        assert len(held) <= 100
        assert held.size <= 10_000


def test_invented_names_do_not_help() -> None:
    """Somebody calls himself anew with every request, from one address: those of another address keep theirs."""
    held: Bounded[str, int] = Bounded(max_entries=100, max_bytes=10_000)
    for number in range(20):
        held.put(f"fay {number}", number, 10, 9.0, 0.0, FAY)
    for number in range(1000):
        held.put(f"eve {number}", number, 10, 9.0, 0.0, Holder("10.0.0.1", b"%d" % number))
    assert len(kept(held, *(f"fay {number}" for number in range(20)))) == 20


def test_equals_give_way_in_their_order() -> None:
    """Without a difference between holders the oldest goes first."""
    held: Bounded[str, int] = Bounded(max_entries=2, max_bytes=1000)
    gave_way = [held.put(key, 0, 10, 9.0, 0.0) for key in ("a", "b", "c")]
    assert gave_way == [[], [], ["a"]]
    assert kept(held, "a", "b", "c") == ["b", "c"]


def test_what_is_over_goes_before_anybody_gives_way() -> None:
    """Time makes room first."""
    held: Bounded[str, int] = Bounded(max_entries=2, max_bytes=1000)
    held.put("old", 0, 10, 1.0, 0.0, ADA)
    held.put("a", 0, 10, 9.0, 0.0, EVE)
    held.put("b", 0, 10, 9.0, 2.0, EVE)
    assert (kept(held, "a", "b"), len(held)) == (["a", "b"], 2)


def test_a_value_is_over_at_its_time() -> None:
    """`until` is exclusive, for a look-up and for the next value alike."""
    held: Bounded[str, int] = Bounded(max_entries=2, max_bytes=1000)
    held.put("a", 0, 10, 5.0, 0.0)
    assert held.get("a", 4.999) is not None
    assert held.get("a", 5.0) is None
    held.put("b", 0, 10, 5.0, 0.0)
    held.put("c", 0, 10, 9.0, 5.0)
    assert (len(held), held.size) == (1, 10)


def test_what_is_counted_is_what_is_held() -> None:
    """Replaced, dropped, expired and given way: the sum never drifts."""
    held: Bounded[str, int] = Bounded(max_entries=3, max_bytes=1000)
    for number in range(100):
        holder = (ADA, EVE, FAY)[number % 3]
        held.put(str(number % 7), number, 10 + number, number + 2.5, float(number), holder)
        held.get(str((number + 3) % 7), now=float(number))
        held.drop(str((number + 5) % 7)) if number % 3 == 0 else None
        found = [held.get(str(key), now=float(number)) for key in range(7)]
        assert held.size == sum(one.size for one in found if one)
        assert len(held) <= 3
        assert set(held._of_holder) == {one.holder for one in found if one}


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.integers(-50, 50)), max_size=200))
def test_the_heaviest_is_the_heaviest(changes: list[tuple[str, int]]) -> None:
    """Whatever is added and taken away; and the heap does not outgrow the names."""
    weights: Weights[str] = Weights()
    known: dict[str, int] = {}
    for name, by in changes:
        by = max(by, -known.get(name, 0))
        if by:
            known[name] = known.get(name, 0) + by
            weights.change(name, by)
            known = {one: weight for one, weight in known.items() if weight}
        if known:
            assert known[weights.heaviest()] == max(known.values())
        assert len(weights) == len(known)
        assert len(weights._heap) <= 2 * 4 + 17
