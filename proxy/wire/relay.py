"""A body on its way from one sender to its readers, with back-pressure. Its memory is bounded whatever they do."""

import asyncio
from collections import deque
from collections.abc import Callable

from proxy.errors import BrokenBody
from proxy.message import Lines

HIGH_WATER = 65_536  # a sender is paused when its fastest reader is this far behind (W8)
WINDOW = 1_048_576  # a reader this far behind the sender is cut: it concerns itself alone


class Relay:
    """Pieces with one sender and any number of readers.

    The fastest reader sets the pace; the slowest may lag `WINDOW` bytes, then it is cut. `pace(True)` pauses the
    sender, `pace(False)` lets it go on; `deserted()` says that nobody reads any more.
    """

    __slots__ = (
        "_base", "_deserted", "_ended", "_pace", "_paused", "_pieces", "_readers", "failure", "pushed", "trailers",
    )  # fmt: skip

    def __init__(self, pace: Callable[[bool], None], deserted: Callable[[], None]) -> None:
        self._pace = pace
        self._deserted = deserted
        self._pieces: deque[bytes] = deque()
        self._base = 0
        self._readers: list[RelayReader] = []
        self._paused = False
        self._ended = False
        self.pushed = 0
        self.failure: str | None = None
        self.trailers: Lines = ()

    @property
    def ended(self) -> bool:
        """Tell whether the sender is done, well or badly."""
        return self._ended

    def push(self, piece: bytes) -> None:
        """Add a piece."""
        if self._ended or not piece:
            return
        self._pieces.append(piece)
        self.pushed += len(piece)
        for reader in tuple(self._readers):
            if self.pushed - reader.taken > WINDOW + len(piece):
                reader.cut()
            else:
                reader.wake()
        self._keep_pace()

    def finish(self, trailers: Lines = ()) -> None:
        """Mark the body whole."""
        self.trailers = trailers
        self._end()

    def break_off(self, why: str) -> None:
        """Mark the body broken: every reader gets what is here, then BrokenBody."""
        if not self._ended:
            self.failure = why
            self._end()

    def open(self) -> "RelayReader":
        """Return a reader at the first byte. Only while the whole prefix is here."""
        if self._base:
            raise BrokenBody("the beginning is no longer kept")
        reader = RelayReader(self)
        self._readers.append(reader)
        return reader

    def discard(self) -> None:
        """Say that nobody will read it."""
        if not self._readers and not self._ended:
            self.break_off("nobody reads")
            self._deserted()

    def piece(self, index: int) -> bytes | None:
        """Return the piece at an absolute index, None if it has not come yet."""
        at = index - self._base
        return self._pieces[at] if at < len(self._pieces) else None

    def moved(self) -> None:
        """Forget what every reader has, and let the sender go on if the fastest has caught up."""
        slowest = min(reader.index for reader in self._readers)
        while self._base < slowest:
            self._pieces.popleft()
            self._base += 1
        self._keep_pace()

    def closed(self, reader: "RelayReader") -> None:
        """Take a reader out; the last one to leave an unfinished body stops its sender."""
        if reader in self._readers:
            self._readers.remove(reader)
            if self._readers:
                self.moved()
            elif not self._ended:
                self.break_off("nobody reads")
                self._deserted()

    def _keep_pace(self) -> None:
        fastest = max((reader.taken for reader in self._readers), default=0)
        behind = self.pushed - fastest
        if not self._paused and behind > HIGH_WATER and not self._ended:
            self._paused = True
            self._pace(True)
        elif self._paused and behind <= HIGH_WATER // 2:
            self._paused = False
            self._pace(False)

    def _end(self) -> None:
        self._ended = True
        if self._paused:
            self._paused = False
            self._pace(False)
        for reader in tuple(self._readers):
            reader.wake()


class RelayReader:
    """One reader's place in a relay."""

    __slots__ = ("_cut", "_relay", "_waiter", "index", "taken")

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._waiter: asyncio.Future[None] | None = None
        self._cut = False
        self.index = 0
        self.taken = 0

    @property
    def trailers(self) -> Lines:
        """Return the trailer lines, known once the body has ended."""
        return self._relay.trailers

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end; raise BrokenBody if it will never be whole."""
        relay = self._relay
        while True:
            if self._cut:
                raise BrokenBody("the reader was too slow")
            piece = relay.piece(self.index)
            if piece is not None:
                self.index += 1
                self.taken += len(piece)
                relay.moved()
                return piece
            if relay.failure is not None:
                raise BrokenBody(relay.failure)
            if relay.ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def wake(self) -> None:
        """Let a waiting read look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def cut(self) -> None:
        """End a reader that lags too far behind."""
        self._cut = True
        self._relay.closed(self)
        self.wake()

    def close(self) -> None:
        """Say that no more will be read."""
        self._relay.closed(self)
