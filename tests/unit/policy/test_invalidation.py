"""Which cached responses a write invalidates, and that the bounded memory never misses one."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.invalidation import Invalidations, UncertainWrites

ADA, BOB = (b"ada",), (b"bob",)  # what each shows of himself


def test_a_write_makes_its_subjects_reads_old_whoevers_they_are() -> None:
    """Reads of the subject begun before it are old, for every owner; of another subject they are not."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.invalidate("r1", ADA)
    assert not invalidations.fresh(before, "r1", ADA)
    assert not invalidations.fresh(before, "r1", BOB)
    assert invalidations.fresh(before, "r2", ADA)
    assert invalidations.fresh(invalidations.stamp(), "r1", ADA)


def test_a_write_makes_its_owners_subjectless_reads_old() -> None:
    """A list that names no subject may contain what was written; another owner's list is left alone."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.invalidate("r1", ADA)
    assert not invalidations.fresh(before, None, ADA)
    assert invalidations.fresh(before, None, BOB)


def test_a_write_without_a_subject_makes_all_of_its_owners_reads_old() -> None:
    """Nobody knows what it touched, so all that its owners read is old, and nobody else's."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.invalidate(None, ADA)
    assert not invalidations.fresh(before, "r1", ADA)
    assert not invalidations.fresh(before, None, ADA)
    assert invalidations.fresh(before, "r1", BOB)
    assert invalidations.fresh(before, None, BOB)


def test_a_write_that_begins_closes_flights_and_leaves_what_is_kept() -> None:
    """It may yet be refused: only flights of its reads are closed, so that nobody joins one from before it."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.begin("r1", ADA)
    assert invalidations.fresh(before, "r1", ADA)
    assert not invalidations.joinable(before, "r1", BOB)
    assert not invalidations.joinable(before, None, ADA)
    assert invalidations.joinable(before, "r2", ADA)
    during = invalidations.stamp()
    assert invalidations.joinable(during, "r1", BOB)
    invalidations.invalidate("r1", ADA)
    assert not invalidations.joinable(during, "r1", BOB)
    assert not invalidations.fresh(during, "r1", BOB)


def test_writes_that_begin_push_nothing_kept_out() -> None:
    """However many are refused: their marks are bounded, and none of them counts for what is kept."""
    invalidations = Invalidations(places=1)
    before = invalidations.stamp()
    for number in range(10):
        invalidations.begin(f"r{number}", ADA)
    assert invalidations.fresh(before, "r1", ADA)
    assert not invalidations.joinable(before, "never written", BOB)


def test_a_401_ends_what_shows_nothing_else() -> None:
    """The backend does not know the caller: what it read with the same credentials, or fewer, is old.

    Before, one cookie in common was enough, and whoever showed `theme=dark` dropped what was kept for all who have it.
    """
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.end_session((b"theme", b"csrf", b"sid of ada"), "10.0.0.1")
    assert not invalidations.fresh(before, "r1", (b"theme", b"sid of ada"))
    assert not invalidations.joinable(before, "r1", (b"theme", b"sid of ada"))
    assert invalidations.fresh(before, "r1", (b"theme", b"sid of bob"))
    assert invalidations.fresh(invalidations.stamp(), "r1", (b"theme", b"sid of ada"))
    assert invalidations.fresh(before, "r1", ())


def test_refusals_without_end_make_nothing_of_others_old() -> None:
    """Anybody can be answered 401 with ever new credentials; the memory of it is bounded, and he fills it alone."""
    invalidations = Invalidations(most_ended=10)
    before = invalidations.stamp()
    invalidations.end_session(ADA, "10.0.0.1")
    for number in range(100):
        invalidations.end_session((b"%d" % number,), "10.9.9.9")
    assert invalidations.fresh(before, "r1", BOB)
    assert not invalidations.fresh(before, "r1", ADA)


def test_a_sessions_end_drops_all_of_its_owners() -> None:
    """After a log-out nothing that they have read is read again."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.drop_owners(ADA)
    assert not invalidations.fresh(before, "r1", ADA)
    assert invalidations.fresh(before, "r1", BOB)


