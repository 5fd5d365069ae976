"""One sender and many readers: the fastest sets the pace, slow ones delay it a little, stuck ones are cut off."""

import asyncio
from collections import deque

import pytest

from proxy.errors import BrokenBody
from proxy.http.message import Lost
from proxy.transport.broadcast import (
    HIGH_WATER,
    PATIENCE_S,
    PATIENCE_SHARE,
    PREFIX,
    PREFIX_PIECES,
    WINDOW,
    Broadcast,
    BroadcastReader,
)
from proxy.transport.broadcast import PIECE as OVERHEAD
from tests.simulation.virtual import VirtualClock, now_ms, simulated

PIECE = b"x" * 16_384
CLOCK = VirtualClock()


class Sender:
    """Pushes without end, a piece every virtual millisecond, unless it is paused."""

    def __init__(self) -> None:
        self.paused = False
        self.deserted = 0
        self.relay = Broadcast(self._pace, self._desert)

    def _pace(self, pause: bool) -> None:
        assert pause is not self.paused, "it was told what it knows"
        self.paused = pause

    def _desert(self) -> None:
        self.deserted += 1

    async def send(self, pieces: int) -> None:
        """Send so many pieces, and end."""
        while pieces:
            await CLOCK.sleep(0.001)
            if not self.paused and not self.relay.ended:
                self.relay.push(PIECE)
                pieces -= 1
            assert sum(map(len, self.relay._pieces)) <= WINDOW + HIGH_WATER
        self.relay.finish()


class Read:
    """What a reader got, and when it had all of it."""

    def __init__(self, reader: BroadcastReader, every_s: float = 0.0) -> None:
        self.size, self.done_ms, self.broke = 0, 0.0, ""
        self.task = asyncio.get_running_loop().create_task(self._read(reader, every_s))

    async def _read(self, reader: BroadcastReader, every_s: float) -> None:
        try:
            while piece := await reader.read():
                self.size += len(piece)
                if every_s:
                    await CLOCK.sleep(every_s)
        except BrokenBody as broken:
            self.broke = str(broken)
        reader.close()
        self.done_ms = now_ms()


async def share(pieces: int, *every_s: float) -> list[Read]:
    """Let one reader for each pause between its pieces read the same body."""
    sender = Sender()
    reads = [Read(sender.relay.open(), seconds) for seconds in every_s]
    await sender.send(pieces)
    await asyncio.wait([read.task for read in reads])
    assert not sender.relay._readers
    assert sender.relay._held is None
    return reads


@simulated
async def test_who_is_a_little_slower_is_waited_for() -> None:
    """Ten readers of which one needs a tenth longer: all have all of it, and nobody is cut."""
    reads = await share(5000, *[0.0] * 9, 0.0011)
    assert {(read.size, read.broke) for read in reads} == {(5000 * len(PIECE), "")}


@pytest.mark.parametrize("every_s", [0.002, 0.01, 1.0, 1000.0])
@simulated
async def test_who_is_much_slower_delays_the_others_by_a_quarter_at_the_most(every_s: float) -> None:
    """However slow one reader is, it is cut before the others take a quarter longer (and 0.3 s) than without it."""
    pieces = 3000
    *others, slow = await share(pieces, *[0.0] * 9, every_s)
    assert {(read.size, read.broke) for read in others} == {(pieces * len(PIECE), "")}
    assert slow.broke == "the reader was too slow"
    assert max(read.done_ms for read in others) <= (pieces + PATIENCE_S * 1000) / (1 - PATIENCE_SHARE) + 5


@simulated
async def test_a_reader_alone_takes_its_time() -> None:
    """One reader is never cut: its sender is paused until it has caught up."""
    (read,) = await share(50, 0.1)
    assert (read.size, read.broke) == (50 * len(PIECE), "")
    assert read.done_ms >= 5000


