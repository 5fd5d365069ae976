"""What a crash at any moment leaves: never a copy from before a write that was answered."""

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from proxy.clock import SystemClock
from proxy.exchange.ports import Scope
from proxy.http.fields import Fields
from proxy.http.message import Response
from proxy.policy.bounded import Holder
from proxy.policy.claim_rules import ERASED, Acquired, Orphaned, Settled, StoreUnavailable
from proxy.policy.recovery_plan import Result
from proxy.store.disk.disk_bundle import DiskBundle
from proxy.store.disk.disk_writer import DiskWriter
from tests.unit.store.disk.kit import ADA, DAY, EVE, SetClock, a_claim, a_response, crashed, has, keep, on_disk, opened

FOR_S = 5.0


async def after_crash(folder: Path, *keys: bytes) -> list[bool]:
    """Return which responses the next process has, after a crash at this moment."""
    async with opened(crashed(folder)) as bundle:
        return [await has(bundle, key) for key in keys]


async def filled(bundle: DiskBundle) -> None:
    """Keep a response of Ada's and of Eve's for the same subject, one of another, and one without a subject."""
    await keep(bundle, b"ada-1", "r-1", ADA)
    await keep(bundle, b"eve-1", "r-1", EVE)
    await keep(bundle, b"ada-2", "r-2", ADA)
    await keep(bundle, b"ada-0", None, ADA)
    await on_disk(bundle)


ALL = (b"ada-1", b"eve-1", b"ada-2", b"ada-0")


async def test_a_write_under_way_is_in_doubt_after_a_crash(tmp_path: Path) -> None:
    """Its subject's responses are gone, its sender's without a subject too; the others are there."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await filled(bundle)
        assert await after_crash(folder, *ALL) == [True] * 4
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        await on_disk(bundle)
        assert await after_crash(folder, *ALL) == [False, False, True, False]
        bundle.invalidations.withdraw("r-1", (ADA,))
        await on_disk(bundle)
        assert await after_crash(folder, *ALL) == [True] * 4


async def test_a_write_that_was_answered_made_its_copies_old(tmp_path: Path) -> None:
    """When `flushed` returns, no crash brings them back."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await filled(bundle)
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        bundle.invalidations.invalidate("r-1", (ADA,))
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        assert await after_crash(folder, *ALL) == [False, False, True, False]
        assert [await has(bundle, key) for key in ALL] == [False, False, True, False]


async def test_nothing_is_written_where_nothing_is_kept(tmp_path: Path) -> None:
    """A write to a subject without copies leaves the disk alone."""
    async with opened(tmp_path / "kept") as bundle:
        await filled(bundle)
        assert isinstance(bundle._writer, DiskWriter)
        before = bundle._writer.last
        bundle.invalidations.begin("r-9", (EVE,), FOR_S)
        bundle.invalidations.invalidate("r-9", (EVE,))
        assert bundle._writer.last == before


async def test_of_two_equal_writes_the_last_removes_the_mark(tmp_path: Path) -> None:
    """The first was refused; the other is still under way."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await filled(bundle)
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        bundle.invalidations.withdraw("r-1", (ADA,))
        await on_disk(bundle)
        assert await after_crash(folder, b"eve-1") == [False]
        bundle.invalidations.withdraw("r-1", (ADA,))
        await on_disk(bundle)
        assert await after_crash(folder, b"eve-1") == [True]


async def test_what_is_kept_during_a_write_is_covered_by_it(tmp_path: Path) -> None:
    """Nothing was kept when it began; a read in its middle kept the state before it."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        await keep(bundle, b"ada-1", "r-1", ADA)
        await on_disk(bundle)
        bundle.invalidations.invalidate("r-1", (ADA,))
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        assert await after_crash(folder, b"ada-1") == [False]


async def test_a_doubt_outlives_the_process(tmp_path: Path) -> None:
    """Nothing is cached of the subject for the whole time again, whatever the clock says."""
    folder, clock = tmp_path / "kept", SetClock()
    async with opened(folder, clock) as bundle:
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        bundle.invalidations.mark_uncertain(FOR_S, "r-1", (ADA,), clock.now())
        bundle.invalidations.invalidate("r-1", (ADA,))
        await on_disk(bundle)
        after = crashed(folder)
    clock.wall_at += 1000.0
    async with opened(after, clock) as bundle:
        doubts = bundle.invalidations.uncertain
        assert doubts.about("r-1", (EVE,), clock.now())
        assert doubts.about(None, (ADA,), clock.now())
        assert not doubts.about("r-2", (ADA,), clock.now())
        clock.pass_(FOR_S)
        assert not doubts.about("r-1", (EVE,), clock.now())


