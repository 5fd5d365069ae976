"""The queue of lines counts waiting and handed lines, and returns to zero."""

from proxy.audit.chain import ChainLink
from proxy.audit.line_queue import LineQueue
from proxy.audit.writer import Batch


def chained(line: bytes) -> bytes:
    """Return a line as the chain makes it: longer."""
    return b"<%b>" % line


def test_each_record_counts_until_it_is_settled() -> None:
    """Notes are nobody's records, and take room as records do."""
    queue = LineQueue()
    assert not queue.take(b"too early")
    queue.open(3, 1_000)
    assert [queue.take(b"a"), queue.take_note(b"note"), queue.take(b"b"), queue.take(b"full")] == [True] * 3 + [False]
    lines, records = queue.take_batch(2, chained)
    assert (lines, records, queue.records) == ([b"<a>", b"<note>"], 1, 1)
    batch = Batch(b"".join(lines), records, ChainLink(2, b"", b""), 0)
    queue.hand_over(batch)
    assert (queue.records, len(queue)) == (2, 1)
    queue.settle(batch)
    assert queue.records == 1
    assert queue.give_up() == 1
    assert queue.records == len(queue) == 0


def test_more_than_waits_cannot_be_sealed() -> None:
    """Before, a count of more lines than there are raised, and left the sizes of those that were sealed counted."""
    queue = LineQueue()
    queue.open(10, 8)
    for line in (b"a", b"bb"):
        assert queue.take(line)
    assert queue.take_batch(5, chained) == ([b"<a>", b"<bb>"], 2)
    assert queue.take_batch(5, chained) == ([], 0)
    assert queue.take(b"12345678")  # all the room is there again
    assert not queue.take(b"9")
