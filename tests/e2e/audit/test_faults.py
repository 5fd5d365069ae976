"""A full disk, a deleted file, a read-only and a slow disk: no crash, no blocked loop, recovery without restart."""

import asyncio
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.audit.log import AuditLog
from proxy.audit.trail_file import TrailFile
from proxy.audit.verify import Condition
from tests.e2e.audit.kit import CLOCK, PATIENCE_S, Backend, Client, Running, found, needs, recorded, running
from tests.settings import log_rules
from tests.unit.audit.samples import fields

SLOW_S = 2  # so long that a busy machine is not taken for a slow disk
RECORDS = 2_000
SLOWED = {"slow write": ("write",), "slow fsync": ("sync",)}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount 512 KiB of memory as a disk of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting a tmpfs is not permitted here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room there is, and return the file that has it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as stream:
        for size in (4096, 1):
            try:
                while stream.write(b"x" * size):
                    pass
            except OSError:
                continue
    return ballast


async def statuses(client: Client, method: str, count: int, name: str) -> set[int]:
    """Ask a number of times, and return the statuses that came."""
    return {await client.ask(method, "/api/sessions", f"{name}-{number}") for number in range(count)}


async def metric(sidecar: Running, name: str) -> float:
    """Return one figure of /metrics."""
    async with aiohttp.ClientSession() as session, session.get(f"{sidecar.admin}/metrics") as answer:
        lines = (await answer.text()).splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


