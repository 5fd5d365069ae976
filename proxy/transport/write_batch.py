"""Writes that wait for the end of a turn of the event loop."""

import asyncio
from typing import Protocol


class BatchWriter(Protocol):
    """A connection that has something to write."""

    def flush(self) -> None:
        """Write what waits for the end of the loop's turn."""
        ...


class WriteBatch:
    """Write at the end of the turn: whoever is woken by the first answer is awake for the others.

    A write that wakes a sleeping peer costs its sender several times one that finds it awake.
    """

    __slots__ = ("_writers",)

    def __init__(self) -> None:
        self._writers: list[BatchWriter] = []

    def add(self, writer: BatchWriter) -> None:
        """Have it flushed at the end of the turn."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        self._writers.append(writer)

    def _write(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.flush()
