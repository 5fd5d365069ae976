"""Is the trail whole? Walk the chain once, line by line, and name the first record that is not as it was written."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from proxy.audit.chain import GENESIS, Link, unseal
from proxy.audit.files import Line


class Condition(IntEnum):
    """What a trail is like; the value is the exit status that says so."""

    WHOLE = 0
    EDITED = 10
    REORDERED = 11
    MISSING = 12
    TORN_TAIL = 13


@dataclass(frozen=True, slots=True)
class Finding:
    """A trail's condition, its last good link, and the place and number of the first bad record, if there is one."""

    condition: Condition
    last: Link
    lines: int
    detail: str
    file: Path | None = None
    line: int = 0
    seq: int = 0

    def __str__(self) -> str:
        name = self.condition.name.lower().replace("_", " ")
        where = f" {self.file} line {self.line} (record {self.seq}):" if self.file else ""
        return f"{name}:{where} {self.detail}"


def verify(lines: Iterable[Line], *, partial: bool = False) -> Finding:
    """Return the first thing wrong with a trail. `partial` accepts that its oldest files were retired.

    A tail cut off at the end of a line leaves a shorter whole chain: only the count outside of the trail can show that.
    """
    walk = iter(lines)
    last, count = GENESIS, 0
    for line in walk:
        link = unseal(line.data)
        if link is None:
            return _damaged(line, last, count, walk)
        if partial and not count:
            last = Link(link.seq - 1, b"", link.prev)
        if link.seq != last.seq + 1:
            return _out_of_step(line, link, last, count, walk)
        if link.prev != last.hash:
            detail = "it or the record before it was written anew: the hashes do not meet"
            return _finding(Condition.EDITED, line, link.seq, last, count, detail)
        last, count = link, count + 1
    detail = f"{count:,} records, up to record {last.seq} with hash {last.hash.decode()}"
    return Finding(Condition.WHOLE, last, count, detail)


def _damaged(line: Line, last: Link, count: int, rest: Iterator[Line]) -> Finding:
    """Tell the unfinished last line of a crash from an edit."""
    if not line.data.endswith(b"\n") and next(rest, None) is None:
        detail = f"the last line is unfinished ({len(line.data)} bytes); all {count:,} before it are whole"
        return _finding(Condition.TORN_TAIL, line, last.seq + 1, last, count, detail)
    return _finding(Condition.EDITED, line, last.seq + 1, last, count, "the bytes do not match their hash")


def _out_of_step(line: Line, link: Link, last: Link, count: int, rest: Iterator[Line]) -> Finding:
    """Tell a removed record from a moved or repeated one: what was only moved still comes."""
    expected = last.seq + 1
    if link.seq < expected:
        detail = f"it has stood before, or belongs before; expected record {expected}"
        return _finding(Condition.REORDERED, line, link.seq, last, count, detail)
    if _comes_later(range(expected, link.seq), rest):
        detail = f"expected record {expected}, which comes later"
        return _finding(Condition.REORDERED, line, link.seq, last, count, detail)
    absent = f"record {expected} is" if link.seq == expected + 1 else f"records {expected} to {link.seq - 1} are"
    return _finding(Condition.MISSING, line, link.seq, last, count, f"{absent} missing before it")


def _comes_later(seqs: range, rest: Iterator[Line]) -> bool:
    links = (unseal(line.data) for line in rest)
    return any(link is not None and link.seq in seqs for link in links)


def _finding(condition: Condition, line: Line, seq: int, last: Link, count: int, detail: str) -> Finding:
    return Finding(condition, last, count, detail, line.file, line.number, seq)
