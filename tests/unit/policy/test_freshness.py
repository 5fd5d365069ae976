"""C4: what a write makes old, what it leaves alone, and that forgetting is never wrong."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.freshness import Seals

ADA, BOB = b"ada", b"bob"


def test_a_write_makes_its_subjects_reads_old_whoevers_they_are() -> None:
    """C4: reads of the subject begun before it are old, for every principal; of another subject they are not."""
    seals = Seals()
    before = seals.stamp()
    seals.seal("r1", ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert not seals.fresh(before, "r1", BOB)
    assert seals.fresh(before, "r2", ADA)
    assert seals.fresh(seals.stamp(), "r1", ADA)


def test_a_write_makes_its_principals_subjectless_reads_old() -> None:
    """C4: a list that names no subject may contain what was written; another principal's list is left alone."""
    seals = Seals()
    before = seals.stamp()
    seals.seal("r1", ADA)
    assert not seals.fresh(before, None, ADA)
    assert seals.fresh(before, None, BOB)


def test_a_write_without_a_subject_makes_all_of_its_principals_reads_old() -> None:
    """C4: nobody knows what it touched, so all that its principal reads is old, and nobody else's."""
    seals = Seals()
    before = seals.stamp()
    seals.seal(None, ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert not seals.fresh(before, None, ADA)
    assert seals.fresh(before, "r1", BOB)
    assert seals.fresh(before, None, BOB)


def test_a_sessions_end_drops_all_of_a_principal() -> None:
    """C4: after a 401 or a log-out nothing that the principal has read is read again."""
    seals = Seals()
    before = seals.stamp()
    seals.drop_principal(ADA)
    assert not seals.fresh(before, "r1", ADA)
    assert seals.fresh(before, "r1", BOB)


def test_an_operator_drops_a_subject() -> None:
    """DELETE /kept?subject= makes the subject old for everybody, and nothing else."""
    seals = Seals()
    before = seals.stamp()
    seals.drop_subject("r1")
    assert not seals.fresh(before, "r1", ADA)
    assert seals.fresh(before, "r2", ADA)
    assert seals.fresh(before, None, ADA)


def test_what_is_forgotten_counts_as_sealed() -> None:
    """C4: past its limit the oldest mark goes, and everything older than that mark is old."""
    seals = Seals(limit=2)
    before = seals.stamp()
    for subject in ("r1", "r2", "r3"):
        seals.seal(subject, ADA)
    assert not seals.fresh(before, "r1", BOB)
    assert not seals.fresh(before, "never written", BOB)


def test_forgetting_an_older_mark_revives_nothing() -> None:
    """C4: a newer mark is forgotten first, then an older one of another map: what the newer made old stays old.

    Before, the watermark went back from 3 to 1, and what began at 2 could be read again.
    """
    seals = Seals(limit=1)
    seals.seal(None, ADA)  # 1: stays in its map
    between = seals.stamp()
    seals.drop_subject("r1")  # 2
    seals.drop_subject("r2")  # 3: forgets 2
    seals.drop_principal(BOB)  # 4: forgets 1
    assert not seals.fresh(between, "r1", ADA)


WRITES = st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3", None]), st.sampled_from([ADA, BOB])), max_size=12)


@given(WRITES, WRITES, st.integers(1, 3))
def test_a_bounded_memory_forgives_nothing_an_unbounded_one_does_not(
    first: list[tuple[str | None, bytes]], then: list[tuple[str | None, bytes]], limit: int
) -> None:
    """C4: whatever the limit, what is fresh to the bounded memory is fresh to one that forgets nothing."""
    bounded, unbounded = Seals(limit), Seals()
    for write in first:
        bounded.seal(*write)
        unbounded.seal(*write)
    stamp = bounded.stamp()
    for write in then:
        bounded.seal(*write)
        unbounded.seal(*write)
    for subject in ("r1", "r2", "r3", None):
        for principal in (ADA, BOB):
            if bounded.fresh(stamp, subject, principal):
                assert unbounded.fresh(stamp, subject, principal)
