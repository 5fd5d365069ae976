"""What a restart found is not signed: checkpoints say from which record on their process wrote the trail itself."""

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from proxy.audit.chain import Chain, ChainLink, parse_link
from proxy.audit.checkpoint import (
    NO_CHECKPOINT,
    CheckpointKey,
    Checkpoints,
    HmacKey,
    Position,
    checkpoint_line,
    read,
)
from proxy.audit.files import lines, trails
from proxy.audit.log import AuditLog
from proxy.audit.log_rules import LogRules
from proxy.audit.verify import Condition, Finding, Proof, verify
from proxy.clock import SystemClock
from tests.settings import checkpoint_rules, log_rules, retention_rules, rotation
from tests.unit.audit.forgery import NEW, SECRET, links, placed, restarted, verdict
from tests.unit.audit.samples import as_lines, chained, fields

TRAIL = chained(12)
LINKS = links(TRAIL)
TS = "2026-11-30T11:37:00.000000Z"


def marks(*claims: tuple[int, int], of: list[ChainLink] = LINKS) -> list[bytes]:
    """Return a file of checkpoints; each claim is the process's first record and the last one that it covers."""
    position, made = NO_CHECKPOINT, list[bytes]()
    for own_from, seq in claims:
        link = next(link for link in of if link.seq == seq)
        made.append(checkpoint_line(TS, link, SECRET, position, own_from))
        position = Position.after(made[-1], position.n + 1)
    return made


def judge(lines: list[bytes], beside: list[bytes], folder: Path, uncovered: int = 0, *, keyed: bool = True) -> Finding:
    """Return the finding for these lines beside these checkpoints."""
    file = folder / "checkpoints"
    file.write_bytes(b"".join(beside))
    proof = Proof(read(file, [SECRET] if keyed else []), keyed=keyed, uncovered=uncovered)
    return verify(as_lines(b"".join(lines)), proof=proof)


@pytest.mark.parametrize(
    ("claims", "count", "said"),
    [
        (((1, 4), (5, 12)), 0, ""),
        (((1, 4), (1, 12)), 0, ""),
        (((5, 12),), 4, "records 1 to 4,"),
        (((2, 12),), 1, "record 1,"),
        (((1, 4), (7, 12)), 2, "records 5 to 6,"),
        (((1, 4), (7, 9), (7, 10), (12, 12)), 3, "records 5 to 6, record 11,"),
        (((1, 4), (13, 12)), 8, "records 5 to 12,"),
        (((1, 4), (1 << 62, 12)), 8, "records 5 to 12,"),
    ],
)
def test_records_between_two_checkpoints_count_only_if_their_process_wrote_them(
    tmp_path: Path, claims: tuple[tuple[int, int], ...], count: int, said: str
) -> None:
    """So many uncovered records are named, and accepted only if all of them are allowed."""
    finding = judge(TRAIL, marks(*claims), tmp_path)
    assert finding.condition is (Condition.UNCOVERED if count else Condition.WHOLE)
    assert f"no signed checkpoint covers {said} found at a start" in finding.detail or not count
    assert f"--allow-uncovered {count} accepts them" in finding.detail or not count
    accepted = judge(TRAIL, marks(*claims), tmp_path, uncovered=count)
    assert accepted.condition is Condition.WHOLE
    assert (f"{said} found at a start, which no checkpoint covers" in str(accepted)) == bool(count)
    if count:
        assert judge(TRAIL, marks(*claims), tmp_path, uncovered=count - 1).condition is Condition.UNCOVERED


def test_found_records_and_those_behind_the_end_are_allowed_together(tmp_path: Path) -> None:
    """Two were found at a start, and two stand behind the last checkpoint."""
    claims = marks((1, 4), (7, 10))
    assert "record" in judge(TRAIL, claims, tmp_path, uncovered=3).detail
    assert judge(TRAIL, claims, tmp_path, uncovered=3).condition is Condition.UNCOVERED
    assert judge(TRAIL, claims, tmp_path, uncovered=4).condition is Condition.WHOLE


def test_the_checkpoint_before_the_first_line_of_a_file_is_not_known(tmp_path: Path) -> None:
    """Of a moved file the rest is there; a forger may have removed the line that shows what was found."""
    claims = marks((1, 4), (7, 9), (7, 12))
    assert judge(TRAIL, claims[1:], tmp_path).condition is Condition.UNCOVERED
    assert "covers records 1 to 6," in judge(TRAIL, claims[2:], tmp_path).detail
    assert judge(TRAIL[6:], claims[1:], tmp_path).condition is Condition.MISSING


def test_without_a_key_the_finding_names_what_was_found(tmp_path: Path) -> None:
    """It is no other verdict: without the key nothing is proven."""
    finding = judge(TRAIL, marks((1, 4), (7, 12)), tmp_path, keyed=False)
    assert finding.condition is Condition.WHOLE
    assert "records 5 to 6, found at a start, which no checkpoint covers" in str(finding)


