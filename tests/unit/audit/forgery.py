"""Forged trails and what becomes of their checkpoints: `python -m tests.unit.audit.forgery` prints the verdicts.

The forger writes to every file and lacks the key. The trail has 60 records in two files, and a checkpoint of every
tenth. In one table the sidecar's audit log, which has the key, is started on what the forger left, writes a few records
and stops. `docs/audit-integrity.md` shows the tables.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from typer.testing import CliRunner

from proxy.audit.chain import Chain, ChainLink, parse_link
from proxy.audit.checkpoint import (
    NO_CHECKPOINT,
    CheckpointKey,
    Checkpoints,
    HmacKey,
    NoKey,
    Position,
    checkpoint_line,
)
from proxy.audit.log import AuditLog
from proxy.cli.audit import app
from proxy.clock import SystemClock
from tests.settings import checkpoint_rules, log_rules, retention_rules
from tests.unit.audit.samples import chained, fields

Files = dict[str, list[bytes]]
Verdict = tuple[int, str]
OLD, NEW = "audit.jsonl.20261123T153700.123456Z", "audit.jsonl"
HONEST = chained(60)
COVERED = (10, 20, 30, 40, 50, 60)  # the records that the checkpoints speak of
KEY = b"k" * 32
SECRET, FORGERS, NEIGHBOURS = HmacKey(KEY), HmacKey(b"f" * 32), HmacKey(b"n" * 32)
TS = "2026-11-29T15:37:00.000000Z"
AFTER = 5  # records that a restarted sidecar writes


def links(lines: list[bytes]) -> list[ChainLink]:
    """Return the links of whole lines."""
    return [link for line in lines if (link := parse_link(line))]


def checkpoints(of: list[bytes], key: CheckpointKey, seqs: tuple[int, ...] = COVERED) -> list[bytes]:
    """Return sealed checkpoints of the records with these numbers, as far as the trail has them."""
    position, made = NO_CHECKPOINT, []
    for link in links(of):
        if link.seq in seqs:
            made.append(checkpoint_line(TS, link, key, position))
            position = Position.after(made[-1], position.n + 1)
    return made


def anew(start: int) -> list[bytes]:
    """Return the trail with every record from `start` on forged, and every hash behind it computed again."""
    before = HONEST[: start - 1]
    last = links(before)[-1] if before else ChainLink(0, b"", b"0" * 64)
    chain = Chain(last.hash, last.seq)
    return [*before, *(chain.append(fields(number, status=404)) for number in range(start, 61))]


def retired(through: int, head: bytes) -> list[bytes]:
    """Return a trail that begins late and says that everything before was retired."""
    chain = Chain(head, through)
    note = chain.append({"ts": TS, "note": "retired", "files": 1, "through": through, "head": head.decode()})
    return [note, *chained(20, chain)]


def retired_at_the_end() -> list[bytes]:
    """Return the trail without its first file, and behind its end a note that this file was retired."""
    through, last = links(HONEST)[29], links(HONEST)[-1]
    note = {"ts": TS, "note": "retired", "files": 1, "through": 30, "head": through.hash.decode()}
    return [*HONEST[30:], Chain(last.hash, last.seq).append(note)]


def neighbour() -> list[bytes]:
    """Return the trail of another sidecar."""
    chain = Chain()
    return [chain.append(fields(number, subject="of-a-neighbour")) for number in range(1, 61)]


def in_two(lines: list[bytes]) -> Files:
    """Return the files of a trail that was rotated after 30 records."""
    return {OLD: lines[:30], NEW: lines[30:]}


def added(after: int) -> list[bytes]:
    """Return the trail with one record more, sealed as the next one after a true record."""
    last = links(HONEST)[after - 1]
    return [*HONEST[:after], Chain(last.hash, last.seq).append(fields(after, status=404)), *HONEST[after:]]


FORGED: dict[str, Callable[[], Files]] = {
    "nothing": lambda: in_two(HONEST),
    "files renamed": lambda: {OLD: HONEST[30:], NEW: HONEST[:30]},
    "a line altered": lambda: in_two(
        [*HONEST[:41], HONEST[41].replace(b'"status":201', b'"status":200'), *HONEST[42:]]
    ),
    "a line removed": lambda: in_two([*HONEST[:41], *HONEST[42:]]),
    "a line added": lambda: in_two(added(41)),
    "two lines swapped": lambda: in_two([*HONEST[:41], HONEST[42], HONEST[41], *HONEST[43:]]),
    "the tail cut": lambda: in_two(HONEST[:45]),
    "the tail cut behind a checkpoint": lambda: in_two(HONEST[:50]),
    "cut, and continued as after a restart": lambda: in_two(
        [*HONEST[:45], *chained(15, Chain(links(HONEST)[44].hash, 45))]
    ),
    "records added behind the end": lambda: in_two([*HONEST, *chained(3, Chain(links(HONEST)[-1].hash, 60))]),
    "a new chain behind the end": lambda: in_two([*HONEST, *chained(15)]),
    "written anew from the start": lambda: in_two(anew(1)),
    "written anew from record 51": lambda: in_two(anew(51)),
    "a retirement forged": lambda: {NEW: retired(30, links(HONEST)[29].hash)},
    "a retirement added behind the end": lambda: {NEW: retired_at_the_end()},
    "all retired behind the end": lambda: {NEW: retired(60, b"ab" * 32)},
    "a file taken away": lambda: {NEW: HONEST[30:]},
    "a file of another sidecar": lambda: {OLD: neighbour()[:30], NEW: HONEST[30:]},
    "all files of another sidecar": lambda: in_two(neighbour()),
    "emptied": lambda: {NEW: []},
}
UNHARMED = ("nothing", "files renamed")  # files are read in the order of their records, whatever their names
BESIDE: dict[str, Callable[[list[bytes]], list[bytes] | None]] = {
    "intact": lambda forged: checkpoints(HONEST, SECRET),
    "emptied": lambda forged: [],
    "cut to one": lambda forged: checkpoints(HONEST, SECRET)[:1],
    "one removed": lambda forged: checkpoints(HONEST, SECRET)[:2] + checkpoints(HONEST, SECRET)[3:],
    "the forger's": lambda forged: checkpoints(forged, FORGERS),
    "unsigned": lambda forged: checkpoints(forged, NoKey()),
    "another sidecar's": lambda forged: checkpoints(neighbour(), NEIGHBOURS),
    "taken away": lambda forged: None,
}


def placed(files: Files, beside: list[bytes] | None, folder: Path) -> None:
    """Write a trail, its checkpoints and the key."""
    for name, lines in files.items():
        (folder / name).write_bytes(b"".join(lines))
    if beside is not None:
        (folder / f"{NEW}.checkpoints").write_bytes(b"".join(beside))
    (folder / "key").write_bytes(KEY)


async def restarted(folder: Path, count: int = AFTER) -> None:
    """Start the sidecar's audit log on a trail, append records and stop it."""
    checkpoints = Checkpoints(checkpoint_rules(folder / f"{NEW}.checkpoints", SECRET), SystemClock.wall)
    rules = log_rules(keeping=retention_rules(compress=False))
    log = AuditLog(folder / NEW, clock=SystemClock(), rules=rules, checkpoints=checkpoints)
    await log.start()
    for number in range(count):
        log.append(fields(number, path="/written-after-the-restart"))
    await log.close()