async def test_a_rejected_credential_and_a_logout_are_removed(tmp_path: Path) -> None:
    """A 401 takes what was read with that credential alone; a logout takes all of its sender's."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await filled(bundle)
        await keep(bundle, b"both", "r-3", ADA, EVE)
        bundle.invalidations.end_session((EVE,), "198.51.100.1")
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        assert await after_crash(folder, *ALL, b"both") == [True, False, True, True, True]
        bundle.invalidations.drop_owners((ADA,))
        await bundle.replicas.flushed()
        assert await after_crash(folder, *ALL, b"both") == [False] * 5


async def test_a_logout_erases_what_its_sender_is_replayed(tmp_path: Path) -> None:
    """Before its response goes out, also if nothing is cached for him; the key stays used, and another's too."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        for name, owner in (("c-1", ADA), ("c-2", EVE)):
            claim = a_claim(name)._replace(holder=Holder("198.51.100.1", owner))
            state = await bundle.claims.claim(claim)
            assert isinstance(state, Acquired)
            result = Result(Response(201, b"Created", Fields(()), b"planted-" + owner))
            await bundle.claims.settle(claim, state, result, keep=True)
        bundle.invalidations.drop_owners((ADA,))
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        async with opened(crashed(folder)) as later:
            found = [await later.claims.claim(a_claim(name)) for name in ("c-1", "c-2")]
    assert [isinstance(each, Settled) and each.result == ERASED for each in found] == [True, False]


async def test_ages_count_on_over_a_clock_that_was_set_back(tmp_path: Path) -> None:
    """The response is as old as it was, and its lifetime ends when it would have."""
    folder, clock = tmp_path / "kept", SetClock()
    async with opened(folder, clock) as bundle:
        await keep(bundle, b"k", "r-1", ADA)
        clock.pass_(600.0)
        await keep(bundle, b"other", "r-1", ADA)
    clock.wall_at -= 10_000.0
    async with opened(folder, clock) as bundle:
        look = await bundle.responses.look(b"k", Scope("r-1", (ADA,)))
        assert look.cached is not None
        assert look.cached.age_s(bundle.clock.wall()) == 600
        clock.pass_(DAY - 600.0)
        assert not await has(bundle, b"k")
        assert await has(bundle, b"other")


async def test_a_clock_that_jumped_expires_nothing(tmp_path: Path) -> None:
    """While it is wrong nothing is served that is too old by it; when it is right again, all is there."""
    folder, clock = tmp_path / "kept", SetClock()
    async with opened(folder, clock) as bundle:
        await keep(bundle, b"k", "r-1", ADA)
    clock.wall_at += 10 * DAY
    async with opened(folder, clock) as bundle:
        assert not await has(bundle, b"k")
        bundle._sweep()
        await on_disk(bundle)
    clock.wall_at -= 10 * DAY
    async with opened(folder, clock) as bundle:
        assert await has(bundle, b"k")


async def test_what_is_parked_is_made_old_by_a_write(tmp_path: Path) -> None:
    """The clock jumped, a write came, the clock was corrected."""
    folder, clock = tmp_path / "kept", SetClock()
    async with opened(folder, clock) as bundle:
        await keep(bundle, b"k", "r-1", ADA)
    clock.wall_at += 10 * DAY
    async with opened(folder, clock) as bundle:
        bundle.invalidations.begin("r-1", (EVE,), 0.0)
        bundle.invalidations.invalidate("r-1", (EVE,))
        await on_disk(bundle)
    clock.wall_at -= 10 * DAY
    async with opened(folder, clock) as bundle:
        assert not await has(bundle, b"k")


async def test_what_has_expired_leaves_the_file(tmp_path: Path) -> None:
    """With the sweep, also from the WAL."""
    folder, clock = tmp_path / "kept", SetClock()
    async with opened(folder, clock) as bundle:
        await keep(bundle, b"k", "r-1", ADA, body=b"planted-secret")
        await on_disk(bundle)
        assert b"planted-secret" in bytes_of(folder)
        clock.pass_(DAY)
        bundle._sweep()
        await on_disk(bundle)
        assert b"planted-secret" not in bytes_of(folder)


def bytes_of(folder: Path) -> bytes:
    """Return every byte of every file in the folder."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.mark.parametrize("seed", range(5))
async def test_erasure_leaves_no_byte_of_a_subject(tmp_path: Path, seed: int) -> None:
    """Rows of all sizes that were written, replaced, moved and removed in any order; and a file that was set aside."""
    random, folder = Random(seed), tmp_path / "kept"
    async with opened(folder) as bundle:
        for _ in range(400):
            number = random.randrange(60)
            secret = b"planted-secret-%d-" % number * random.choice((1, 3, 40, 300, 3000))
            if random.random() < 0.2:
                bundle.invalidations.begin(f"r-{number}", (ADA,), 1.0)
                bundle.invalidations.invalidate(f"r-{number}", (ADA,))
            else:
                await keep(bundle, b"k-%d-%d" % (number, random.randrange(3)), f"r-{number}", ADA, body=secret)
            if random.random() < 0.3:
                await on_disk(bundle)
        await settle(bundle, "r-1", b"planted-secret-1-")
        (folder / "cache.db.damaged-20261130T170000").write_bytes(b"planted-secret-2-")
        for number in range(60):
            erased = await bundle.erase(f"r-{number}")
            assert erased.complete
            assert b"planted-secret-%d-" % number not in bytes_of(folder)
        assert b"planted-secret" not in bytes_of(folder)


async def settle(bundle: DiskBundle, subject: str, body: bytes, name: str = "c-1") -> None:
    """Use a key, and store the response of its request."""
    claim = a_claim(name, subject=subject)
    state = await bundle.claims.claim(claim)
    assert isinstance(state, Acquired)
    result = Result(Response(201, b"Created", Fields(()), body))
    await bundle.claims.settle(claim, state, result, keep=True)


async def test_a_response_of_the_process_before_is_erased(tmp_path: Path) -> None:
    """The key stays used, without its response; also if its request was under way."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await settle(bundle, "r-1", b"planted-secret")
        assert isinstance(await bundle.claims.claim(a_claim("c-2")), Acquired)
        after = crashed(folder)
    async with opened(after) as bundle:
        assert isinstance(await bundle.claims.claim(a_claim("c-2")), Orphaned)
        erased = await bundle.erase("r-1")
        assert (erased.idempotent, erased.complete) == (2, True)
        assert b"planted-secret" not in bytes_of(after)
    async with opened(after) as bundle:
        for name in ("c-1", "c-2"):
            assert isinstance(await bundle.claims.claim(a_claim(name)), Settled | Orphaned)


