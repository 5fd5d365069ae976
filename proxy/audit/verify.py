"""Verify a trail: walk the chain once and name the first record that was altered."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import orjson

from proxy.audit.chain import GENESIS, ChainLink, parse_link
from proxy.audit.checkpoint import Checkpoint
from proxy.audit.files import TrailLine

_RETIRED = b'"note":"retired"'
_NAMED_RANGES = 8  # ranges of records found at starts that a finding names


class Condition(IntEnum):
    """The condition of a trail; the value is the exit status."""

    WHOLE = 0
    EDITED = 10
    REORDERED = 11
    MISSING = 12
    TORN_TAIL = 13
    CUT_TAIL = 14
    WRONG_KEY = 15
    UNCOVERED = 16

    @property
    def about(self) -> str:
        """Return the condition in one sentence."""
        return _ABOUT[self]


_ABOUT = {
    Condition.WHOLE: "Every record is as it was written.",
    Condition.EDITED: "A record was edited.",
    Condition.REORDERED: "Records were reordered or repeated.",
    Condition.MISSING: "Records are missing.",
    Condition.TORN_TAIL: "The last line is unfinished, which is what a crash leaves.",
    Condition.CUT_TAIL: "The end of the trail was cut off.",
    Condition.WRONG_KEY: "A checkpoint was signed with another key, or not signed.",
    Condition.UNCOVERED: "No signed checkpoint covers some of the records.",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """A trail's condition, its last good link, and the place and number of the first bad record, if any."""

    condition: Condition
    last: ChainLink
    lines: int
    detail: str
    file: Path | None = None
    line: int = 0
    seq: int = 0

    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        name = self.condition.name.lower().replace("_", " ")
        if self.unchecked and not self.condition:
            return f"unbroken, not proven: {self.detail}; not checked: {'; '.join(self.unchecked)}"
        where = f" {self.file} line {self.line} (record {self.seq}):" if self.file else ""
        return f"{name}:{where} {self.detail}"


@dataclass(frozen=True, slots=True)
class Proof:
    """The evidence that a trail is compared with.

    `keyed`: signatures were verified with keys, so only records that a signed checkpoint covers count as proven; at
    most `uncovered` records in total may have none. `through`: the walk ends after this record, if the
    trail grows meanwhile.
    """

    checkpoints: Iterable[Checkpoint] = ()
    keyed: bool = False
    uncovered: int = 0
    through: int | None = None


def verify(lines: Iterable[TrailLine], *, partial: bool = False, proof: Proof | None = None) -> Finding:
    """Return the first fault of a trail.

    Its oldest files may be missing if a record states that they were retired, or with `partial`. Truncation at the
    end of a line and a completely rewritten trail are detected only with checkpoints, and proven only with their
    key.
    """
    return _Walk(lines, partial, proof or Proof()).finding()


