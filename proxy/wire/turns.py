"""What one turn of the loop does: how many requests it begins, and when it writes.

With thousands of connections a turn finds hundreds of requests at once. Were they all begun before the first answer is
looked at, each would be long out of the processor's cache when its own comes.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

TAKEN_AT_ONCE: Final = 32  # requests a turn


class Guest(Protocol):
    """A connection whose data may have to wait for its turn."""

    def go_on(self) -> None:
        """Look at the data that came before it was its turn."""
        ...


class Writer(Protocol):
    """A connection that has something to write."""

    def flush(self) -> None:
        """Write what waits for the end of the loop's turn."""
        ...


class Turns:
    """Let a bounded number of requests begin in each turn, and answers come in between; nobody is overtaken."""

    __slots__ = ("_room", "_waiting")

    def __init__(self) -> None:
        self._room = TAKEN_AT_ONCE
        self._waiting: deque[Guest] = deque()

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return len(self._waiting)

    def take(self, guest: Guest) -> bool:
        """Tell whether a connection's data may be looked at now, or else let it go on in a later turn."""
        if self._room == TAKEN_AT_ONCE:
            asyncio.get_running_loop().call_soon(self._next)
        if self._room:
            self._room -= 1
            return True
        self._waiting.append(guest)
        return False

    def _next(self) -> None:
        going_on = min(len(self._waiting), TAKEN_AT_ONCE)
        self._room = TAKEN_AT_ONCE - going_on
        if going_on:
            asyncio.get_running_loop().call_soon(self._next)
        for _ in range(going_on):
            self._waiting.popleft().go_on()


class Outgoing:
    """Write at the end of the turn: whoever is woken by the first answer is awake for the others.

    A write that wakes a sleeping peer costs its sender several times one that finds it awake.
    """

    __slots__ = ("_writers",)

    def __init__(self) -> None:
        self._writers: list[Writer] = []

    def add(self, writer: Writer) -> None:
        """Have it flushed at the end of the turn."""
        if not self._writers:
            asyncio.get_running_loop().call_soon(self._write)
        self._writers.append(writer)

    def _write(self) -> None:
        writers, self._writers = self._writers, []
        for writer in writers:
            writer.flush()
