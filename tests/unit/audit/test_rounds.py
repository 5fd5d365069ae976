"""Group commit: waiters share the fsync that begins after they came, never one that is running."""

import asyncio
from collections.abc import Callable

from proxy.audit.rounds import Rounds
from tests.simulation.virtual import VirtualClock, simulated


class Disk:
    """A disk whose flushes end when the test says so."""

    def __init__(self) -> None:
        self.running: list[Callable[[bool], object]] = []
        self.begun = 0

    def flush(self, done: Callable[[bool], None]) -> None:
        """Begin a flush."""
        self.begun += 1
        self.running.append(done)

    async def end(self, durable: bool = True) -> None:
        """End the running flush, and let the loop turn."""
        self.running.pop()(durable)
        await VirtualClock().sleep(0.001)


@simulated
async def test_who_comes_during_an_fsync_waits_for_the_next() -> None:
    """Its record may have been written after that fsync began."""
    disk, told = Disk(), list[tuple[str, bool]]()
    rounds = Rounds(disk.flush)
    for name in ("first", "second"):
        rounds.add(lambda durable, name=name: told.append((name, durable)), 60.0)  # type: ignore[misc]
    await VirtualClock().sleep(0.001)
    rounds.add(lambda durable: told.append(("late", durable)), 60.0)
    assert disk.begun == 1
    await disk.end()
    assert told == [("first", True), ("second", True)]
    assert disk.begun == 2
    await disk.end(durable=False)
    assert told[2:] == [("late", False)]
    assert not disk.running


@simulated
async def test_a_wait_ends_at_its_limit_and_is_told_once() -> None:
    """A flush that ends later tells nothing."""
    disk, told = Disk(), list[bool]()
    rounds = Rounds(disk.flush)
    rounds.add(told.append, 0.5)
    await VirtualClock().sleep(0.6)
    assert told == [False]
    await disk.end()
    assert told == [False]


@simulated
async def test_a_disk_that_fails_ends_every_wait() -> None:
    """Of those whose flush runs and of those behind it; a closed log begins no other flush."""
    disk, told = Disk(), list[bool]()
    rounds = Rounds(disk.flush)
    rounds.add(told.append, 60.0)
    await VirtualClock().sleep(0.001)
    rounds.add(told.append, 60.0)
    rounds.close()
    rounds.refuse()
    assert told == [False, False]
    await disk.end()
    assert (told, disk.begun) == ([False, False], 1)
    assert len(asyncio.all_tasks()) == 1
