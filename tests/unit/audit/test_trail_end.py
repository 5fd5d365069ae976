"""The end of a trail and its last checkpoint: at a start, and for a verifier while the trail grows."""

import fcntl
from pathlib import Path

import pytest

from proxy.audit.chain import (
    GENESIS,
    Chain,
    ChainLink,
    parse_link,
)
from proxy.audit.checkpoint import (
    NO_CHECKPOINT,
    Checkpoint,
    Checkpoints,
    HmacKey,
    checkpoint_line,
    read,
)
from proxy.audit.files import lines, trails
from proxy.audit.log import AuditLog
from proxy.audit.trail_end import compare, is_written, last_link, live_proof
from proxy.audit.verify import Condition, verify
from proxy.clock import SystemClock
from tests.settings import checkpoint_rules, log_rules
from tests.unit.audit.samples import chained, fields

KEY = HmacKey(b"k" * 32)
TRAIL = chained(60)
LINKS = [link for line in TRAIL if (link := parse_link(line))]
TS = "2026-11-29T15:37:00.000000Z"


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    """Return a trail of 60 records in two files."""
    (tmp_path / "audit.jsonl.20261123T153700.123456Z").write_bytes(b"".join(TRAIL[:40]))
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(TRAIL[40:]))
    return path


def claim(link: ChainLink, *, signed: bool = True) -> Checkpoint:
    """Return a checkpoint of this record."""
    return Checkpoint(link.seq, link.hash, KEY.name, signed=signed, foreign=False, line=1)


@pytest.mark.parametrize("seq", [60, 59, 41, 40, 1])
def test_a_trail_that_is_as_the_last_checkpoint_says(trail: Path, seq: int) -> None:
    """Also where the record stands in a file that was put aside."""
    agreement = compare(trail, LINKS[-1], claim(LINKS[seq - 1]))
    assert (agreement.agrees, f"up to record {seq}" in agreement.detail) == (True, True)


@pytest.mark.parametrize(
    ("last", "made", "said"),
    [
        (LINKS[49], claim(LINKS[59]), "the last checkpoint reaches to record 60, the trail ends with 50"),
        (LINKS[59], claim(LINKS[54]._replace(hash=b"0" * 64)), "record 55 is not the one of the last checkpoint"),
        (LINKS[59], claim(LINKS[59]._replace(hash=b"0" * 64)), "record 60 is not the one of the last checkpoint"),
        (LINKS[59], claim(LINKS[59], signed=False), "not signed with audit.checkpoint_key_file"),
    ],
)
def test_a_trail_that_is_not(trail: Path, last: ChainLink, made: Checkpoint, said: str) -> None:
    """Cut, written anew, or checkpoints of somebody else."""
    agreement = compare(trail, last, made)
    assert agreement.agrees is False
    assert said in agreement.detail


def test_without_a_checkpoint_there_is_nothing_to_compare(trail: Path) -> None:
    """A first start, or a checkpoint file that was moved away."""
    assert compare(trail, LINKS[-1], None).agrees is None
    assert compare(trail, GENESIS, None).agrees is None


async def test_a_start_says_what_the_last_checkpoint_says(tmp_path: Path) -> None:
    """It agrees after a clean stop; after somebody cut the trail the new trail says so itself."""
    path, rules = tmp_path / "audit.jsonl", checkpoint_rules(tmp_path / "checkpoints", KEY)

    async def live_once(number: int) -> None:
        log = AuditLog(path, clock=SystemClock(), rules=log_rules(), checkpoints=Checkpoints(rules, SystemClock.wall))
        await log.start()
        log.append(fields(number))
        await log.close()

    for number in (1, 2):
        await live_once(number)
    found = verify(lines([path]))
    assert (found.condition, found.lines) == (Condition.WHOLE, 2)
    assert [made.seq for made in read(rules.path, [KEY])] == [1, 2]

    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    await live_once(3)
    assert b'"note":"checkpoint","agrees":false,"detail":"the last checkpoint reaches to record 2' in path.read_bytes()


def test_a_living_trail_is_checked_up_to_a_checkpoint_that_covers_what_is_there(trail: Path) -> None:
    """The verifier waits for it; records that come meanwhile are not looked at."""
    marks = trail.with_name("audit.jsonl.checkpoints")
    first = checkpoint_line(TS, LINKS[49], KEY)
    marks.write_bytes(first)
    looks = 0

    def wait() -> None:
        """Be the sidecar: write a checkpoint, and then more records."""
        nonlocal looks
        looks += 1
        if looks == 3:
            Checkpoints(checkpoint_rules(marks, KEY), SystemClock.wall)  # opened anew each time
            writer = Checkpoints(checkpoint_rules(marks, KEY), SystemClock.wall)
            writer.resume(50)
            writer.durable(LINKS[59])
            with trail.open("ab") as stream:
                stream.write(Chain(LINKS[59].hash, 60).append(fields(61)))

    (whole,) = trails(trail)
    proof = live_proof(whole, marks, [KEY], 0, wait)
    finding = verify(lines(whole.files), proof=proof)
    assert (finding.condition, finding.last.seq, looks) == (Condition.WHOLE, 60, 3)


def test_a_living_trail_whose_checkpoints_stay_away_is_not_whole(trail: Path) -> None:
    """Waiting ends."""
    marks = trail.with_name("audit.jsonl.checkpoints")
    marks.write_bytes(checkpoint_line(TS, LINKS[49], KEY, NO_CHECKPOINT))
    (whole,) = trails(trail)
    proof = live_proof(whole, marks, [KEY], 0, lambda: None)
    assert verify(lines(whole.files), proof=proof).condition is Condition.UNCOVERED


def test_a_trail_is_written_while_its_lock_is_held(trail: Path) -> None:
    """Without a lock file nobody does."""
    assert not is_written(trail)
    lock = trail.with_name("audit.jsonl.lock")
    with lock.open("w") as held:
        assert not is_written(trail)
        fcntl.flock(held, fcntl.LOCK_EX)
        assert is_written(trail)


@pytest.mark.parametrize("torn", [b"", b'{"v":1,"seq":61'])
def test_the_last_whole_record_of_a_file(trail: Path, torn: bytes) -> None:
    """A torn line behind it is passed."""
    trail.write_bytes(trail.read_bytes() + torn)
    assert last_link(trail) == LINKS[-1]
