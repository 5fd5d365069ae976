"""The writer's thread: nobody waits longer than is said, nothing grows without a bound, and what is lost is known."""

import asyncio
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from proxy.clock import SystemClock
from proxy.policy.claim_rules import Acquired
from proxy.store.disk import disk_writer
from proxy.store.disk.disk_changes import Change, Kind, Put, Remove
from proxy.store.disk.disk_writer import Disk, DiskWriter
from proxy.store.disk.folder import StoreFolder
from proxy.store.disk.sealing import Plain, Seal
from tests.unit.store.disk.kit import ADA, a_claim, keep, opened, trusted


class ScriptedFile:
    """A file that holds commits back, or refuses them. Each commit is its number of changes."""

    def __init__(self) -> None:
        self.commits: list[int] = []
        self.go = threading.Event()
        self.go.set()
        self.refuses = False
        self.begun = threading.Event()

    def apply(self, changes: Iterable[Change], seal: Seal, facts: object = ()) -> None:
        self.begun.set()
        assert self.go.wait(50.0)
        if self.refuses:
            raise sqlite3.OperationalError("disk I/O error")
        self.commits.append(len(list(changes)))

    def truncate(self) -> None:
        self.commits.append(-1)


class Stage:
    """A writer on a scripted file."""

    def __init__(self, tmp_path: Path) -> None:
        self.file = ScriptedFile()
        self.folder = StoreFolder(tmp_path / "kept")
        self.folder.trust()
        self.failures = Counter[str]()
        self.everything: list[Change] = [Remove(Kind.MARK, b"all")] * 7
        disk = Disk(self.file, Plain(), self.folder)  # type: ignore[arg-type]
        self.writer = DiskWriter(disk, lambda: 1.0, lambda: self.everything, self._count)

    def _count(self, operation: str) -> None:
        self.failures[operation] += 1

    async def close(self) -> None:
        """End the thread."""
        self.file.go.set()
        assert await self.writer.close()
        self.folder.close()


def is_up(stage: Stage) -> bool:
    return stage.writer.up


def changes(count: int = 1) -> list[Change]:
    return [Remove(Kind.MARK, b"%d" % number) for number in range(count)]


def large(size: int) -> list[Change]:
    return [Put(Kind.RESPONSE, b"k", 1.0, size, bytes)]


async def until(true: Callable[[], bool]) -> None:
    """Wait until something in the thread is true."""
    async with asyncio.timeout(50.0):
        while not true():
            await SystemClock().sleep(0.002)


async def test_changes_that_wait_are_committed_together(tmp_path: Path) -> None:
    """In their order, while the disk is busy with those before."""
    stage = Stage(tmp_path)
    stage.file.go.clear()
    stage.writer.submit(changes())
    await until(stage.file.begun.is_set)
    numbers = [stage.writer.submit(changes()) for _ in range(50)]
    stage.file.go.set()
    assert await stage.writer.durable(numbers[-1], 50.0)
    assert stage.file.commits == [1, 50]
    await stage.close()


async def test_a_disk_that_hangs_is_waited_for_so_long(tmp_path: Path) -> None:
    """`sync_timeout`; then the response goes out, and it is counted. The loop goes on meanwhile."""
    failures = Counter[str]()
    async with opened(tmp_path / "kept", failures=failures, sync_timeout="50ms") as bundle:
        await keep(bundle, b"k", "r-1", ADA)
        file, writer = ScriptedFile(), bundle._writer
        assert isinstance(writer, DiskWriter)
        assert await writer.durable(writer.last, 50.0)
        writer._disk = Disk(file, Plain(), writer._disk.folder)  # type: ignore[arg-type]
        file.go.clear()
        bundle.invalidations.begin("r-1", (ADA,), 1.0)
        assert bundle.replicas is not None
        await bundle.replicas.flushed()
        assert not file.commits
        assert failures["sync"] == 1
        file.go.set()


async def test_a_response_waits_for_the_mark_and_not_for_the_removal(tmp_path: Path) -> None:
    """The mark was committed beside the call: the copies that it covers leave the file later."""
    async with opened(tmp_path / "kept") as bundle:
        await keep(bundle, b"k", "r-1", ADA)
        bundle.invalidations.begin("r-1", (ADA,), 1.0)
        file, writer = ScriptedFile(), bundle._writer
        assert isinstance(writer, DiskWriter)
        assert await writer.durable(writer.last, 50.0)
        writer._disk = Disk(file, Plain(), writer._disk.folder)  # type: ignore[arg-type]
        file.go.clear()
        bundle.invalidations.invalidate("r-1", (ADA,))
        assert bundle.replicas is not None
        await asyncio.wait_for(bundle.replicas.flushed(), 1.0)
        assert not file.commits
        bundle.invalidations.begin("r-1", (ADA,), 1.0)
        await keep(bundle, b"k", "r-1", ADA)  # during a write that found nothing to mark
        bundle.invalidations.invalidate("r-1", (ADA,))
        waiting = asyncio.ensure_future(bundle.replicas.flushed())
        await until(file.begun.is_set)
        assert not waiting.done()
        file.go.set()
        await waiting


