"""What one turn of the loop does: how many requests it begins, and when it writes.

With thousands of connections a turn finds hundreds of requests at once. Were they all begun before the first answer is
looked at, each would be long out of the processor's cache when its own comes.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

TAKEN_AT_ONCE: Final = 32  # requests a turn


class Admissible(Protocol):
    """A connection whose data may have to wait for its turn."""

    def go_on(self) -> None:
        """Look at the data that came before it was its turn."""
        ...


class AdmissionQueue:
    """Let a bounded number of requests begin in each turn, and answers come in between; nobody is overtaken."""

    __slots__ = ("_room", "_waiting")

    def __init__(self) -> None:
        self._room = TAKEN_AT_ONCE
        self._waiting: deque[Admissible] = deque()

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return len(self._waiting)

    def take(self, guest: Admissible) -> bool:
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