def test_an_operator_drops_a_subject() -> None:
    """DELETE /kept?subject= makes the subject old for everybody, and nothing else."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.drop_subject("r1")
    assert not invalidations.fresh(before, "r1", ADA)
    assert invalidations.fresh(before, "r2", ADA)
    assert invalidations.fresh(before, None, ADA)


def test_what_shares_a_place_counts_as_sealed() -> None:
    """Past its bound the memory tells no two subjects apart, and what is older than the mark is old."""
    invalidations = Invalidations(places=1)
    before = invalidations.stamp()
    for subject in ("r1", "r2", "r3"):
        invalidations.invalidate(subject, ADA)
    assert not invalidations.fresh(before, "r1", BOB)
    assert not invalidations.fresh(before, "never written", BOB)
    assert invalidations.fresh(invalidations.stamp(), "r1", ADA)


def test_an_older_mark_revives_nothing() -> None:
    """What a newer mark made old stays old, whatever else shares its place."""
    invalidations = Invalidations(places=1)
    invalidations.invalidate(None, ADA)
    between = invalidations.stamp()
    invalidations.drop_subject("r1")
    invalidations.drop_subject("r2")
    invalidations.drop_owners(BOB)
    assert not invalidations.fresh(between, "r1", ADA)


def test_writes_without_end_leave_what_others_have_kept() -> None:
    """A stranger writes ever new subjects with ever new cookies: at most one in a hundred of others' answers is lost.

    Before, 65,536 marks were remembered, and what was forgotten after that counted as written for everybody.
    """
    invalidations = Invalidations()
    before = invalidations.stamp()
    for number in range(1_400):
        invalidations.invalidate(f"s{number}", [b"%d.%d" % (number, cookie) for cookie in range(17)])
    kept = [invalidations.fresh(before, f"r{number}", (b"user %d" % number,)) for number in range(1_000)]
    assert kept.count(False) < 50


WRITES = st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3", None]), st.sampled_from([ADA, BOB])), max_size=12)


@given(WRITES, WRITES, st.integers(1, 3))
def test_a_bounded_memory_forgives_nothing_an_unbounded_one_does_not(
    first: list[tuple[str | None, tuple[bytes, ...]]], then: list[tuple[str | None, tuple[bytes, ...]]], places: int
) -> None:
    """However small the memory, what is fresh to the bounded memory is fresh to one that tells all apart."""
    bounded, unbounded = Invalidations(places), Invalidations()
    for write in first:
        bounded.invalidate(*write)
        unbounded.invalidate(*write)
    stamp = bounded.stamp()
    for write in then:
        bounded.invalidate(*write)
        unbounded.invalidate(*write)
    for subject in ("r1", "r2", "r3", None):
        for who in (ADA, BOB):
            if bounded.fresh(stamp, subject, who):
                assert unbounded.fresh(stamp, subject, who)


def test_one_thing_in_common_is_enough() -> None:
    """A write that shows a cookie and a token makes old what was read with the cookie alone."""
    invalidations = Invalidations()
    before = invalidations.stamp()
    invalidations.invalidate(None, (b"cookie", b"token"))
    assert not invalidations.fresh(before, None, (b"other", b"cookie"))
    assert invalidations.fresh(before, None, (b"other",))


def test_who_asks_is_looked_at_only_if_something_was_written() -> None:
    """A read after which nothing was written costs no look at its fields."""
    looked: list[bytes] = []
    who = (looked.append(owner) or owner for owner in ADA)  # type: ignore[func-returns-value]
    invalidations = Invalidations()
    invalidations.invalidate("r1", ADA)
    assert invalidations.fresh(invalidations.stamp(), None, who)
    assert not UncertainWrites().about(None, who, 0.0)
    assert looked == []


@pytest.mark.parametrize(
    ("wrote", "read", "doubted"),
    [
        (("r1", ADA), ("r1", BOB), True),
        (("r1", ADA), ("r2", ADA), False),
        (("r1", ADA), (None, ADA), True),
        (("r1", ADA), (None, BOB), False),
        ((None, ADA), ("r1", ADA), True),
        ((None, ADA), (None, ADA), True),
        ((None, ADA), ("r1", BOB), False),
    ],
)
def test_what_a_doubt_is_about(
    wrote: tuple[str | None, tuple[bytes, ...]], read: tuple[str | None, tuple[bytes, ...]], doubted: bool
) -> None:
    """While a write's outcome is unknown it is about the same reads that its seal is about, until its time."""
    uncertain = UncertainWrites()
    uncertain.until(12.0, *wrote)
    assert uncertain.about(*read, 11.9) is doubted
    assert not uncertain.about(*read, 12.0)


def test_a_second_doubt_shortens_no_first() -> None:
    """The longer of two doubts counts."""
    uncertain = UncertainWrites()
    uncertain.until(12.0, "r1", ADA)
    uncertain.until(11.0, "r1", ADA)
    assert uncertain.about("r1", BOB, 11.5)


def test_a_doubt_that_shares_its_place_is_about_everything() -> None:
    """Past the bound nothing is told apart, and until the last doubt's time nothing at all is kept."""
    uncertain = UncertainWrites(places=1)
    for subject in ("r1", "r2", "r3"):
        uncertain.until(12.0, subject, ())
    assert uncertain.about("never written", BOB, 11.9)
    assert not uncertain.about("r3", BOB, 12.0)


def test_whatever_is_written_takes_the_same_memory() -> None:
    """A client chooses how long a subject is, and how many there are: nothing of them is held. All are told apart."""
    invalidations, one, two = Invalidations(), "s" * 60_000 + "1", "s" * 60_000 + "2"
    before = invalidations.stamp()
    invalidations.begin(one, ())
    invalidations.invalidate(one, ())
    invalidations.mark_uncertain(5.0, one, (), 0.0)
    assert (invalidations.fresh(before, one, ()), invalidations.fresh(before, two, ())) == (False, True)
    assert (invalidations.joinable(before, one, ()), invalidations.joinable(before, two, ())) == (False, True)
    assert (invalidations.uncertain.about(one, (), 1.0), invalidations.uncertain.about(two, (), 1.0)) == (True, False)
    tracemalloc.start()
    for number in range(2_000):
        invalidations.begin(f"{number}{one}", (b"%d" % number,))
        invalidations.invalidate(f"{number}{one}", (b"%d" % number,))
        invalidations.mark_uncertain(5.0, f"{number}{one}", (b"%d" % number,), 0.0)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000
