"""Bound the number and bytes of lines that are not written yet: a stalled disk must not exhaust the memory."""

from collections import deque
from collections.abc import Callable

from proxy.audit.writer import Batch, Note


class LineQueue:
    """Hold lines until the writer settles them.

    States of a line: WAITING --`take_batch`, `hand_over`--> HANDED to the writer --`settle`--> written or lost

    Waiting and handed lines count towards the limit. There is no room before `open` and after `close`. An empty queue
    accepts a line of any size, so that no line is lost because of its size alone.
    """

    __slots__ = ("_handed", "_limit", "_lines", "_notes", "_size", "_size_limit")

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._notes = 0  # among the waiting lines
        self._handed = 0  # records in the batches that the writer has
        self._size = 0  # bytes of the waiting lines and of the batches that the writer has
        self._limit = self._size_limit = 0

    def __len__(self) -> int:
        """Return the number of waiting lines."""
        return len(self._lines)

    @property
    def records(self) -> int:
        """Return the number of records that are not written yet."""
        return len(self._lines) - self._notes + self._handed

    @property
    def is_open(self) -> bool:
        """Tell whether lines are accepted."""
        return self._limit > 0

    def open(self, limit: int, size_limit: int) -> None:
        """Accept lines up to these limits."""
        self._limit, self._size_limit = limit, size_limit

    def close(self) -> None:
        """Accept no more lines."""
        self._limit = 0

    def take(self, line: bytes) -> bool:
        """Add a line; return False if there is no room."""
        size = self._size + len(line)
        if len(self._lines) + self._handed >= self._limit or (size > self._size_limit and self._size):
            return False
        self._size = size
        self._lines.append(line)
        return True

    def take_note(self, line: bytes) -> bool:
        """Add a line that is not a record; return False if there is no room."""
        taken = self.take(Note(line))
        self._notes += taken
        return taken

    def take_batch(self, count: int, chain: Callable[[bytes], bytes]) -> tuple[list[bytes], int]:
        """Return up to `count` lines, each processed by `chain`, and the number of records among them."""
        next_one = self._lines.popleft
        lines = [next_one() for _ in range(min(count, len(self._lines)))]
        notes = sum([type(line) is Note for line in lines]) if self._notes else 0
        self._notes -= notes
        self._size -= sum(map(len, lines))
        chained = list(map(chain, lines))
        return chained, len(chained) - notes

    def hand_over(self, batch: Batch) -> None:
        """Count a batch that was handed to the writer."""
        self._handed += batch.records
        self._size += len(batch.lines)

    def settle(self, batch: Batch) -> None:
        """Count a batch that was written or lost."""
        self._handed -= batch.records
        self._size -= len(batch.lines)

    def give_up(self) -> int:
        """Drop all lines; return how many were records."""
        lost = self.records
        self._lines.clear()
        self._notes = self._handed = self._size = 0
        return lost
