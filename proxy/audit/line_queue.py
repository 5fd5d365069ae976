"""Lines that are not on file yet, bounded by their number and their bytes: a disk that stalls must not fill memory."""

from collections import deque
from collections.abc import Callable

from proxy.audit.writer import Batch, Note


class LineQueue:
    """WAITING to be sealed --`take_batch`, `hand_over`--> HANDED to the writer --`settle`--> on file, or lost

    Both count. There is no room before `open` and after `close`. An empty queue takes a line of any size, so that none
    is lost for its size alone.
    """

    __slots__ = ("_handed", "_limit", "_lines", "_notes", "_size", "_size_limit")

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._notes = 0  # among the lines that wait
        self._handed = 0  # records in sealed batches that the writer holds
        self._size = 0  # bytes that wait, and of those batches
        self._limit = self._size_limit = 0

    def __len__(self) -> int:
        """Return the number of lines that wait to be sealed."""
        return len(self._lines)

    @property
    def records(self) -> int:
        """Return how many records are on their way."""
        return len(self._lines) - self._notes + self._handed

    @property
    def is_open(self) -> bool:
        """Tell whether anything is taken."""
        return self._limit > 0

    def open(self, limit: int, size_limit: int) -> None:
        """Take at most so many lines and bytes."""
        self._limit, self._size_limit = limit, size_limit

    def close(self) -> None:
        """Take no more."""
        self._limit = 0

    def take(self, line: bytes) -> bool:
        """Take a line; return False if there is no room for it."""
        size = self._size + len(line)
        if len(self._lines) + self._handed >= self._limit or (size > self._size_limit and self._size):
            return False
        self._size = size
        self._lines.append(line)
        return True

    def take_note(self, line: bytes) -> bool:
        """Take a line that is nobody's record; return False if there is no room for it."""
        taken = self.take(Note(line))
        self._notes += taken
        return taken

    def take_batch(self, count: int, chain: Callable[[bytes], bytes]) -> tuple[list[bytes], int]:
        """Return the next `count` lines, or all if fewer wait, as `chain` makes them, and how many are records."""
        next_one, notes, size = self._lines.popleft, 0, 0
        chained = []
        for _ in range(min(count, len(self._lines))):
            line = next_one()
            notes += type(line) is Note
            size += len(line)
            chained.append(chain(line))
        self._notes -= notes
        self._size -= size
        return chained, len(chained) - notes

    def hand_over(self, batch: Batch) -> None:
        """Take note of a batch that the writer gets."""
        self._handed += batch.records
        self._size += len(batch.lines)

    def settle(self, batch: Batch) -> None:
        """Take note of a batch that is on file, or lost."""
        self._handed -= batch.records
        self._size -= len(batch.lines)

    def give_up(self) -> int:
        """Let go of all of it; return how many records that were."""
        lost = self.records
        self._lines.clear()
        self._notes = self._handed = self._size = 0
        return lost