async def test_a_claim_waits_for_the_disk_and_the_loop_does_not(tmp_path: Path) -> None:
    """Its request is not sent before the key is used on the disk."""
    async with opened(tmp_path / "kept") as bundle:
        file, writer = ScriptedFile(), bundle._writer
        assert isinstance(writer, DiskWriter)
        assert await writer.durable(writer.last, 50.0)
        writer._disk = Disk(file, Plain(), writer._disk.folder)  # type: ignore[arg-type]
        file.go.clear()
        claiming = asyncio.ensure_future(bundle.claims.claim(a_claim()))
        await until(file.begun.is_set)
        assert not claiming.done()
        file.go.set()
        assert isinstance(await claiming, Acquired)


async def test_what_nobody_waits_for_is_dropped_beyond_the_bounds(tmp_path: Path) -> None:
    """The responses that a process caches while its disk hangs; nothing else is lost by it."""
    stage = Stage(tmp_path)
    stage.file.go.clear()
    stage.writer.submit(changes())
    await until(stage.file.begun.is_set)
    for _ in range(40):
        stage.writer.submit(large(disk_writer.MOST_BYTES // 10), urgent=False)
    assert stage.writer._queued_bytes <= disk_writer.MOST_BYTES
    number = stage.writer.submit(changes())
    stage.file.go.set()
    assert await stage.writer.durable(number, 50.0)
    assert trusted(stage.folder)
    await stage.close()


async def test_a_lost_mark_makes_the_file_void(tmp_path: Path) -> None:
    """More writes than may wait: who waits is told, the next start trusts nothing, and it is made good."""
    stage = Stage(tmp_path)
    stage.file.go.clear()
    stage.writer.submit(changes())
    await until(stage.file.begun.is_set)
    numbers = [stage.writer.submit(changes(1000)) for _ in range(disk_writer.MOST_CHANGES // 1000 + 2)]
    assert stage.writer._queued <= disk_writer.MOST_CHANGES
    waiting = asyncio.ensure_future(stage.writer.durable(numbers[3], 50.0))
    await asyncio.wait((waiting,), timeout=0.01)
    stage.file.go.set()
    assert await waiting is False
    assert not trusted(stage.folder)
    await until(lambda: stage.writer.up)
    assert trusted(stage.folder)
    assert stage.file.commits[-1] == 8
    await stage.close()


async def test_a_refused_commit_voids_the_file_before_anybody_is_told(tmp_path: Path) -> None:
    """Then everything that is kept is written in one commit, after the disk has taken another one."""
    stage = Stage(tmp_path)
    stage.file.refuses = True
    assert await stage.writer.durable(stage.writer.submit(changes()), 50.0) is False
    assert not trusted(stage.folder)
    assert not is_up(stage)
    assert await stage.writer.durable(stage.writer.submit(changes()), 50.0) is False
    stage.file.refuses = False
    await until(lambda: stage.writer.up)
    assert stage.file.commits == [0, 8]
    assert trusted(stage.folder)
    assert stage.failures["commit"] == 1
    await stage.close()


async def test_a_disk_that_refuses_again_leaves_the_file_void(tmp_path: Path) -> None:
    """It took a small commit, and not everything."""
    stage = Stage(tmp_path)
    stage.file.refuses = True
    assert await stage.writer.durable(stage.writer.submit(changes()), 50.0) is False
    stage.file.refuses = False
    stage.everything = large(1)
    apply, tries = stage.file.apply, 0

    def refuse_much(changes: Iterable[Change], seal: Seal, facts: object = ()) -> None:
        nonlocal tries
        changes = list(changes)
        tries += len(changes) > 1
        if len(changes) > 1 and tries < 3:
            raise sqlite3.OperationalError("database or disk is full")
        apply(changes, seal, facts)

    stage.file.apply = refuse_much  # type: ignore[method-assign]
    await until(lambda: stage.writer.up)
    assert tries == 3
    await stage.close()


@pytest.mark.parametrize("refuses", [False, True])
async def test_what_waits_is_written_at_the_end(tmp_path: Path, refuses: bool) -> None:
    """A stop commits it; a disk that refuses does not hold it up."""
    stage = Stage(tmp_path)
    stage.file.refuses = refuses
    for _ in range(5):
        stage.writer.submit(changes(), urgent=False)
    await stage.close()
    assert sum(stage.file.commits) == (0 if refuses else 5)
