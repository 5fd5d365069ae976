"""What a write makes old, what it leaves alone, and that a bounded memory is never wrong."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.invalidation import Invalidations, UncertainWrites

ADA, BOB = (b"ada",), (b"bob",)  # what each shows of himself


def test_a_write_makes_its_subjects_reads_old_whoevers_they_are() -> None:
    """Reads of the subject begun before it are old, for every owner; of another subject they are not."""
    seals = Invalidations()
    before = seals.stamp()
    seals.seal("r1", ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert not seals.fresh(before, "r1", BOB)
    assert seals.fresh(before, "r2", ADA)
    assert seals.fresh(seals.stamp(), "r1", ADA)


def test_a_write_makes_its_owners_subjectless_reads_old() -> None:
    """A list that names no subject may contain what was written; another owner's list is left alone."""
    seals = Invalidations()
    before = seals.stamp()
    seals.seal("r1", ADA)
    assert not seals.fresh(before, None, ADA)
    assert seals.fresh(before, None, BOB)


def test_a_write_without_a_subject_makes_all_of_its_owners_reads_old() -> None:
    """Nobody knows what it touched, so all that its owners read is old, and nobody else's."""
    seals = Invalidations()
    before = seals.stamp()
    seals.seal(None, ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert not seals.fresh(before, None, ADA)
    assert seals.fresh(before, "r1", BOB)
    assert seals.fresh(before, None, BOB)


def test_a_write_that_begins_closes_flights_and_leaves_what_is_kept() -> None:
    """It may yet be refused: only flights of its reads are closed, so that nobody joins one from before it."""
    seals = Invalidations()
    before = seals.stamp()
    seals.begin("r1", ADA)
    assert seals.fresh(before, "r1", ADA)
    assert not seals.joinable(before, "r1", BOB)
    assert not seals.joinable(before, None, ADA)
    assert seals.joinable(before, "r2", ADA)
    during = seals.stamp()
    assert seals.joinable(during, "r1", BOB)
    seals.seal("r1", ADA)
    assert not seals.joinable(during, "r1", BOB)
    assert not seals.fresh(during, "r1", BOB)


def test_writes_that_begin_push_nothing_kept_out() -> None:
    """However many are refused: their marks are bounded, and none of them counts for what is kept."""
    seals = Invalidations(places=1)
    before = seals.stamp()
    for number in range(10):
        seals.begin(f"r{number}", ADA)
    assert seals.fresh(before, "r1", ADA)
    assert not seals.joinable(before, "never written", BOB)


def test_a_401_ends_what_shows_nothing_else() -> None:
    """The backend does not know the caller: what it read with the same credentials, or fewer, is old.

    Before, one cookie in common was enough, and whoever showed `theme=dark` dropped what was kept for all who have it.
    """
    seals = Invalidations()
    before = seals.stamp()
    seals.end_session((b"theme", b"csrf", b"sid of ada"), "10.0.0.1")
    assert not seals.fresh(before, "r1", (b"theme", b"sid of ada"))
    assert not seals.joinable(before, "r1", (b"theme", b"sid of ada"))
    assert seals.fresh(before, "r1", (b"theme", b"sid of bob"))
    assert seals.fresh(seals.stamp(), "r1", (b"theme", b"sid of ada"))
    assert seals.fresh(before, "r1", ())


def test_refusals_without_end_make_nothing_of_others_old() -> None:
    """Anybody can be answered 401 with ever new credentials; the memory of it is bounded, and he fills it alone."""
    seals = Invalidations(most_ended=10)
    before = seals.stamp()
    seals.end_session(ADA, "10.0.0.1")
    for number in range(100):
        seals.end_session((b"%d" % number,), "10.9.9.9")
    assert seals.fresh(before, "r1", BOB)
    assert not seals.fresh(before, "r1", ADA)


def test_a_sessions_end_drops_all_of_its_owners() -> None:
    """After a log-out nothing that they have read is read again."""
    seals = Invalidations()
    before = seals.stamp()
    seals.drop_owners(ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert seals.fresh(before, "r1", BOB)


def test_an_operator_drops_a_subject() -> None:
    """DELETE /kept?subject= makes the subject old for everybody, and nothing else."""
    seals = Invalidations()
    before = seals.stamp()
    seals.drop_subject("r1")
    assert not seals.fresh(before, "r1", ADA)
    assert seals.fresh(before, "r2", ADA)
    assert seals.fresh(before, None, ADA)


def test_what_shares_a_place_counts_as_sealed() -> None:
    """Past its bound the memory tells no two subjects apart, and what is older than the mark is old."""
    seals = Invalidations(places=1)
    before = seals.stamp()
    for subject in ("r1", "r2", "r3"):
        seals.seal(subject, ADA)
    assert not seals.fresh(before, "r1", BOB)
    assert not seals.fresh(before, "never written", BOB)
    assert seals.fresh(seals.stamp(), "r1", ADA)


def test_an_older_mark_revives_nothing() -> None:
    """What a newer mark made old stays old, whatever else shares its place."""
    seals = Invalidations(places=1)
    seals.seal(None, ADA)
    between = seals.stamp()
    seals.drop_subject("r1")
    seals.drop_subject("r2")
    seals.drop_owners(BOB)
    assert not seals.fresh(between, "r1", ADA)


def test_writes_without_end_leave_what_others_have_kept() -> None:
    """A stranger writes ever new subjects with ever new cookies: at most one in a hundred of others' answers is lost.

    Before, 65,536 marks were remembered, and what was forgotten after that counted as written for everybody.
    """
    seals = Invalidations()
    before = seals.stamp()
    for number in range(1_400):
        seals.seal(f"s{number}", [b"%d.%d" % (number, cookie) for cookie in range(17)])
    kept = [seals.fresh(before, f"r{number}", (b"user %d" % number,)) for number in range(1_000)]
    assert kept.count(False) < 50


WRITES = st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3", None]), st.sampled_from([ADA, BOB])), max_size=12)


@given(WRITES, WRITES, st.integers(1, 3))
def test_a_bounded_memory_forgives_nothing_an_unbounded_one_does_not(
    first: list[tuple[str | None, tuple[bytes, ...]]], then: list[tuple[str | None, tuple[bytes, ...]]], places: int
) -> None:
    """However small the memory, what is fresh to the bounded memory is fresh to one that tells all apart."""
    bounded, unbounded = Invalidations(places), Invalidations()
    for write in first:
        bounded.seal(*write)
        unbounded.seal(*write)
    stamp = bounded.stamp()
    for write in then:
        bounded.seal(*write)
        unbounded.seal(*write)
    for subject in ("r1", "r2", "r3", None):
        for who in (ADA, BOB):
            if bounded.fresh(stamp, subject, who):
                assert unbounded.fresh(stamp, subject, who)


def test_one_thing_in_common_is_enough() -> None:
    """A write that shows a cookie and a token makes old what was read with the cookie alone."""
    seals = Invalidations()
    before = seals.stamp()
    seals.seal(None, (b"cookie", b"token"))
    assert not seals.fresh(before, None, (b"other", b"cookie"))
    assert seals.fresh(before, None, (b"other",))


def test_who_asks_is_looked_at_only_if_something_was_written() -> None:
    """A read after which nothing was written costs no look at its fields."""
    looked: list[bytes] = []
    who = (looked.append(owner) or owner for owner in ADA)  # type: ignore[func-returns-value]
    seals = Invalidations()
    seals.seal("r1", ADA)
    assert seals.fresh(seals.stamp(), None, who)
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
    doubts = UncertainWrites()
    doubts.until(12.0, *wrote)
    assert doubts.about(*read, 11.9) is doubted
    assert not doubts.about(*read, 12.0)


def test_a_second_doubt_shortens_no_first() -> None:
    """The longer of two doubts counts."""
    doubts = UncertainWrites()
    doubts.until(12.0, "r1", ADA)
    doubts.until(11.0, "r1", ADA)
    assert doubts.about("r1", BOB, 11.5)


def test_a_doubt_that_shares_its_place_is_about_everything() -> None:
    """Past the bound nothing is told apart, and until the last doubt's time nothing at all is kept."""
    doubts = UncertainWrites(places=1)
    for subject in ("r1", "r2", "r3"):
        doubts.until(12.0, subject, ())
    assert doubts.about("never written", BOB, 11.9)
    assert not doubts.about("r3", BOB, 12.0)


def test_whatever_is_written_takes_the_same_memory() -> None:
    """A client chooses how long a subject is, and how many there are: nothing of them is held. All are told apart."""
    seals, one, two = Invalidations(), "s" * 60_000 + "1", "s" * 60_000 + "2"
    before = seals.stamp()
    seals.begin(one, ())
    seals.seal(one, ())
    seals.doubt(5.0, one, (), 0.0)
    assert (seals.fresh(before, one, ()), seals.fresh(before, two, ())) == (False, True)
    assert (seals.joinable(before, one, ()), seals.joinable(before, two, ())) == (False, True)
    assert (seals.doubts.about(one, (), 1.0), seals.doubts.about(two, (), 1.0)) == (True, False)
    tracemalloc.start()
    for number in range(2_000):
        seals.begin(f"{number}{one}", (b"%d" % number,))
        seals.seal(f"{number}{one}", (b"%d" % number,))
        seals.doubt(5.0, f"{number}{one}", (b"%d" % number,), 0.0)
    grown, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert grown < 100_000