def test_only_a_few_ranges_are_named(tmp_path: Path) -> None:
    """A trail of many crashes gets one line."""
    long = chained(60)
    claims = [(seq, seq) for seq in range(2, 61, 2)]
    detail = judge(long, marks(*claims, of=links(long)), tmp_path).detail
    assert "record 15 and 22 more ranges, found at a start" in detail
    assert "--allow-uncovered 30 accepts them" in detail


def second_version(link: ChainLink, key: CheckpointKey, after: Position) -> bytes:
    """Return the line of a sidecar that did not say from where on it wrote."""
    body = orjson.dumps({
        "v": 2, "n": after.n + 1, "ts": TS, "seq": link.seq, "head": link.hash.decode(), "key": key.name,
        "prev": after.hash.decode(),
    })  # fmt: skip
    return b"".join((body[:-1], b',"mac":"', key.sign(body).hex().encode(), b'"}\n'))


def test_checkpoints_of_the_second_version_are_checked_and_do_not_call_it_whole(tmp_path: Path) -> None:
    """They cover what is before them, as they did; the message says what they cannot prove."""
    old = second_version(LINKS[7], SECRET, NO_CHECKPOINT)
    finding = judge(TRAIL[:8], [old], tmp_path)
    assert finding.condition is Condition.WHOLE
    assert str(finding).startswith("unbroken, not proven: 8 records")
    assert "who wrote the records up to 8, because checkpoints of version 2 and before" in str(finding)
    new = checkpoint_line(TS, LINKS[11], SECRET, Position.after(old, 1), 11)
    assert "covers records 9 to 10, found at a start" in judge(TRAIL, [old, new], tmp_path).detail


@pytest.mark.parametrize(("own_from", "condition"), [(7, Condition.WHOLE), (8, Condition.MISSING)])
def test_a_retirement_counts_only_if_its_process_wrote_it(tmp_path: Path, own_from: int, condition: Condition) -> None:
    """Found at a start it may be anybody's, whatever the checkpoints behind it cover, and however many are allowed."""
    chain = Chain(LINKS[3].hash, 4)
    rest = chained(2, chain)
    rest.append(chain.append({"ts": TS, "note": "retired", "files": 1, "through": 4, "head": LINKS[3].hash.decode()}))
    rest += chained(3, chain)
    claims = marks((1, 4), (5, 6), (own_from, 8), (own_from, 10), of=[*LINKS[:4], *links(rest)])
    for beside in (claims, claims[1:], claims[2:]):
        assert judge(rest, beside, tmp_path, uncovered=99).condition is condition


def test_a_covered_retirement_still_counts_where_another_was_found(tmp_path: Path) -> None:
    """A note that a killed process left behind does not spoil the one before."""
    chain = Chain(LINKS[3].hash, 4)
    note = {"ts": TS, "note": "retired", "files": 1, "through": 4, "head": LINKS[3].hash.decode()}
    rest = [chain.append(note), chain.append({**note, "through": 6}), chain.append(fields())]
    claims = marks((1, 5), (7, 7), of=links(rest))
    assert judge(rest, claims, tmp_path).condition is Condition.UNCOVERED
    assert judge(rest, claims, tmp_path, uncovered=1).condition is Condition.WHOLE


KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from proxy.audit.checkpoint import CheckpointRules, Checkpoints
from proxy.audit.log import AuditLog
from proxy.clock import SystemClock
from tests.settings import log_rules
from tests.unit.audit.forgery import SECRET
from tests.unit.audit.samples import fields

async def main():
    path = Path(sys.argv[1])
    checkpoints = Checkpoints(CheckpointRules(Path(f"{path}.checkpoints"), SECRET, every=10), SystemClock.wall)
    log = AuditLog(path, clock=SystemClock(), rules=log_rules(fsync_s=600.0), checkpoints=checkpoints)
    await log.start()
    for count in (10, 3):
        for number in range(count):
            log.append(fields(number))
        await log.flush()
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


def killed_behind_a_checkpoint(path: Path) -> None:
    """Write ten records with a checkpoint and three without, and kill the process."""
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -signal.SIGKILL


async def test_what_a_killed_sidecar_left_behind_its_last_checkpoint_stays_uncovered(tmp_path: Path) -> None:
    """No later process can tell its records from forged ones. The log and the verdict say so; the auditor decides."""
    placed({}, None, tmp_path)
    killed_behind_a_checkpoint(tmp_path / NEW)
    assert verdict(tmp_path)[0] == Condition.UNCOVERED
    for _ in range(2):
        await restarted(tmp_path)
    status, said = verdict(tmp_path)
    assert status == Condition.UNCOVERED
    assert said == (
        "uncovered: no signed checkpoint covers records 11 to 13, found at a start: a sidecar that was killed leaves"
        " such records, a forger can add them, or checkpoints were removed; --allow-uncovered 3 accepts them\n"
    )
    assert verdict(tmp_path, "--allow-uncovered", "3")[0] == 0