class _Walk:
    """One pass over the lines; `last` and `count` show how far the trail is valid."""

    def __init__(self, lines: Iterable[TrailLine], partial: bool, proof: Proof) -> None:
        self._rest = iter(lines)
        self._partial = partial
        self._proof = proof
        self._against = _Against(proof.checkpoints)
        self._last = GENESIS
        self._count = 0
        self._beginning: tuple[TrailLine, ChainLink] | None = None  # set if the oldest records are missing
        self._retired_by = 0  # the number of the last record that states their retirement; 0: none
        self._excused = False  # such a record is proven: with keys, a signed checkpoint covers it

    def finding(self) -> Finding:
        for line in self._rest:
            link = parse_link(line.data)
            finding = self._damaged(line) if link is None else self._next(line, link)
            if finding is not None:
                return finding
            if self._last.seq == self._proof.through:
                break
        return self._at_the_end()

    def _next(self, line: TrailLine, link: ChainLink) -> Finding | None:
        if not self._count and link.seq > 1:
            self._last = ChainLink(link.seq - 1, b"", link.prev)
            self._beginning = (line, self._last)
        if link.seq != self._last.seq + 1:
            return self._out_of_step(line, link)
        if link.prev != self._last.hash:
            detail = "it or the record before it was written anew: the hashes do not meet"
            return self._finding(Condition.EDITED, line, link.seq, detail)
        if self._beginning is not None and _RETIRED in line.data and _excuses(line, self._beginning[1]):
            self._retired_by = link.seq
        self._last, self._count = link, self._count + 1
        finding = self._against.judge(line, link, self._count)
        self._excused = self._excused or (self._retired_by > 0 and self._counts(self._retired_by))
        return finding

    def _counts(self, seq: int) -> bool:
        """Tell whether this record counts as proven."""
        return not self._proof.keyed or self._against.covers(seq)

    def _damaged(self, line: TrailLine) -> Finding:
        """Distinguish an unfinished last line, after a crash, from an edit."""
        seq = self._last.seq + 1
        if not line.data.endswith(b"\n") and next(self._rest, None) is None:
            cut = self._against.cut(self._last, self._count)
            detail = f"the last line is unfinished ({len(line.data)} bytes); all {self._count:,} before it are whole"
            return cut or self._finding(Condition.TORN_TAIL, line, seq, detail)
        return self._finding(Condition.EDITED, line, seq, "the bytes do not match their hash")

    def _out_of_step(self, line: TrailLine, link: ChainLink) -> Finding:
        """Distinguish a removed record from a moved or repeated one, which appears elsewhere."""
        expected = self._last.seq + 1
        if self._unexcused and self._beginning is not None and link.seq <= self._beginning[1].seq:
            first, before = self._beginning
            detail = f"record {link.seq} comes later: {line.file} line {line.number}"
            return self._finding(Condition.REORDERED, first, before.seq + 1, detail)
        if link.seq < expected:
            detail = f"it occurred before, or belongs before; expected record {expected}"
            return self._finding(Condition.REORDERED, line, link.seq, detail)
        if _comes_later(range(expected, link.seq), self._rest):
            detail = f"expected record {expected}, which comes later"
            return self._finding(Condition.REORDERED, line, link.seq, detail)
        return self._finding(Condition.MISSING, line, link.seq, _absent(expected, link.seq - 1))

    @property
    def _unexcused(self) -> bool:
        """Tell whether the oldest records are missing without a valid record of their retirement."""
        return self._beginning is not None and not self._partial and not self._excused

    def _at_the_end(self) -> Finding:
        against, proof = self._against, self._proof
        if self._unexcused and self._beginning is not None:
            line, before = self._beginning
            excuse = f"; record {self._retired_by} calls them retired, and no signed checkpoint covers it"
            detail = _absent(1, before.seq) + (excuse if self._retired_by else "")
            return self._finding(Condition.MISSING, line, before.seq + 1, detail)
        cut = against.cut(self._last, self._count)
        if cut is not None:
            return cut
        uncovered = against.found.count + self._last.seq - against.met
        if proof.keyed and (not against.met or uncovered > proof.uncovered):
            return Finding(Condition.UNCOVERED, self._last, self._count, self._uncovered(uncovered))
        detail = f"{self._count:,} records, up to record {self._last.seq} with hash {self._last.hash.decode()}"
        return Finding(
            Condition.WHOLE, self._last, self._count, f"{detail}; {against}", unchecked=tuple(self._unchecked())
        )

    def _uncovered(self, count: int) -> str:
        against, first, last = self._against, self._against.met + 1, self._last.seq
        if not against.met:
            return "no signed checkpoint covers this trail: nothing in it is proven"
        reasons = []
        if against.found.count:
            reasons.append(
                f"no signed checkpoint covers {against.found}, found at a start: a sidecar that was killed leaves such"
                " records, a forger can add them, or checkpoints were removed"
            )
        if first <= last:
            which = f"record {first} is" if first == last else f"records {first} to {last} are"
            reasons.append(
                f"{which} behind the last signed checkpoint: they may be forged, or checkpoints may have been removed"
            )
        return f"{'; '.join(reasons)}; --allow-uncovered {count} accepts them"

    def _unchecked(self) -> Iterator[str]:
        """Yield each property of the trail that this walk could not prove."""
        met, last, found = self._against.met, self._last.seq, self._against.found
        if not self._proof.keyed:
            yield "signatures, because no key was given (a trail written anew does not show)"
        if not met:
            yield "the end, because no checkpoint covers it (a cut tail cannot be detected)"
        elif met < last:
            yield f"records {met + 1} to {last}, which no checkpoint covers"
        if found.count:
            yield f"{found}, found at a start, which no checkpoint covers"
        if self._against.silent:
            yield (
                f"who wrote the records up to {self._against.silent}, because checkpoints of version 2 and before do"
                " not say which records were found at a start"
            )
        if self._beginning is not None and self._partial:
            yield f"records 1 to {self._beginning[1].seq}, which are not here"

    def _finding(self, condition: Condition, line: TrailLine, seq: int, detail: str) -> Finding:
        return Finding(condition, self._last, self._count, detail, line.file, line.number, seq)


class _Found:
    """Records found at a start that no checkpoint covers: their number, and their first ranges."""

    def __init__(self) -> None:
        self.count = 0
        self._ranges = 0
        self._named = ""

    def __str__(self) -> str:
        more = self._ranges - _NAMED_RANGES
        return f"{self._named} and {more} more ranges" if more > 0 else self._named

    def add(self, seqs: range) -> None:
        if not seqs:
            return
        self.count += len(seqs)
        self._ranges += 1
        if self._ranges <= _NAMED_RANGES:
            which = f"record {seqs.start}" if len(seqs) == 1 else f"records {seqs.start} to {seqs[-1]}"
            self._named += f", {which}" if self._named else which