def verdict(folder: Path, *options: str, keyed: bool = True) -> Verdict:
    """Return the exit status of `backstay audit verify` and what it says."""
    key = ("--key", str(folder / "key")) if keyed else ()
    said = CliRunner().invoke(app, ["verify", str(folder / NEW), *key, *options])
    return said.exit_code, said.output


def verdicts(*, keyed: bool, restart: bool = False) -> dict[str, dict[str, Verdict]]:
    """Return the verdict of each forgery beside each kind of checkpoints, `restart`: after the sidecar ran on it."""
    found: dict[str, dict[str, Verdict]] = {}
    for kind, forge in FORGED.items():
        files, found[kind] = forge(), {}
        written = [line for lines in files.values() for line in lines]
        for how, beside in BESIDE.items():
            with tempfile.TemporaryDirectory(prefix="forgery-") as temporary:
                folder = Path(temporary)
                placed(files, beside(written), folder)
                if restart:
                    asyncio.run(restarted(folder))
                found[kind][how] = verdict(folder, keyed=keyed)
    return found


def as_table(found: dict[str, dict[str, Verdict]]) -> str:
    """Return the exit statuses as a table in Markdown."""
    lines = [f"| done to the trail | {' | '.join(BESIDE)} |", f"| --- |{' --- |' * len(BESIDE)}"]
    lines += [f"| {kind} | {' | '.join(str(row[how][0]) for how in BESIDE)} |" for kind, row in found.items()]
    return "\n".join(lines)


def main() -> int:
    """Print the tables."""
    for title, keyed, restart in (
        ("with", True, False),
        ("after a restart, with", True, True),
        ("without", False, False),
    ):
        print(f"Exit status of `backstay audit verify`, {title} the key:\n")
        print(as_table(verdicts(keyed=keyed, restart=restart)), end="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
