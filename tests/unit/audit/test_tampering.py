"""Tampering: every byte of a short trail, thousands of a longer one, every line moved, repeated or removed."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random

import pytest

from proxy.audit.chain import Chain, parse_link
from proxy.audit.checkpoint import Checkpoint, HmacKey, checkpoint_line, read
from proxy.audit.files import TrailLine
from proxy.audit.verify import Condition, Proof, verify
from tests.unit.audit.samples import chained, fields

SHORT, LONG = chained(20), chained(1_000)
KEY = HmacKey(b"k" * 32)


def judge(lines: Iterable[bytes], checkpoints: Iterable[Checkpoint] = ()) -> Condition:
    """Return the condition of a file with these lines."""
    numbered = (TrailLine(Path("audit.jsonl"), number, line) for number, line in enumerate(lines, start=1))
    return verify(numbered, proof=Proof(checkpoints)).condition


def changed(line: bytes, position: int, mask: int) -> list[bytes]:
    """Return a line with one byte changed, split where that made a newline."""
    return (line[:position] + bytes([line[position] ^ mask]) + line[position + 1 :]).splitlines(keepends=True)


def rest_from(trail: list[bytes], index: int, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a trail in which these lines stand for one of its own."""
    yield from trail[:index]
    yield from lines
    yield from trail[index + 1 :]


@pytest.mark.parametrize("mask", [0x01, 0xFF])
def test_every_single_byte_of_twenty_records(mask: int) -> None:
    """All positions, newlines included."""
    for index, line in enumerate(SHORT):
        for position in range(len(line)):
            assert judge(rest_from(SHORT, index, changed(line, position, mask))), (index, position)


def test_five_thousand_random_bytes_of_a_thousand_records() -> None:
    """Any position, any other value. Only the lines around the change are walked: the others are as they were."""
    random = Random(20)
    for _ in range(5_000):
        index = random.randrange(len(LONG))
        position, mask = random.randrange(len(LONG[index])), random.randrange(1, 256)
        around = LONG[max(0, index - 1) : index + 3]
        lines = rest_from(around, around.index(LONG[index]), changed(LONG[index], position, mask))
        numbered = (TrailLine(Path("audit.jsonl"), number, line) for number, line in enumerate(lines, start=1))
        assert verify(numbered, partial=True).condition, (index, position, mask)


def test_every_line_removed_doubled_or_swapped() -> None:
    """Wherever it is done, and also at the end, where the checkpoint tells."""
    link = parse_link(SHORT[-1])
    assert link is not None
    claim = Checkpoint(link.seq, link.hash, "", signed=True, foreign=False, line=1)
    for index, line in enumerate(SHORT):
        last = index == len(SHORT) - 1
        removed = judge(rest_from(SHORT, index, ()), [claim])
        assert removed is (Condition.CUT_TAIL if last else Condition.MISSING)
        assert judge(rest_from(SHORT, index, (line, line))) is Condition.REORDERED
        if not last:
            swapped = [*SHORT[:index], SHORT[index + 1], line, *SHORT[index + 2 :]]
            assert judge(swapped) is Condition.REORDERED


def test_every_cut_tail_and_a_trail_made_anew(tmp_path: Path) -> None:
    """With a signed checkpoint of the last record: cuts all along, and a forgery without a flaw of its own."""
    link, file = parse_link(LONG[-1]), tmp_path / "checkpoints"
    assert link is not None
    file.write_bytes(checkpoint_line("now", link, KEY))
    claims = list(read(file, [KEY]))
    for kept in range(0, len(LONG), 37):
        assert judge(LONG[:kept], claims) is Condition.CUT_TAIL
    chain = Chain()
    forged = [chain.append(fields(number, status=200)) for number in range(1, len(LONG) + 1)]
    assert judge(forged) is Condition.WHOLE
    assert judge(forged, claims) is Condition.EDITED
