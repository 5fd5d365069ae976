"""A disk in virtual time: commits take a while, may be refused, and outlive the process that a test kills."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import Any

from proxy.config.settings import StoreTable
from proxy.policy.coalescing import Flights
from proxy.store.disk.disk_bundle import DiskBundle
from proxy.store.disk.disk_changes import (
    Change,
    Clear,
    Expire,
    Kind,
    Put,
    Remove,
    RemoveKind,
    RemoveSubject,
    Row,
)
from proxy.store.disk.disk_opening import Opened, begin_anew, take_rows
from proxy.store.disk.sealing import KEY_BYTES, Names, Plain
from tests.simulation.virtual import VirtualClock

LONGEST_COMMIT_S = 0.04
TICK_S = 0.5  # how often the highest time is written down, in place of every 10 s


class SteppedClock(VirtualClock):
    """A clock whose wall time a test sets forwards and back."""

    def __init__(self) -> None:
        self.stepped_s = 0.0

    def wall(self) -> float:
        return super().wall() + self.stepped_s


class VirtualDisk:
    """What is on the disk. It has the methods of an open file and of a folder."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Kind, bytes], Row] = {}
        self.high_water: float | None = None
        self.trusted = True
        self.refuses = False
        self.cache = "virtual"

    def apply(self, changes: Iterable[Change], *_: Any) -> None:
        """Make changes."""
        for change in changes:
            self._change(change)

    def _change(self, change: Change) -> None:
        match change:
            case Put(kind, name, until, _, pack, subject):
                self.rows.pop((kind, name), None)
                self.rows[kind, name] = Row(kind, name, subject, until, pack())
            case Remove(kind, name):
                self.rows.pop((kind, name), None)
            case RemoveKind(kind):
                self._keep(lambda row: row.kind is not kind)
            case RemoveSubject(kind, subject):
                self._keep(lambda row: (row.kind, row.subject) != (kind, subject))
            case Expire(wall):
                self._keep(lambda row: row.until > wall)
            case Clear():
                self.rows.clear()

    def _keep(self, wanted: Callable[[Row], bool]) -> None:
        self.rows = {key: row for key, row in self.rows.items() if wanted(row)}

    def truncate(self) -> None:
        """Do nothing: nothing stays behind here."""

    def trust(self) -> None:
        """Trust what is there."""
        self.trusted = True

    def void(self) -> None:
        """Trust nothing that is cached."""
        self.trusted = False

    def opened(self) -> Opened:
        """Return what the next process finds."""
        opened = Opened(self, self, Plain(), Names(bytes(KEY_BYTES)), self.high_water)  # type: ignore[arg-type]
        take_rows(opened, list(self.rows.values()))
        if not self.trusted:
            begin_anew(opened)
        return opened


class VirtualWriter:
    """Commit each group after a random time, in order, until the process dies."""

    def __init__(self, disk: VirtualDisk, random: Random, bundle: DiskBundle) -> None:
        self._disk = disk
        self._random = random
        self._bundle = bundle
        self._queue: list[tuple[int, Sequence[Change], float]] = []
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._numbers = self._finished = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = asyncio.get_running_loop().call_later(TICK_S, self._tick)
        self.up = True

    @property
    def last(self) -> int:
        return self._numbers

    @property
    def waiting(self) -> int:
        return self._numbers - self._finished

    def submit(self, changes: Sequence[Change], *, urgent: bool = True, truncates: bool = False) -> int:
        self._numbers += 1
        self._queue.append((self._numbers, changes, self._bundle.high_water()))
        if self._timer is None:
            self._later()
        return self._numbers

    async def durable(self, number: int, within_s: float) -> bool:
        if number <= self._finished:
            return self.up
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((number, done))
        return await done

    async def close(self) -> bool:
        return True

    def die(self) -> None:
        """Let nothing more reach the disk."""
        self._ticks.cancel()
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(0, int)  # never again

    def _tick(self) -> None:
        """Write the time down, as the store's own sweep does."""
        self.submit([])
        self._ticks = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _later(self) -> None:
        took_s = self._random.uniform(0.001, LONGEST_COMMIT_S)
        self._timer = asyncio.get_running_loop().call_later(took_s, self._commit)

    def _commit(self) -> None:
        """Commit what waited when the time began, all of it or none; a disk that has recovered gets everything."""
        self._timer = None
        count = self._random.randint(1, len(self._queue))
        taken, self._queue = self._queue[:count], self._queue[count:]
        if self._disk.refuses:
            self._disk.void()
            self.up = False
        elif not self.up:
            self._queue.clear()
            self._finished = self._numbers
            self._disk.apply([Clear(), *self._bundle.everything()])
            self._disk.trust()
            self._disk.high_water = self._bundle.high_water()
            self.up = True
        else:
            for _, changes, wall in taken:
                self._disk.apply(changes)
                self._disk.high_water = wall
        self._settle(max(self._finished, taken[-1][0]))
        if self._queue:
            self._later()

    def _settle(self, number: int) -> None:
        self._finished = number
        for at, done in [each for each in self._waiting if each[0] <= number]:
            self._waiting.remove((at, done))
            if not done.done():
                done.set_result(self.up)


class Kept:
    """The store of one process on a virtual disk."""

    def __init__(self, disk: VirtualDisk, clock: SteppedClock, random: Random) -> None:
        self.bundle = DiskBundle(StoreTable(url="sqlite:///virtual"), clock, lambda operation: None)
        self.writer = VirtualWriter(disk, random, self.bundle)
        self.flights = Flights(self.bundle.invalidations)
        self.bundle.begin(disk.opened(), self.writer)
