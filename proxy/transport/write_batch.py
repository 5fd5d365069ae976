"""Batch the writes of one event loop iteration."""

import asyncio
from typing import Protocol


class BatchWriter(Protocol):
    """A connection with buffered data."""

    def flush(self) -> None:
        """Write the buffered data."""
        ...


class WriteBatch:
    """Write at the end of the loop iteration, when peers that share a process are already awake.

    Waking a sleeping peer costs the sender several times as much as a write to one that is awake.
    """

    __slots__ = ("_writers",)

    def __init__(self) -> None:
        self._writers: list[BatchWriter] = []

    def add(self, writer: BatchWriter) -> None:
        """Flush `writer` at the end of the iteration."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        self._writers.append(writer)

    def _write(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.flush()
