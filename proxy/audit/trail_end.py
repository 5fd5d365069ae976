"""The end of a trail: its last records, its lock, and the comparison with the last checkpoint."""

import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from proxy.audit.chain import MAX_LINE, ChainLink, parse_link
from proxy.audit.checkpoint import Checkpoint, CheckpointKey, read
from proxy.audit.files import Trail, TrailError, lines, trails
from proxy.audit.verify import Proof
from proxy.regular_file import open_regular, opener

_BLOCK = 2 * MAX_LINE  # bytes; room for one complete line of maximum length
_SEARCHED = 64 * MAX_LINE  # bytes that a start searches for the record of the last checkpoint
_LOOKS = 50  # at most this many checks whether a checkpoint covers a growing trail; a checkpoint is due every second


class Agreement(NamedTuple):
    """The comparison of the trail with its last checkpoint at start; `agrees` None: not comparable.

    `uncovered`: number of records found that no checkpoint covers, including retired records; None: unknown,
    because trail and checkpoint contradict each other or cannot be read.
    """

    agrees: bool | None
    detail: str
    uncovered: int | None = None


def last_link(file: Path) -> ChainLink | None:
    """Return the link of the last complete record among the last 2 MiB of a plain file."""
    return next((link for link in _backwards(file, _BLOCK)), None)


def is_written(path: Path) -> bool:
    """Tell whether a process holds the lock of the trail at this path."""
    try:
        fd = open_regular(path.with_name(f"{path.name}.lock"), os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def live_proof(
    trail: Trail, file: Path, keys: Sequence[CheckpointKey], uncovered: int, wait: Callable[[], None]
) -> Proof:
    """Return the proof for verifying a trail that grows meanwhile.

    Wait for a signed checkpoint that covers every present record, and verify up to it. If there is none in time, the
    proof ends with the last checkpoint.
    """
    last = last_link(trail.path) if trail.path.exists() else None
    wanted = 0 if last is None else last.seq
    claims: list[Checkpoint] = []
    for _ in range(_LOOKS):
        claims = list(read(file, keys))
        covered = max((claim.seq for claim in claims if claim.signed), default=0)
        if covered >= wanted:
            return Proof(claims, keyed=True, uncovered=uncovered, through=covered or None)
        wait()
    return Proof(claims, keyed=True, uncovered=uncovered)


def compare(path: Path, last: ChainLink, claim: Checkpoint | None) -> Agreement:
    """Compare the trail, which continues after `last`, with its last checkpoint. Blocks. Raise TrailError."""
    if claim is None:
        return _without_checkpoint(last.seq)
    if not claim.signed:
        return Agreement(False, "the last checkpoint is not signed with audit.checkpoint_key_file")
    if claim.seq > last.seq:
        return Agreement(False, f"the last checkpoint reaches to record {claim.seq}, the trail ends with {last.seq}")
    found = last if last.seq == claim.seq else _record(path, claim.seq)
    behind = last.seq - claim.seq
    if found is None:
        return Agreement(None, f"record {claim.seq} of the last checkpoint is not near the end of the trail", behind)
    if found.hash != claim.head:
        return Agreement(False, f"record {claim.seq} is not the one of the last checkpoint: the trail was written anew")
    detail = f"the trail agrees with the last checkpoint, up to record {claim.seq}"
    return Agreement(True, f"{detail}{_behind(claim.seq, last.seq)}" if behind else detail, behind)


def _without_checkpoint(found: int) -> Agreement:
    if not found:
        return Agreement(None, "the trail begins", 0)
    return Agreement(None, f"there is no checkpoint{_behind(0, found)}", found)


def _behind(covered: int, found: int) -> str:
    which = f"record {found}" if found == covered + 1 else f"records {covered + 1} to {found}"
    return (
        f"; no checkpoint covers {which}, and no checkpoint of this process will: a crash leaves such records, and a"
        " forger can add them"
    )


def _record(path: Path, seq: int) -> ChainLink | None:
    """Return the link of a record near the end of the trail."""
    (trail,) = trails(path)
    left = _SEARCHED
    for file in reversed(trail.files):
        for link in _backwards(file, left):
            if link.seq <= seq:
                return link if link.seq == seq else None
        left -= file.stat().st_size
        if left <= 0:
            return None
    return None


def _backwards(file: Path, limit: int) -> Iterator[ChainLink]:
    """Yield the links of complete records within the last `limit` bytes, the last one first."""
    if file.suffix == ".gz":
        links = [link for line in lines([file]) if (link := parse_link(line.data)) is not None]
        yield from reversed(links)
        return
    try:
        with open(file, "rb", opener=opener) as stream:
            end = stream.seek(0, os.SEEK_END)
            first, rest = max(0, end - limit), b""
            while end > first and len(rest) <= _BLOCK:
                start = max(first, end - _BLOCK)
                stream.seek(start)
                begun, *whole = (stream.read(end - start) + rest).split(b"\n")
                if start == 0:
                    begun, whole = b"", [begun, *whole]
                found = (parse_link(line + b"\n") for line in reversed(whole[:-1]))
                yield from (link for link in found if link is not None)
                end, rest = start, begun + b"\n"
    except OSError as error:
        raise TrailError(f"{file}: {error.strerror}") from error