class _Against:
    """Compare the checkpoints with the records during the walk.

    Their record numbers increase: a smaller number was written after a truncation. A checkpoint covers the records that
    its process wrote, and those that the previous checkpoint covers. The records between these were found at a start.
    The checkpoint before the first line of the file is not known.
    """

    def __init__(self, checkpoints: Iterable[Checkpoint]) -> None:
        self._rest = iter(checkpoints)
        self._next = next(self._rest, None)
        self._begins = 1  # the first present record
        self._through = 0  # the last record of the previous checkpoint
        self._own = range(0)  # the records that the last compared checkpoint covers without earlier ones
        self.met = 0  # the last record with a checkpoint
        self.silent = 0  # the last record whose checkpoint has no `from`
        self.found = _Found()

    def __str__(self) -> str:
        return f"checkpoints agree up to record {self.met}" if self.met else "no checkpoint states where it should end"

    def judge(self, line: TrailLine, link: ChainLink, count: int) -> Finding | None:
        """Return the contradiction between this record and its checkpoint, if any."""
        if count == 1:
            self._begins = link.seq
        while (claim := self._next) is not None and claim.seq <= link.seq:
            self._next = next(self._rest, None)
            if not (claim.signed and claim.follows):
                return _bad_claim(claim, link, count)
            if claim.seq == link.seq - 1 and count == 1 and claim.head != link.prev:
                detail = f"it does not follow record {claim.seq} of the checkpoint in line {claim.line}"
                return Finding(Condition.EDITED, link, count, detail, line.file, line.number, link.seq)
            if claim.seq < link.seq and not self.met and count == 1:
                self._through = claim.seq
                continue  # the checkpoint is about a retired file
            if claim.seq < link.seq or claim.head != link.hash:
                detail = f"not what the checkpoint in line {claim.line} states for record {claim.seq}: written anew"
                return Finding(Condition.EDITED, link, count, detail, line.file, line.number, link.seq)
            self._meet(claim)
        return None

    def covers(self, seq: int) -> bool:
        """Tell whether the last compared checkpoint covers this record without earlier checkpoints."""
        return seq in self._own

    def _meet(self, claim: Checkpoint) -> None:
        if not claim.own_from:
            self.silent = claim.seq
        own_from = min(claim.own_from or self._through + 1, claim.seq + 1)
        self.found.add(range(max(self._through + 1, self._begins), own_from))
        self._own = range(own_from, claim.seq + 1)
        self.met = self._through = claim.seq

    def cut(self, last: ChainLink, count: int) -> Finding | None:
        """Return the finding that the end of the trail was cut, or None."""
        claims = [claim for claim in (self._next, *self._rest) if claim is not None]
        unsigned = next((claim for claim in claims if not (claim.signed and claim.follows)), None)
        if unsigned is not None:
            return _bad_claim(unsigned, last, count)
        end = max((claim.seq for claim in claims), default=0)
        if end <= last.seq:
            return None
        absent = _absent(last.seq + 1, end).removesuffix(" before it")
        return Finding(Condition.CUT_TAIL, last, count, f"a checkpoint reaches to record {end}: {absent} from the end")


def _bad_claim(claim: Checkpoint, last: ChainLink, count: int) -> Finding:
    if claim.foreign:
        detail = f"the checkpoint in line {claim.line} is signed with another key ({claim.key})"
        return Finding(Condition.WRONG_KEY, last, count, detail)
    if claim.signed:
        detail = f"the checkpoint in line {claim.line} does not continue the one before it: checkpoints were removed"
        return Finding(Condition.EDITED, last, count, detail)
    return Finding(Condition.EDITED, last, count, f"the checkpoint in line {claim.line} is not as it was signed")


def _excuses(line: TrailLine, before: ChainLink) -> bool:
    """Tell whether a record retires everything up to `before`."""
    try:
        fields = orjson.loads(line.data)
    except orjson.JSONDecodeError:  # a forged line may have a valid hash but not be JSON
        return False
    if fields.get("note") != "retired" or not isinstance(through := fields.get("through"), int):
        return False
    return through > before.seq or (through == before.seq and fields.get("head") == before.hash.decode())


def _absent(first: int, last: int) -> str:
    which = f"record {first} is" if first == last else f"records {first} to {last} are"
    return f"{which} missing before it"


def _comes_later(seqs: range, rest: Iterator[TrailLine]) -> bool:
    links = (parse_link(line.data) for line in rest)
    return any(link is not None and link.seq in seqs for link in links)
