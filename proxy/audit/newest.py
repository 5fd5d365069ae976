"""The newest records in memory for the control plane, bounded by number and bytes."""

from collections import deque
from collections.abc import Iterator
from typing import Final

MOST_BYTES: Final = 8_388_608  # 10,000 usual records have about 6 MB; a client can make each one five times as long


class Newest:
    """The newest records, oldest first; beyond the limits the oldest are dropped."""

    __slots__ = ("_limit", "_most_bytes", "_records", "size")

    def __init__(self, limit: int, most_bytes: int = MOST_BYTES) -> None:
        self._records: deque[bytes] = deque()
        self._limit = limit
        self._most_bytes = most_bytes
        self.size = 0  # bytes

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def __contains__(self, record: object) -> bool:
        return record in self._records

    def append(self, record: bytes) -> None:
        """Add a record."""
        records, size = self._records, self.size + len(record)
        records.append(record)
        while len(records) > self._limit or size > self._most_bytes:
            size -= len(records.popleft())
        self.size = size
