"""The promises of the durability modes, verified by system calls and by kill -9 under load.

BACKSTAY_KILLS sets how often each mode's sidecar is killed; the default keeps the suite short.
"""

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from proxy.audit.checkpoint import HmacKey, read
from proxy.audit.files import lines, trails
from proxy.audit.verify import Condition, Finding, Proof, verify
from tests.e2e.audit.kit import CLOCK, Backend, Client, found, load, needs, recorded, running

SECRET = b"k" * 32
KEY = HmacKey(SECRET)
KILLS = int(os.environ.get("BACKSTAY_KILLS", "2"))
STRACE = ("strace", "-f", "-D", "-qq", "-s", "4096", "-e", "trace=fsync,write,writev,sendto,sendmsg")


@pytest.fixture
def traced(folder: Path) -> Path:
    """Return the file that a trace goes to."""
    return folder.parent / "trace"


def places(trace: Path, *patterns: str) -> list[int]:
    """Return which line of the trace each pattern matches first, looked for behind the one before; -1: none."""
    text, at, found_at = trace.read_text(errors="replace").splitlines(), 0, []
    for pattern in patterns:
        at = next((n for n in range(at, len(text)) if re.search(pattern, text[n])), -1)
        found_at.append(at)
        if at < 0:
            break
    return found_at


FSYNC_RETURNED = r"fsync(\(\d+| resumed>)\) += 0"


@needs("strace")
@pytest.mark.parametrize("durability", ["blocking", "strict"])
@pytest.mark.parametrize("target", ["/api/sessions", "/stream"])
async def test_the_fsync_returns_before_the_answers_first_byte(
    folder: Path, traced: Path, backend: Backend, durability: str, target: str
) -> None:
    """The record (or the note that a stream opens) is written, then the fsync returns, then the answer is sent."""
    with running(folder, backend, (*STRACE, "-o", str(traced)), audit__durability=durability) as sidecar:
        client = Client(sidecar.url)
        for number in range(5):
            assert await client.ask("GET", target, f"read-{number}") == 200
        client.close()
        assert sidecar.stop() == 0
    for number in range(5):
        record = rf'write\(\d+, "\{{\\"v\\":1.*\\"correlation_id\\":\\"read-{number}\\"'
        answer = rf"(write|writev|sendto|sendmsg)\(.*HTTP/1\.1 200.*X-Correlation-ID: read-{number}\\r"
        assert -1 not in places(traced, record, FSYNC_RETURNED, answer)
        assert places(traced, answer, record)[-1] == -1 or target == "/stream"


@needs("strace")
async def test_in_strict_the_intent_is_on_disk_before_the_backend_hears_of_it(
    folder: Path, traced: Path, backend: Backend
) -> None:
    """An unsafe request: intent, fsync, upstream, record, fsync, answer; a safe one has no intent."""
    with running(folder, backend, (*STRACE, "-o", str(traced)), audit__durability="strict") as sidecar:
        client = Client(sidecar.url)
        assert await client.ask("POST", "/api/sessions", "write-1") == 200
        assert await client.ask("GET", "/api/sessions", "read-1") == 200
        client.close()
        assert sidecar.stop() == 0
    mine = r'.*\\"correlation_id\\":\\"write-1\\"'
    steps = (
        r"\\\"note\\\":\\\"intent\\\"" + mine, FSYNC_RETURNED, r"POST /api/sessions HTTP/1\.1.*write-1",
        r"\\\"v\\\":1" + mine, FSYNC_RETURNED, r"HTTP/1\.1 200.*X-Correlation-ID: write-1",
    )  # fmt: skip
    assert -1 not in places(traced, *steps)
    assert places(traced, r"\\\"note\\\":\\\"intent\\\".*read-1") == [-1]


@needs("strace")
async def test_in_batch_the_answer_does_not_wait(folder: Path, traced: Path, backend: Backend) -> None:
    """The other way round, which shows that the tests above can fail."""
    with running(folder, backend, (*STRACE, "-o", str(traced)), audit__durability="batch") as sidecar:
        client = Client(sidecar.url)
        assert await client.ask("GET", "/api/sessions", "read-1") == 200
        client.close()
        assert sidecar.stop() == 0
    answer = r"HTTP/1\.1 200.*X-Correlation-ID: read-1"
    assert -1 not in places(traced, answer, r"\\\"correlation_id\\\":\\\"read-1\\\"", FSYNC_RETURNED)