async def test_a_claim_is_on_the_disk_before_its_request_is_sent(tmp_path: Path) -> None:
    """A crash right after `claim` leaves an orphan; after `settle` the response; after a release nothing."""
    folder, claim = tmp_path / "kept", a_claim()
    async with opened(folder) as bundle:
        state = await bundle.claims.claim(claim)
        assert isinstance(state, Acquired)
        async with opened(crashed(folder)) as later:
            assert isinstance(await later.claims.claim(claim), Orphaned)
        bundle.claims.release(claim, state, sent=False)
        await on_disk(bundle)
        async with opened(crashed(folder)) as later:
            assert isinstance(await later.claims.claim(claim), Acquired)
        await settle(bundle, "r-1", b"made")
        async with opened(crashed(folder)) as later:
            again = await later.claims.claim(claim)
            assert isinstance(again, Settled)
            assert again.result is not None
            assert isinstance(again.result.outcome, Response)
            assert again.result.outcome.body == b"made"


async def test_an_orphan_that_was_taken_over_in_vain_is_an_orphan_again(tmp_path: Path) -> None:
    """Its first request may have been executed, whatever became of the second."""
    folder, claim = tmp_path / "kept", a_claim()
    async with opened(folder) as bundle:
        assert isinstance(await bundle.claims.claim(claim), Acquired)
        after = crashed(folder)
    async with opened(after) as bundle:
        orphan = await bundle.claims.claim(claim)
        assert isinstance(orphan, Orphaned)
        state = await bundle.claims.take_over(claim, orphan)
        assert isinstance(state, Acquired)
        bundle.claims.release(claim, state, sent=False)
        assert isinstance(await bundle.claims.claim(claim), Orphaned)
        await on_disk(bundle)
        async with opened(crashed(after)) as later:
            assert isinstance(await later.claims.claim(claim), Orphaned)


async def test_an_evicted_response_leaves_the_file(tmp_path: Path) -> None:
    """The bounds of memory are those of the file."""
    folder = tmp_path / "kept"
    async with opened(folder, max_entries=3) as bundle:
        for number in range(5):
            await keep(bundle, b"k-%d" % number, "r-1", ADA)
        await on_disk(bundle)
        async with opened(crashed(folder)) as later:
            assert [await has(later, b"k-%d" % number) for number in range(5)] == [False, False, True, True, True]


async def test_a_response_for_moments_stays_in_memory(tmp_path: Path) -> None:
    """It would have expired before a process could start again."""
    folder = tmp_path / "kept"
    async with opened(folder) as bundle:
        await bundle.responses.put(b"k", a_response(), 2.0, Scope("r-1", (ADA,)), None)
        await on_disk(bundle)
        assert await has(bundle, b"k")
        assert await after_crash(folder, b"k") == [False]


async def test_a_disk_that_refuses_makes_the_file_void_and_is_made_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write goes on; the next start trusts nothing. When the disk works again, all that is kept is written anew."""
    folder, failures = tmp_path / "kept", Counter[str]()
    async with opened(folder, failures=failures) as bundle:
        await filled(bundle)
        assert bundle._opened is not None
        monkeypatch.setattr(bundle._opened.file, "apply", refuse)
        bundle.invalidations.begin("r-1", (ADA,), FOR_S)
        bundle.invalidations.invalidate("r-1", (ADA,))
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        assert await after_crash(folder, *ALL) == [False] * 4
        assert not bundle.responses.up
        assert isinstance(await bundle.claims.claim(a_claim()), StoreUnavailable)
        assert await has(bundle, b"ada-2")
        monkeypatch.undo()
        await until_up(bundle)
        assert await after_crash(folder, *ALL) == [False, False, True, False]
    assert failures["commit"] > 0


def refuse(*_: object) -> None:
    """Fail as a full disk does."""
    raise sqlite3.OperationalError("database or disk is full")


async def until_up(bundle: DiskBundle) -> None:
    """Wait until the store works again."""
    async with asyncio.timeout(50.0):
        while not bundle.responses.up:
            await SystemClock().sleep(0.01)
