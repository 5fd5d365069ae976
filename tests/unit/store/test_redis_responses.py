"""Marks in Redis: a bounded number, and a response stays current until one of its own marks has changed."""

import pytest

from proxy.exchange.ports import Scope
from proxy.store.redis_responses import (
    PLACES,
    _hold,
    mark_names,
    mark_of_ended,
    mark_of_owner,
    mark_of_subject,
    mark_of_subjectless,
)


def test_there_are_so_many_marks_at_most() -> None:
    """Whatever is written: a mark's name is a place among `PLACES`, and two kinds of one key share none by nature."""
    pairs = {
        pair
        for number in range(2_000)
        for mark in (mark_of_owner, mark_of_ended, mark_of_subjectless)
        for pair in [mark(b"%d" % number)]
    } | {mark_of_subject(f"{number}") for number in range(2_000)}
    assert len(pairs) > 7_900
    for row in (0, 1):
        places = {int(pair[row].removeprefix(f"mark:{row}:"), 16) for pair in pairs}
        assert max(places) < PLACES


@pytest.mark.parametrize(
    ("present", "holds"),
    [
        (["a", "a", "b", "b", "c", "c"], True),
        (["a", "a", "x", "b", "c", "c"], True),  # another owner's mark, which shares one place
        (["a", "a", "x", "y", "c", "c"], False),
        (["x", "x", "b", "b", "c", "c"], False),
        (["a", "a", "b", "b", "x", "c"], True),
        (["a", "a", "b", "b", "x", "y"], False),  # its only session has ended
        (["a", "a", "b", "b"], False),
    ],
)
def test_what_makes_a_kept_answer_old(present: list[str], holds: bool) -> None:
    """Both marks of a pair have changed: of everything, of an owner, or of each session that has ended."""
    assert _hold(["a", "a", "b", "b", "c", "c"], present, writes=2) is holds


def test_an_answer_carries_a_pair_for_each_owner_and_its_subject() -> None:
    """And of all together."""
    with_subject, without = (mark_names(Scope(subject, (b"o", b"p"))) for subject in ("s", None))
    assert (len(with_subject.of_writes), len(with_subject.of_ends)) == (4, 2)
    assert (len(without.of_writes), len(without.of_ends)) == (5, 2)
