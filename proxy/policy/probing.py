"""Let an attempt continue after its last caller left, so that a hanging backend is noticed."""

from collections.abc import Callable, Hashable


class Probes:
    """Let at most one attempt for each circuit continue as a probe. After `close`, none may.

    A circuit is the breaker, not its name: a reload may give its name to another one. The attempt ends by itself: its
    route's timeout limits it, and `close` calls its `end`.
    """

    __slots__ = ("_closed", "_ends")

    def __init__(self) -> None:
        self._ends: dict[Hashable, Callable[[], object]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._ends)

    def take(self, circuit: Hashable, end: Callable[[], object]) -> bool:
        """Take the circuit's only place, if it is free."""
        if self._closed or circuit in self._ends:
            return False
        self._ends[circuit] = end
        return True

    def give_back(self, circuit: Hashable) -> None:
        """Free the place: the attempt has ended."""
        self._ends.pop(circuit, None)

    def close(self) -> None:
        """End every probe and allow no other: the sidecar is stopping."""
        self._closed = True
        for end in tuple(self._ends.values()):
            end()

    def __repr__(self) -> str:
        return f"<Probes {','.join(map(str, self._ends)) or None}>"
