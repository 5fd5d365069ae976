"""Relay a body from one sender to several readers with back-pressure and bounded memory."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.errors import BrokenBody
from proxy.http.fields import Lines
from proxy.http.message import Collected, Lost
from proxy.http1.gathered import Gathered

HIGH_WATER = 65_536  # the sender pauses if its fastest reader is this many bytes behind
WINDOW = 1_048_576  # a reader this many bytes behind delays the others
PIECE: Final = 48  # overhead of a piece in bytes, which counts towards a reader's lag
PREFIX = 65_536  # bytes at the beginning of a body that are kept for late readers,
PREFIX_PIECES: Final = 4096  # in at most this many pieces
PATIENCE_S = 0.25  # readers wait this many seconds for slower ones,
PATIENCE_SHARE = 0.2  # plus this share of the time since a second reader joined


class Collector:
    """A body's pieces up to a limit, and the callback for the complete or lost body."""

    __slots__ = ("_collected", "_gathered", "_limit")

    def __init__(self, limit: int, collected: Collected) -> None:
        self._limit = limit
        self._collected = collected
        self._gathered = Gathered()

    def add(self, piece: bytes) -> bool:
        """Add a piece; tell whether the limit still allows it."""
        allowed = self._gathered.size + len(piece) <= self._limit
        if allowed:
            self._gathered.add(piece)
        return allowed

    def end(self, lost: Lost | None, trailers: Lines) -> None:
        """Report that no more data arrives."""
        self._collected(self._gathered.take() if lost is None else lost, trailers)