def moments(kills: int) -> Iterator[float]:
    """Yield seconds of load before each kill: each time others, and in every run of the tests the same."""
    random = Random(6)
    for _ in range(kills):
        yield 0.05 + random.uniform(0.0, 0.35)


def by_connection(answered: dict[str, tuple[int, float]]) -> list[list[str]]:
    """Return the ids that each connection was answered, the oldest first: `life0-3-12` is the twelfth of the third."""
    connections: dict[str, list[str]] = {}
    for ident in answered:
        connections.setdefault(ident.rpartition("-")[0], []).append(ident)
    return list(connections.values())


def newest_are_missing(answered: list[str], written: set[str]) -> bool:
    """Tell whether what is missing of one connection is its newest only: there is no hole before a written record."""
    kept = [ident in written for ident in answered]
    return kept == sorted(kept, reverse=True)


@pytest.mark.timeout(300 + 60 * KILLS)
@pytest.mark.parametrize("durability", ["batch", "blocking", "strict"])
async def test_kill_9_under_load_costs_what_the_mode_says(folder: Path, backend: Backend, durability: str) -> None:
    """Whole or torn, never edited; nothing that was answered is missing, in `batch` but for the last moment."""
    answered: dict[str, tuple[int, float]] = {}
    lost: set[str] = set()
    trail = folder / "audit.jsonl"
    for life, seconds in enumerate(moments(KILLS)):
        with running(folder, backend, audit__durability=durability) as sidecar:
            until = asyncio.Event()
            loading = asyncio.ensure_future(load(sidecar.url, 16, until, f"life{life}"))
            await CLOCK.sleep(seconds)
            sidecar.kill()
            this_life = await loading
        assert found(trail).condition in {Condition.WHOLE, Condition.TORN_TAIL}
        written = {str(fields["correlation_id"]) for fields in recorded(trail)}
        missing = this_life.keys() - written
        assert {status for status, _ in this_life.values()} <= {200}  # a busy machine may kill it before its first
        assert all(newest_are_missing(connection, written) for connection in by_connection(this_life))
        lost |= missing
        answered |= this_life
    assert answered
    assert durability == "batch" or not lost
    with running(folder, backend, audit__durability=durability) as sidecar:
        assert sidecar.stop() == 0
    assert found(trail).condition is Condition.WHOLE
    written = {str(fields["correlation_id"]) for fields in recorded(trail)}
    assert len(answered) == len(written & answered.keys()) + len(lost)
    print(f"{durability}: {KILLS} kills, {len(answered)} answered, {len(lost)} lost")


def proven(trail: Path, uncovered: int) -> Finding:
    """Return what the verifier says with the key, which accepts so many records that no checkpoint covers."""
    (whole,) = trails(trail)
    claims = read(trail.with_name(f"{trail.name}.checkpoints"), [KEY])
    return verify(lines(whole.files), proof=Proof(claims, keyed=True, uncovered=uncovered))


async def test_kill_9_leaves_records_that_no_later_checkpoint_covers(folder: Path, backend: Backend) -> None:
    """With the key the trail is whole but for them: the verdict names them, and they are accepted only if asked."""
    (folder.parent / "checkpoint.key").write_bytes(SECRET)
    settings = {"audit__durability": "blocking", "audit__checkpoint_key_file": str(folder.parent / "checkpoint.key")}
    for life in range(3):
        with running(folder, backend, **settings) as sidecar:
            client = Client(sidecar.url)
            assert [await client.ask("POST", "/api/sessions", f"{life}-{n}") for n in range(3)] == [200] * 3
            client.close()
            if life < 2:
                sidecar.kill()  # the checkpoint is due a second after the records, unless the machine is busy
            else:
                assert sidecar.stop() == 0
    trail = folder / "audit.jsonl"
    strict, lenient = proven(trail, 0), proven(trail, 100)
    assert (lenient.condition, len(recorded(trail))) == (Condition.WHOLE, 9)
    assert strict.condition in {Condition.UNCOVERED, Condition.WHOLE}
    assert ("found at a start" in strict.detail) == ("found at a start" in str(lenient))
    assert ("found at a start" in strict.detail) == (strict.condition is Condition.UNCOVERED)
