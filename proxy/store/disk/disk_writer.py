"""The only thread that writes the cache file: changes wait in a bounded queue and are committed in groups.

WORKING --a commit fails, or the queue is full--> VOID --the disk takes a commit--> REFILLING --> WORKING
                                                      <----------a commit fails-----------

VOID: a change is lost, so the epoch file tells the next start to trust nothing. Changes are refused. REFILLING: the
file is emptied and gets everything that this process knows, in one commit; then it is trusted again.
"""

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol

import structlog

from proxy.runtime.threads import in_daemon_thread
from proxy.store.disk.cache_file import CacheFile
from proxy.store.disk.disk_changes import Change, Clear, weight
from proxy.store.disk.folder import StoreFolder
from proxy.store.disk.sealing import Seal

MOST_CHANGES = 20_000  # that wait for the disk
MOST_BYTES = 32 * 1024 * 1024
GROUP = 500  # changes of one commit, about 15 ms
GATHER_S = 0.02  # seconds; changes that nobody waits for are gathered for so long
TRY_AGAIN_S = 1.0
CLOSE_WITHIN_S = 5.0
CLOCK = "clock"  # the fact that has the highest wall time in seconds
log = structlog.get_logger("backstay.store")
_FAILURES = (sqlite3.Error, OSError)


class DiskState(Enum):
    """Whether changes reach the disk."""

    WORKING = "working"
    VOID = "void"
    REFILLING = "refilling"


class Group(NamedTuple):
    """Changes that are committed together; `number` counts groups.

    `wall` is the highest time so far. `truncates`: afterwards nothing that was deleted is in any file. `refills`: it
    states everything anew.
    """

    number: int
    changes: Sequence[Change]
    bytes: int
    wall: float
    truncates: bool = False
    refills: bool = False


class Taken(NamedTuple):
    """What the thread took from the queue: groups for one commit, or the number of the last group that is `lost`."""

    groups: list[Group]
    lost: int = 0
    closing: bool = False


class Disk(NamedTuple):
    """The file, how its rows are sealed, and its folder: the writer's thread alone uses them."""

    file: CacheFile
    seal: Seal
    folder: StoreFolder


class ChangeQueue(Protocol):
    """Where changes go on their way to the disk."""

    @property
    def up(self) -> bool:
        """Tell whether changes reach the disk, as far as is known."""
        ...

    @property
    def last(self) -> int:
        """Return the number of the newest group."""
        ...

    @property
    def waiting(self) -> int:
        """Return how many groups are not on the disk."""
        ...

    def submit(self, changes: Sequence[Change], *, urgent: bool = True, truncates: bool = False) -> int:
        """Queue changes for one commit; return their number for `durable`. `urgent`: somebody waits for them."""
        ...

    async def durable(self, number: int, within_s: float) -> bool:
        """Wait until the group is durable, or the file is void; tell whether it is durable. False after `within_s`."""
        ...

    async def close(self) -> bool:
        """Commit what waits, and end; tell whether it ended within some seconds."""
        ...