class Broadcast:
    """Pieces with one sender and any number of readers.

    The fastest reader sets the pace and waits a little for slower ones. A reader that is `WINDOW` bytes behind when
    that time is used up is cut off. So slow readers delay the others by at most a quarter of the time and 0.3 s.
    `pace(True)` pauses the sender, `pace(False)` resumes it; `deserted()` reports that the last reader left.
    """

    __slots__ = (
        "_base", "_collector", "_deserted", "_ended", "_held", "_held_since", "_over", "_pace", "_patience_s",
        "_paused", "_pieces", "_readers", "_shared_since", "failure", "pushed", "trailers",
    )  # fmt: skip

    def __init__(self, pace: Callable[[bool], None], deserted: Callable[[], None]) -> None:
        self._pace = pace
        self._deserted = deserted
        self._pieces: deque[bytes] = deque()
        self._base = 0
        self._readers: list[BroadcastReader] = []
        self._over: Callable[[], None] | None = None
        self._collector: Collector | None = None
        self._held: asyncio.TimerHandle | None = None  # set while the sender waits for a slow reader
        self._held_since = self._shared_since = 0.0
        self._patience_s = PATIENCE_S
        self._paused = False
        self._ended = False
        self.pushed = 0
        self.failure: str | None = None
        self.trailers: Lines = ()

    @property
    def ended(self) -> bool:
        """Tell whether the body has ended, complete or broken."""
        return self._ended

    @property
    def held(self) -> int:
        """Return the bytes that the slowest reader has not read."""
        return max([self._behind(reader) for reader in self._readers], default=0)

    def push(self, piece: bytes) -> None:
        """Add a piece."""
        if self._ended or not piece:
            return
        self._pieces.append(piece)
        self.pushed += len(piece)
        for reader in self._readers:
            reader.wake()
        if self._over is not None and self._outgrew_prefix:
            self._offer_ends()
        if self._collector is not None and not self._collector.add(piece):
            self._collection_ends(Lost.TOO_LARGE)
            asyncio.get_running_loop().call_soon(self.discard)  # unless another reader follows
        self._keep_pace()

    def finish(self, trailers: Lines = ()) -> None:
        """Mark the body complete."""
        self.trailers = trailers
        self._end()

    def break_off(self, why: str) -> None:
        """Mark the body broken: each reader gets the received pieces, then BrokenBody."""
        if not self._ended:
            self.failure = why
            self._end()

    def open(self) -> "BroadcastReader":
        """Return a reader at the first byte. Raise BrokenBody if the beginning is no longer buffered."""
        if self._base:
            raise BrokenBody("the beginning is no longer buffered")
        reader = BroadcastReader(self)
        self._readers.append(reader)
        if len(self._readers) == 2:
            self._shared_since = asyncio.get_running_loop().time()
        return reader

    def offer(self, over: Callable[[], None]) -> None:
        """Keep the first `PREFIX` bytes for late readers; call `over` once when more arrives or the body ends."""
        self._over = over
        if self._ended or self._base or self._outgrew_prefix:
            self._offer_ends()

    @property
    def _outgrew_prefix(self) -> bool:
        return self.pushed > PREFIX or len(self._pieces) > PREFIX_PIECES

    def withdraw(self) -> None:
        """Stop keeping the beginning."""
        self._over = None
        self._forget()

    def _offer_ends(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()
            self._forget()

    def collect(self, limit: int, collected: Collected) -> None:
        """Collect the body up to `limit` bytes, even if it has no reader; call `collected` once with the result."""
        collector = Collector(limit, collected)
        if self._base or not all(collector.add(piece) for piece in self._pieces):
            collector.end(Lost.TOO_LARGE, ())
            return
        self._collector = collector
        if self._ended:
            self._collection_ends(None if self.failure is None else Lost.BROKEN)

    def _collection_ends(self, lost: Lost | None) -> None:
        collector, self._collector = self._collector, None
        if collector is not None:
            collector.end(lost, self.trailers)

    def discard(self) -> None:
        """Mark the body as unread: no reader will open it."""
        if not self._readers and not self._ended and self._collector is None:
            self.break_off("no reader is left")
            self._deserted()

    def piece(self, index: int) -> bytes | None:
        """Return the piece at an absolute index, None if it has not come yet."""
        at = index - self._base
        return self._pieces[at] if at < len(self._pieces) else None

    def moved(self, reader: "BroadcastReader") -> None:
        """Drop pieces that every reader has read, and resume the sender if the fastest reader has caught up."""
        if reader.index - 1 == self._base:
            self._forget()
        if self._paused:
            self._keep_pace()

    def _forget(self) -> None:
        if self._over is not None or not self._readers:
            return
        while self._pieces and all(reader.index > self._base for reader in self._readers):
            self._pieces.popleft()
            self._base += 1

    def closed(self, reader: "BroadcastReader") -> None:
        """Remove a reader; without readers an unfinished body stops its sender."""
        if reader in self._readers:
            self._readers.remove(reader)
            if self._readers:
                self._forget()
                self._keep_pace()
            elif not self._ended and self._collector is not None:
                self._keep_pace()
            elif not self._ended:
                self.break_off("no reader is left")
                self._deserted()

    def _keep_pace(self) -> None:
        unread = self.pushed if self._collector is None else 0  # collecting needs no reader
        behind = min([self._behind(reader) for reader in self._readers], default=unread)
        full = behind > (HIGH_WATER // 2 if self._paused else HIGH_WATER)
        pause = not self._ended and (self._waits_for_the_slowest() or full)
        if pause is not self._paused:
            self._paused = pause
            self._pace(pause)

    def _behind(self, reader: "BroadcastReader") -> int:
        """Return the bytes that a reader has not read, with the overhead of their pieces."""
        return self.pushed - reader.taken + PIECE * (self._base + len(self._pieces) - reader.index)

    def _waits_for_the_slowest(self) -> bool:
        """Tell whether a slow reader delays the others, and start its timer."""
        if len(self._readers) < 2 or not self._slow_readers():
            self._go_on()
            return False
        if self._held is None:
            loop = asyncio.get_running_loop()
            self._held_since = loop.time()
            patience_s = self._patience_s + PATIENCE_SHARE * (self._held_since - self._shared_since)
            self._held = loop.call_later(max(0.0, patience_s), self._cut_slow_readers)
        return True

    def _slow_readers(self) -> "list[BroadcastReader]":
        too_far = WINDOW if self._held is None else WINDOW - HIGH_WATER
        return [reader for reader in self._readers if self._behind(reader) > too_far]

    def _go_on(self) -> None:
        if self._held is not None:
            self._held.cancel()
            self._held = None
            self._patience_s -= asyncio.get_running_loop().time() - self._held_since

    def _cut_slow_readers(self) -> None:
        for reader in self._slow_readers():
            reader.cut()

    def _end(self) -> None:
        self._ended = True
        self._collection_ends(None if self.failure is None else Lost.BROKEN)
        self._go_on()
        self._keep_pace()
        for reader in self._readers:
            reader.wake()
        self._offer_ends()


class BroadcastReader:
    """One reader of a broadcast body."""

    __slots__ = ("_relay", "_waiter", "index", "lost", "taken")

    def __init__(self, relay: Broadcast) -> None:
        self._relay = relay
        self._waiter: asyncio.Future[None] | None = None
        self.lost = False
        self.index = 0
        self.taken = 0

    @property
    def trailers(self) -> Lines:
        """Return the trailer lines, known once the body has ended."""
        return self._relay.trailers

    async def read(self) -> bytes:
        """Return the next piece, b"" at the end. Raise BrokenBody if the body will never be complete."""
        relay = self._relay
        while True:
            if self.lost:
                raise BrokenBody("the reader was too slow")
            piece = relay.piece(self.index)
            if piece is not None:
                self.index += 1
                self.taken += len(piece)
                relay.moved(self)
                return piece
            if relay.failure is not None:
                raise BrokenBody(relay.failure)
            if relay.ended:
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def wake(self) -> None:
        """Wake the pending read."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def cut(self) -> None:
        """End the reader: it is too slow, or its client is cut off."""
        self.lost = True
        self._relay.closed(self)
        self.wake()

    def close(self) -> None:
        """Stop reading."""
        self._relay.closed(self)