async def until(true: Callable[[], bool]) -> None:
    """Wait for something that happens soon."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await CLOCK.sleep(0.02)


async def until_answered(client: Client, status: int, name: str) -> None:
    """Ask until the answer has this status."""
    async with asyncio.timeout(PATIENCE_S):
        count = 0
        while await client.ask("POST", "/api/sessions", f"{name}-{count}") != status:
            count += 1
            await CLOCK.sleep(0.05)


async def test_in_batch_a_full_disk_costs_records_and_counts_them(small_disk: Path, backend: Backend) -> None:
    """Every request is answered; what the queue could not hold is a gap in a whole trail: requests = records + gaps."""
    with running(small_disk, backend, audit__durability="batch", audit__queue="50") as sidecar:
        client = Client(sidecar.url)
        assert await statuses(client, "POST", 5, "before") == {200}
        await until(lambda: len(recorded(sidecar.trail)) == 5)
        ballast = fill(small_disk)
        assert await statuses(client, "POST", 200, "full") == {200}
        assert await metric(sidecar, "backstay_audit_gaps_total") > 0
        ballast.unlink()
        await until(lambda: found(sidecar.trail).condition is Condition.WHOLE)
        assert await statuses(client, "POST", 5, "after") == {200}
        client.close()
        gaps = await metric(sidecar, "backstay_audit_gaps_total")
        assert sidecar.stop() == 0
    assert found(sidecar.trail).condition is Condition.WHOLE
    assert len(recorded(sidecar.trail)) + gaps == 210


async def test_a_full_disk_does_not_put_off_the_end(small_disk: Path, backend: Backend) -> None:
    """Full within a second of the last fsync: SIGTERM ends it at once; what is lost is counted, and the trail whole."""
    with running(small_disk, backend, audit__durability="batch") as sidecar:
        client = Client(sidecar.url)
        assert await statuses(client, "POST", 5, "before") == {200}
        ballast = fill(small_disk)
        assert await statuses(client, "POST", 50, "full") == {200}
        client.close()
        assert sidecar.stop() == 0
        ballast.unlink()
    assert found(sidecar.trail).condition is Condition.WHOLE
    assert "audit_records_lost" in small_disk.with_name(f"{small_disk.name}.stderr").read_text()


@pytest.mark.parametrize("durability", ["blocking", "strict"])
async def test_in_blocking_and_strict_nothing_is_told_that_is_not_on_disk(
    small_disk: Path, backend: Backend, durability: str
) -> None:
    """While the disk is full answers are withheld; only `strict` keeps writes from the backend. Then all is well."""
    backend.calls.clear()
    with running(small_disk, backend, audit__durability=durability, audit__max_wait="5s") as sidecar:
        client = Client(sidecar.url)
        assert await statuses(client, "POST", 5, "before") == {200}
        ballast = fill(small_disk)
        await until_answered(client, 503, "filling")  # the file's last page has some room left
        assert await statuses(client, "POST", 20, "full") == {503}
        assert await statuses(client, "GET", 5, "full-read") == {503}
        reached = sum(b"full-" in call and call.startswith(b"POST") for call in backend.calls)
        assert (reached == 0) if durability == "strict" else (reached == 20)
        ballast.unlink()
        await until_answered(client, 200, "after")
        client.close()
        assert sidecar.stop() == 0
    assert found(sidecar.trail).condition is Condition.WHOLE
    ids = {str(record["correlation_id"]) for record in recorded(sidecar.trail)}
    assert {ident for ident, (status, _) in client.answered.items() if status == 200} <= ids


@pytest.mark.parametrize("durability", ["batch", "blocking"])
async def test_a_deleted_file_is_begun_anew(folder: Path, backend: Backend, durability: str) -> None:
    """What was in it is gone, and the verifier says so; everything later is in a new file at the same path."""
    with running(folder, backend, audit__durability=durability) as sidecar:
        client = Client(sidecar.url)
        assert await statuses(client, "POST", 5, "before") == {200}
        await until(lambda: len(recorded(sidecar.trail)) == 5)
        sidecar.trail.unlink()
        assert await statuses(client, "POST", 5, "after") == {200}
        client.close()
        assert sidecar.stop() == 0
    assert [record["correlation_id"] for record in recorded(sidecar.trail)] == [f"after-{n}" for n in range(5)]
    assert found(sidecar.trail).condition is Condition.MISSING


@needs("strace")
async def test_a_disk_that_turns_read_only_is_outlasted(folder: Path, backend: Backend) -> None:
    """Thirty refused writes, as after a remount: answers go on, nothing is lost, the trail is whole."""
    inject = "inject=write:error=EROFS:when=3..32"
    prefix = ("strace", "-f", "-D", "-qq", "-o", "/dev/null", "-P", str(folder / "audit.jsonl"), "-e", inject)
    with running(folder, backend, prefix, audit__durability="batch") as sidecar:
        client = Client(sidecar.url)
        assert await statuses(client, "POST", 30, "during") == {200}
        await until(lambda: len(recorded(sidecar.trail)) == 30)
        client.close()
        assert sidecar.stop() == 0
    assert found(sidecar.trail).condition is Condition.WHOLE


@needs("strace")
async def test_a_slow_disk_delays_answers_only_where_they_wait_for_it(folder: Path, backend: Backend) -> None:
    """An fsync of 2 s: in `batch` nobody notices, in `blocking` every answer takes as long."""
    prefix = ("strace", "-f", "-D", "-qq", "-o", "/dev/null", "-e", f"inject=fsync:delay_exit={SLOW_S * 1_000_000}")
    for durability, slow in (("batch", False), ("blocking", True)):
        with running(folder, backend, prefix, audit__durability=durability) as sidecar:
            client, began = Client(sidecar.url), CLOCK.now()
            assert await statuses(client, "POST", 2, durability) == {200}
            assert (CLOCK.now() - began > 2 * SLOW_S) is slow
            client.close()
    assert found(sidecar.trail).condition is Condition.WHOLE


@pytest.mark.parametrize("trouble", ["full", "slow write", "slow fsync"])
async def test_a_disk_in_trouble_never_blocks_the_loop(
    folder: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
) -> None:
    """2,000 records into a disk that refuses, or that does nothing until the loop has taken them all.

    Were the loop to wait for the disk, the two would wait for each other.
    """
    taken, callers = threading.Event(), set[int]()
    for call in ("write", "sync"):
        real = getattr(TrailFile, call)

        def held(*words: object, real: Callable[..., object] = real, call: str = call) -> object:
            callers.add(threading.get_ident())
            if call in SLOWED.get(trouble, ()):
                assert taken.wait(PATIENCE_S)
            return real(*words)

        monkeypatch.setattr(TrailFile, call, held)
    path = Path("/dev/full") if trouble == "full" else folder / "audit.jsonl"
    log = AuditLog(path, clock=CLOCK, rules=log_rules(queue_limit=500, fsync_s=0.01))
    await log.start()
    for record in range(RECORDS):
        log.append(fields(record))
        if record % 100 == 99:
            await CLOCK.sleep(0.01)  # the loop turns, and its timers seal and hand over
    taken.set()
    await log.close()
    assert log.records + log.gaps == RECORDS
    assert callers
    assert threading.get_ident() not in callers
