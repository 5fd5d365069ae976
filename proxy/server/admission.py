"""Limit how many requests one loop iteration starts, fairly between client addresses.

With thousands of connections one iteration finds hundreds of requests. If all were started before the first response
is handled, their data would have left the processor's cache by then. A long request takes longer to start than a short
one, so the limit is in bytes.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

AT_ONCE: Final = 65_536  # bytes in one loop iteration; the request that exceeds the limit is started as well
LEAST: Final = 2_048  # minimum bytes of a request, for at most 32 in one iteration


class Admissible(Protocol):
    """A connection whose data may have to wait for a later loop iteration."""

    @property
    def address(self) -> str:
        """Return the client's address."""
        ...

    @property
    def waiting(self) -> int:
        """Return the number of waiting bytes."""
        ...

    def go_on(self) -> None:
        """Process the data that had to wait."""
        ...


class AdmissionQueue:
    """Start requests up to the limit in each loop iteration.

    Waiting connections continue in round-robin order of their addresses, so no address delays the others.
    """

    __slots__ = ("_room", "_waiting")

    def __init__(self) -> None:
        self._room = AT_ONCE
        self._waiting: dict[str, deque[Admissible]] = {}  # by address; the first address is next

    @property
    def waiting(self) -> int:
        """Return the number of waiting connections."""
        return sum([len(guests) for guests in self._waiting.values()])

    def take(self, guest: Admissible, size: int) -> bool:
        """Tell whether `size` bytes may be processed now; if not, call `guest.go_on` in a later iteration."""
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
        """Return the next connection and move its address to the end."""
        address = next(iter(self._waiting))
        guests = self._waiting.pop(address)
        guest = guests.popleft()
        if guests:
            self._waiting[address] = guests
        return guest