@simulated
async def test_when_the_fast_one_leaves_the_slow_one_goes_on() -> None:
    """A reader that was waited for is alone now: nothing is due to be cut any more."""
    sender = Sender()
    fast, slow = sender.relay.open(), sender.relay.open()
    reading = Read(fast)
    for _ in range(WINDOW // len(PIECE) + 2):
        sender.relay.push(PIECE)
        await CLOCK.sleep(0.001)
    assert sender.paused
    fast.close()
    reading.task.cancel()
    await CLOCK.sleep(10.0)
    late = Read(slow)
    sender.relay.finish()
    await asyncio.wait([late.task, reading.task])
    assert (late.size, late.broke) == ((WINDOW // len(PIECE) + 2) * len(PIECE), "")


def offered() -> tuple[Broadcast, deque[str]]:
    """Return a relay whose beginning is offered, and what was said of that."""
    relay, said = Broadcast(lambda pause: None, lambda: None), deque[str]()
    relay.open()
    relay.offer(lambda: said.append("over"))
    return relay, said


@simulated
async def test_the_beginning_is_kept_until_there_is_too_much_of_it() -> None:
    """A body on offer can be opened anew though its readers are past the beginning; then it is let go of, once."""
    relay, said = offered()
    first = relay._readers[0]
    relay.push(b"x" * PREFIX)
    assert await first.read()
    second = relay.open()
    assert (await second.read(), len(said)) == (b"x" * PREFIX, 0)
    relay.push(b"y")
    relay.push(b"z")
    assert list(said) == ["over"]
    with pytest.raises(BrokenBody, match="beginning"):
        relay.open()
    assert [await first.read(), await first.read()] == [b"y", b"z"]


@pytest.mark.parametrize("how", ["finish", "break_off", "leave"])
@simulated
async def test_an_offer_ends_with_its_body(how: str) -> None:
    """Whole, broken or read by nobody: what has ended is offered to nobody."""
    relay, said = offered()
    relay.push(b"x")
    match how:
        case "finish":
            relay.finish()
        case "break_off":
            relay.break_off("why")
        case _:
            relay._readers[0].close()
    assert list(said) == ["over"]


@simulated
async def test_what_is_over_already_is_not_offered() -> None:
    """A body that has ended, or is long past its beginning, says so at once."""
    ended, _ = offered()
    ended.finish()
    long, _ = offered()
    long.push(b"x" * (PREFIX + 1))
    for relay in (ended, long):
        said: list[str] = []
        relay.offer(lambda said=said: said.append("over"))  # type: ignore[misc]
        assert said == ["over"]


@simulated
async def test_a_withdrawn_offer_keeps_nothing_and_says_nothing() -> None:
    """A write sealed it: the beginning goes as soon as its readers have it."""
    relay, said = offered()
    relay.push(b"x")
    await relay._readers[0].read()
    relay.withdraw()
    assert not relay._pieces
    relay.finish()
    assert not said


def collecting(limit: int) -> tuple[Sender, list[object]]:
    """Return a sender whose body is collected, and what comes of that."""
    sender, told = Sender(), list[object]()
    sender.relay.collect(limit, lambda body, trailers: told.append((body, trailers)))
    return sender, told


@simulated
async def test_a_body_is_collected_beside_its_reader() -> None:
    """All of it, with its trailers, told once; the reader has it too."""
    sender, told = collecting(100)
    reader = sender.relay.open()
    for piece in (b"one", b"two"):
        sender.relay.push(piece)
        assert await reader.read() == piece
    sender.relay.finish(((b"Checksum", b"1"),))
    assert await reader.read() == b""
    assert told == [(b"onetwo", ((b"Checksum", b"1"),))]


@simulated
async def test_a_body_is_collected_though_its_reader_leaves() -> None:
    """The client is gone, and its sender goes on, unpaused, to the end: who repeats the request gets the answer."""
    sender, told = collecting(HIGH_WATER * 8)
    reader = sender.relay.open()
    sending = asyncio.get_running_loop().create_task(sender.send(20))
    assert await reader.read() == PIECE
    reader.close()
    await sending
    assert told == [(PIECE * 20, ())]
    assert (sender.deserted, sender.paused) == (0, False)


@simulated
async def test_what_is_too_large_is_not_read_for_nobody() -> None:
    """Past the limit nobody wants it: its sender is told so, as if there had been no collection."""
    sender, told = collecting(len(PIECE) * 3)
    reader = sender.relay.open()
    reader.close()
    for _ in range(4):
        sender.relay.push(PIECE)
    await CLOCK.sleep(0)
    assert told == [(Lost.TOO_LARGE, ())]
    assert (sender.deserted, sender.relay.ended) == (1, True)


@simulated
async def test_what_is_too_large_is_its_readers_all_the_same() -> None:
    """The limit ends the collection, not the answer."""
    sender, told = collecting(4)
    reader = sender.relay.open()
    for piece in (b"one", b"two"):
        sender.relay.push(piece)
    sender.relay.finish()
    assert [await reader.read() for _ in range(3)] == [b"one", b"two", b""]
    assert told == [(Lost.TOO_LARGE, ())]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("end", "what"), [("finish", b"x"), ("break_off", Lost.BROKEN)])
@simulated
async def test_a_collection_ends_with_its_body(when: str, end: str, what: object) -> None:
    """Whole or broken; one that has ended is told of at once."""
    relay, told = Broadcast(lambda pause: None, lambda: None), list[object]()
    relay.push(b"x")
    if when == "before":
        relay.collect(9, lambda body, trailers: told.append(body))
        assert told == []
    relay.finish() if end == "finish" else relay.break_off("why")
    if when == "after":
        relay.collect(9, lambda body, trailers: told.append(body))
    assert told == [what]


@simulated
async def test_what_nobody_may_be_given_is_still_collected() -> None:
    """Its client left before the head was here: it is not discarded while it is collected."""
    sender, told = collecting(9)
    sender.relay.push(b"x")
    sender.relay.discard()
    sender.relay.finish()
    assert told == [(b"x", ())]
    assert sender.deserted == 0


async def test_small_pieces_weigh_what_they_take() -> None:
    """A sender of single bytes is paused by what its pieces take: before, at 65,536 of them."""
    paced: list[bool] = []
    relay = Broadcast(paced.append, lambda: None)
    reader = relay.open()
    while not paced:
        relay.push(b"x")
    assert relay.pushed < 2_000
    assert relay.held <= HIGH_WATER + OVERHEAD + 1
    while paced == [True]:
        await reader.read()
    assert relay.pushed - reader.taken > 100


async def test_a_beginning_in_small_pieces_is_kept_within_bounds() -> None:
    """What is kept for newcomers is bounded in pieces too."""
    relay, said = Broadcast(lambda pause: None, lambda: None), list[None]()
    relay.open()
    relay.offer(lambda: said.append(None))
    for _ in range(PREFIX_PIECES):
        relay.push(b"x")
    assert said == []
    relay.push(b"x")
    assert said == [None]