class DiskWriter:
    """Make changes durable. Every public method is called on the event loop, and none of them blocks it."""

    def __init__(
        self,
        disk: Disk,
        high_water: Callable[[], float],
        everything: Callable[[], list[Change]],
        on_error: Callable[[str], None],
    ) -> None:
        """Take the disk, and callbacks: the highest time so far, everything to be kept, and a count of failures."""
        self._disk = disk
        self._high_water = high_water
        self._everything = everything
        self._on_error = on_error
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._queue: deque[Group] = deque()  # with the lock, as what follows
        self._queued = self._queued_bytes = 0
        self._urgent = self._full = self._closing = False
        self._numbers = 0  # of groups; only the loop's thread changes what follows
        self._finished = 0
        self._up = True
        self._waiting: list[tuple[int, asyncio.Future[bool]]] = []
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    @property
    def up(self) -> bool:
        """Tell whether changes reach the disk, as far as is known."""
        return self._up

    def submit(
        self, changes: Sequence[Change], *, urgent: bool = True, truncates: bool = False, refills: bool = False
    ) -> int:
        """Queue changes for one commit; return their number for `durable`. `urgent`: somebody waits for them.

        Changes beyond the bounds are lost if they are not urgent. If they are, the whole file is no longer trusted.
        """
        size, wall = weight(changes), self._high_water()
        with self._lock:
            full = self._queued + len(changes) > MOST_CHANGES or self._queued_bytes + size > MOST_BYTES
            if full and not refills and not urgent:
                return self._finished
            self._numbers += 1
            if full and not refills:
                self._full = True
            else:
                self._queue.append(Group(self._numbers, changes, size, wall, truncates, refills))
                self._queued += len(changes)
                self._queued_bytes += size
            if urgent and not self._urgent:
                self._urgent = True
                self._lock.notify()
            elif len(self._queue) == 1:
                self._lock.notify()
        return self._numbers

    async def durable(self, number: int, within_s: float) -> bool:
        """Wait until the group is durable, or the file is void; tell whether it is durable. False after `within_s`."""
        if number <= self._finished:
            return self._up
        done: asyncio.Future[bool] = self._loop.create_future()
        self._waiting.append((number, done))
        timer = self._loop.call_later(within_s, self._late, done)
        try:
            return await done
        finally:
            timer.cancel()

    @property
    def last(self) -> int:
        """Return the number of the newest group."""
        return self._numbers

    @property
    def waiting(self) -> int:
        """Return how many groups are not on the disk."""
        return self._numbers - self._finished

    async def close(self) -> bool:
        """Commit what waits, and end the thread; tell whether it ended within some seconds."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        await in_daemon_thread(partial(self._thread.join, CLOSE_WITHIN_S))
        return not self._thread.is_alive()

    def _late(self, done: "asyncio.Future[bool]") -> None:
        if not done.done():
            self.failed("sync")
            done.set_result(False)

    def _settle(self, number: int, up: bool) -> None:
        """Resolve who waits for groups up to this one."""
        self._finished, self._up = max(self._finished, number), up
        settled = [done for at, done in self._waiting if at <= number]
        self._waiting = [(at, done) for at, done in self._waiting if at > number]
        for done in settled:
            if not done.done():
                done.set_result(up)

    def _lost(self, number: int) -> None:
        """Tell who waits that changes up to this group are lost, and that the file is void."""
        self.failed("commit")
        self._settle(number, up=False)

    def failed(self, operation: str) -> None:
        """Count a failure."""
        self._on_error(operation)

    def _refill(self) -> None:
        """Queue everything that this process keeps, in one commit."""
        self.submit([Clear(), *self._everything()], refills=True)

    # in the thread

    def _run(self) -> None:
        state = DiskState.WORKING
        while True:
            taken = self._take(state)
            if taken.lost:
                state = self._fail(state, sqlite3.OperationalError("more changes wait than may"), taken.lost)
            elif state is not DiskState.WORKING:
                state = self._recover(state, taken.groups)
            elif taken.groups:
                state = self._commit(state, taken.groups)
            if taken.closing and not taken.groups:
                return

    def _take(self, state: DiskState) -> Taken:
        """Wait for groups, and return as many as one commit has."""
        with self._lock:
            if not self._queue and not self._closing and not self._full:
                self._lock.wait(None if state is DiskState.WORKING else TRY_AGAIN_S)
            if self._queue and not self._urgent and not self._closing:
                self._lock.wait(GATHER_S)
            if self._full:
                self._queue.clear()
                self._queued = self._queued_bytes = 0
                self._full = self._urgent = False
                return Taken([], lost=self._numbers)
            groups, count = list[Group](), 0
            while self._queue and (not groups or count + len(self._queue[0].changes) <= GROUP):
                groups.append(self._queue.popleft())
                count += len(groups[-1].changes)
                self._queued_bytes -= groups[-1].bytes
            self._queued -= count
            self._urgent = self._urgent and bool(self._queue)
            return Taken(groups, closing=self._closing)

    def _commit(self, state: DiskState, groups: list[Group]) -> DiskState:
        try:
            self._apply(groups)
        except _FAILURES as error:
            return self._fail(state, error, groups[-1].number)
        self._tell(self._settle, groups[-1].number, True)
        return DiskState.WORKING

    def _apply(self, groups: list[Group]) -> None:
        disk = self._disk
        changes = [change for group in groups for change in group.changes]
        disk.file.apply(changes, disk.seal, ((CLOCK, f"{groups[-1].wall:.3f}".encode()),))
        if any(group.truncates for group in groups):
            disk.file.truncate()
            disk.folder.erase_aside()

    def _recover(self, state: DiskState, groups: list[Group]) -> DiskState:
        """Refuse changes until the disk takes a commit, then let the loop state everything anew."""
        at = next((n for n, group in enumerate(groups) if group.refills), None)
        if at is None:
            if groups:
                self._tell(self._settle, groups[-1].number, False)
            if state is DiskState.VOID and self._works():
                self._tell(self._refill)
                return DiskState.REFILLING
            return state
        try:
            self._apply(groups[at:])
            self._disk.folder.trust()
        except _FAILURES as error:
            return self._fail(state, error, groups[-1].number)
        log.info("store_up", detail="the file has again everything that is kept")
        self._tell(self._settle, groups[-1].number, True)
        return DiskState.WORKING

    def _works(self) -> bool:
        try:
            self._disk.file.apply((), self._disk.seal, (("probe", b""),))
        except _FAILURES:
            return False
        return True

    def _fail(self, state: DiskState, error: Exception, number: int) -> DiskState:
        """Void the file for the next start, before anybody is told that a change is lost."""
        cure = "free some space, or check the disk; responses are kept in memory meanwhile"
        try:
            self._disk.folder.void()
        except OSError as worse:
            cure = f"the epoch file cannot be written either ({worse.strerror}): remove cache.db before the next start"
        if state is DiskState.WORKING:
            log.error("store_down", error=str(error), folder=str(self._disk.folder.path), cure=cure)
        self._tell(self._lost, number)
        return DiskState.VOID

    def _tell(self, call: Callable[..., object], *arguments: object) -> None:
        try:
            self._loop.call_soon_threadsafe(call, *arguments)
        except RuntimeError:  # the loop is closed: the process ends
            log.debug("store_unheard", detail="the loop has ended")