def log_on(path: Path, rules: LogRules | None = None, key: CheckpointKey = SECRET) -> AuditLog:
    """Return a log with checkpoints beside the trail, not started yet."""
    checkpoints = Checkpoints(checkpoint_rules(Path(f"{path}.checkpoints"), key), SystemClock.wall)
    return AuditLog(path, clock=SystemClock(), rules=rules or log_rules(), checkpoints=checkpoints)


async def told_at_start(path: Path, key: CheckpointKey = SECRET) -> dict[str, object]:
    """Start a log on a trail and return the line that says what was found."""
    log = log_on(path, key=key)
    await log.start()
    with capture_logs() as logs:
        log.log_agreement()
    await log.close()
    return {name: logs[0][name] for name in ("event", "log_level", "agrees", "uncovered", "detail")}


@pytest.mark.parametrize(
    ("records", "claims", "level", "uncovered", "said"),
    [
        (0, (), "info", 0, "the trail begins"),
        (12, ((1, 12),), "info", 0, "the trail agrees with the last checkpoint, up to record 12"),
        (12, ((1, 11),), "warning", 1, "no checkpoint covers record 12, and no checkpoint of this process will"),
        (12, ((1, 4),), "warning", 8, "no checkpoint covers records 5 to 12, and no checkpoint of this process will"),
        (12, (), "warning", 12, "there is no checkpoint; no checkpoint covers records 1 to 12"),
        (4, ((1, 8),), "error", None, "the last checkpoint reaches to record 8"),
    ],
)
async def test_a_start_says_how_many_records_no_checkpoint_covers(
    tmp_path: Path, records: int, claims: tuple[tuple[int, int], ...], level: str, uncovered: int | None, said: str
) -> None:
    """At warning level, because only the operator knows whether it was a crash."""
    placed({NEW: TRAIL[:records]}, marks(*claims), tmp_path)
    told = await told_at_start(tmp_path / NEW)
    assert told["event"] == "audit_trail_against_checkpoint"
    assert (told["log_level"], told["uncovered"]) == (level, uncovered)
    assert said in str(told["detail"])


async def test_checkpoints_of_another_key_are_an_error_at_a_start(tmp_path: Path) -> None:
    """What they cover is not known."""
    placed({NEW: TRAIL}, marks((1, 12)), tmp_path)
    told = await told_at_start(tmp_path / NEW, HmacKey(b"o" * 32))
    assert (told["log_level"], told["agrees"], told["uncovered"]) == ("error", False, None)


RETIRING = log_rules(fsync_s=600.0, rotation=rotation(size=1_000), keeping=retention_rules(compress=False, max_files=1))


def retirements(path: Path) -> list[int]:
    """Return the numbers of the records that call files of this trail retired."""
    (trail,) = trails(path)
    found = (line.data for line in lines(trail.files) if b'"note":"retired"' in line.data)
    return [link.seq for data in found if (link := parse_link(data))]


def covered(path: Path) -> int:
    """Return the last record that a signed checkpoint covers."""
    marks = Path(f"{path}.checkpoints")
    return max((claim.seq for claim in read(marks, [SECRET])), default=0) if marks.exists() else 0


async def rotate_until(log: AuditLog, seen: list[int]) -> None:
    """Write records until the retention did what the test waits for, then stop, and wait until its thread has ended."""
    before = set(threading.enumerate())
    await log.start()
    while not seen:
        log.append(fields(1))
        await log.flush()
    (retention,) = [thread for thread in set(threading.enumerate()) - before if thread.name == "audit-retention"]
    await log.close()
    await asyncio.to_thread(retention.join)


async def test_a_checkpoint_covers_a_retirement_before_its_files_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a crash at any moment leaves a trail whose retirement counts."""
    path, reached, remove = tmp_path / NEW, list[int](), Path.unlink

    def watched(file: Path, missing_ok: bool = False) -> None:
        reached.append(covered(path) - max(retirements(path), default=1 << 60))
        remove(file, missing_ok)

    placed({}, None, tmp_path)
    monkeypatch.setattr(Path, "unlink", watched)
    await rotate_until(log_on(path, RETIRING), reached)
    assert min(reached) >= 0
    status, said = verdict(tmp_path)
    assert (status, said[:5]) == (0, "whole")


async def test_files_stay_while_no_checkpoint_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The note is in the trail; the files go with the next one that a checkpoint covers."""
    path, asked = tmp_path / NEW, list[int]()

    def refused(checkpoints: Checkpoints, last: ChainLink) -> bool:
        asked.append(last.seq)
        return False

    monkeypatch.setattr(Checkpoints, "durable", refused)
    await rotate_until(log_on(path, RETIRING), asked)
    assert retirements(path)
    finding = verify(lines(trails(path)[0].files))
    assert (finding.condition, finding.lines) == (Condition.WHOLE, finding.last.seq)
