"""The verifier finds, distinguishes and locates every change of a trail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.audit.chain import Chain
from proxy.audit.verify import Condition, Finding, verify
from tests.unit.audit.samples import as_lines, chained, fields

TRAIL = chained(5)
BYTES = b"".join(TRAIL)
indexes = st.integers(0, len(TRAIL) - 1)


def judge(lines: list[bytes], *, partial: bool = False) -> Finding:
    """Return the finding for a file of these lines."""
    return verify(as_lines(b"".join(lines)), partial=partial)


def test_a_whole_trail_is_whole() -> None:
    """Five sealed records verify, and the finding carries the count and the head."""
    finding = judge(TRAIL)
    assert (finding.condition, finding.lines, finding.last.seq) == (Condition.WHOLE, 5, 5)
    assert finding.last.hash in TRAIL[-1]


def test_an_empty_trail_is_whole() -> None:
    """No records at all is a whole trail of none."""
    assert judge([]).condition is Condition.WHOLE


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_byte_matters(mask: int) -> None:
    """One flipped bit at any position of the trail is found."""
    for position in range(len(BYTES)):
        changed = bytearray(BYTES)
        changed[position] ^= mask
        assert verify(as_lines(bytes(changed))).condition is not Condition.WHOLE, position


@given(st.integers(0, len(BYTES) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_any_splice_is_found(position: int, new: bytes, removed: int) -> None:
    """Bytes put in, taken out or replaced anywhere are found, unless only whole lines fell off the end."""
    changed = BYTES[:position] + new + BYTES[position + removed :]
    whole_but_shorter = changed in {b"".join(TRAIL[:kept]) for kept in range(len(TRAIL) + 1)}
    assert (verify(as_lines(changed)).condition is Condition.WHOLE) == whole_but_shorter


@given(st.integers(0, len(TRAIL) - 2))
def test_a_removed_record_is_missing(index: int) -> None:
    """A record taken out from before the end is missing, and the record behind the hole is named."""
    finding = judge([*TRAIL[:index], *TRAIL[index + 1 :]])
    assert finding.condition is Condition.MISSING
    assert (finding.line, finding.seq) == (index + 1, index + 2)
    assert f"record {index + 1} is missing" in str(finding)


@given(indexes, indexes)
def test_moved_records_are_reordered(first: int, second: int) -> None:
    """Two records that changed places are found at the first of the two places."""
    lines = list(TRAIL)
    lines[first], lines[second] = lines[second], lines[first]
    finding = judge(lines)
    assert finding.condition is (Condition.WHOLE if first == second else Condition.REORDERED)
    assert finding.line == (0 if first == second else min(first, second) + 1)


@given(indexes, indexes)
def test_a_repeated_record_is_reordered(index: int, place: int) -> None:
    """A copy of a record is found wherever it is put in."""
    assert judge([*TRAIL[:place], TRAIL[index], *TRAIL[place:]]).condition is Condition.REORDERED


@given(indexes)
def test_a_record_hashed_anew_does_not_meet_the_next(index: int) -> None:
    """A record rewritten with a right hash of its own is given away by the record behind it."""
    links = Chain()
    forged = [links.append(fields(number, status=500 if number == index + 1 else 201)) for number in range(1, 6)]
    lines = [*TRAIL[:index], forged[index], *TRAIL[index + 1 :]]
    last = index == len(TRAIL) - 1
    assert judge(lines).condition is (Condition.WHOLE if last else Condition.EDITED)  # only a checkpoint shows the last


@given(st.integers(1, len(TRAIL[-1]) - 1))
def test_a_line_cut_short_at_the_end_is_a_torn_tail(kept: int) -> None:
    """An unfinished last line is what a crash leaves, not an edit."""
    finding = judge([*TRAIL[:-1], TRAIL[-1][:kept]])
    assert (finding.condition, finding.lines, finding.line, finding.seq) == (Condition.TORN_TAIL, 4, 5, 5)


def test_an_unfinished_line_in_the_middle_is_an_edit() -> None:
    """Only the very last line can be torn: one in front of another file was cut by hand."""
    unfinished, after = as_lines(TRAIL[0][:-20]), as_lines(TRAIL[1])
    assert verify([*unfinished, *after]).condition is Condition.EDITED


def test_a_trail_without_its_beginning_is_missing_unless_that_was_meant() -> None:
    """Retired files are missing records, unless the auditor says so; the rest is checked all the same."""
    assert judge(TRAIL[2:]).condition is Condition.MISSING
    assert judge(TRAIL[2:], partial=True).condition is Condition.WHOLE
    assert judge([TRAIL[2], TRAIL[4]], partial=True).condition is Condition.MISSING


def test_the_exit_statuses_tell_conditions_apart() -> None:
    """The statuses are promises to scripts."""
    assert {condition.name: condition.value for condition in Condition} == {
        "WHOLE": 0,
        "EDITED": 10,
        "REORDERED": 11,
        "MISSING": 12,
        "TORN_TAIL": 13,
        "CUT_TAIL": 14,
        "WRONG_KEY": 15,
        "UNCOVERED": 16,
    }
