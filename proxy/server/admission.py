"""What one turn of the loop does: how many requests it begins, whose they are, and when it writes.

With thousands of connections a turn finds hundreds of requests at once. Were they all begun before the first answer is
looked at, each would be long out of the processor's cache when its own comes. A long request takes longer to begin than
a short one, so a turn is bounded in bytes.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

AT_ONCE: Final = 65_536  # bytes a turn; the request that goes beyond it is begun as well
LEAST: Final = 2_048  # bytes that a request counts for: 32 short ones a turn


class Admissible(Protocol):
    """A connection whose data may have to wait for a later loop iteration."""

    @property
    def address(self) -> str:
        """Return whose it is."""
        ...

    @property
    def waiting(self) -> int:
        """Return how many bytes wait for its turn."""
        ...

    def go_on(self) -> None:
        """Process the data that had to wait."""
        ...


class AdmissionQueue:
    """Let a bounded number of requests begin in each turn, and answers come in between.

    Those that wait go on in their order, one of each address in turn: whoever sends many does not delay the others.
    """

    __slots__ = ("_room", "_waiting")

    def __init__(self) -> None:
        self._room = AT_ONCE
        self._waiting: dict[str, deque[Admissible]] = {}  # by address; the first has the next turn

    @property
    def waiting(self) -> int:
        """Return how many wait for their turn."""
        return sum([len(guests) for guests in self._waiting.values()])

    def take(self, guest: Admissible, size: int) -> bool:
        """Tell whether a connection's `size` bytes may be looked at now, or else let it go on in a later turn."""
        if self._room == AT_ONCE:
            asyncio.get_running_loop().call_soon(self._next)
        if self._room > 0 and not self._waiting:
            self._room -= size if size > LEAST else LEAST
            return True
        address = guest.address
        if address not in self._waiting:
            self._waiting[address] = deque()
        self._waiting[address].append(guest)
        return False

    def _next(self) -> None:
        self._room = AT_ONCE
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._next)
        while self._waiting and self._room > 0:
            guest = self._pop()
            self._room -= max(guest.waiting, LEAST)
            guest.go_on()

    def _pop(self) -> Admissible:
        """Return who has the next turn; its address is the last one now."""
        address = next(iter(self._waiting))
        guests = self._waiting.pop(address)
        guest = guests.popleft()
        if guests:
            self._waiting[address] = guests
        return guest
