"""The durable store: memory answers, and a folder has what the next process needs.

Durable before a response goes out: that a write made something old, a logout, a used key and its response. Not awaited:
the cached responses themselves.
"""

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import structlog

from proxy.clock import Clock
from proxy.config.settings import StoreTable as StoreSettings
from proxy.exchange.ports import Claims, Replicas, Store
from proxy.policy.invalidation import Invalidations
from proxy.runtime.threads import in_daemon_thread
from proxy.store.disk.disk_changes import Change, Expire, Kind, RemoveSubject
from proxy.store.disk.disk_claims import DiskClaims
from proxy.store.disk.disk_invalidations import DiskInvalidations
from proxy.store.disk.disk_marks import DiskMarks
from proxy.store.disk.disk_opening import Opened, open_folder, when_text
from proxy.store.disk.disk_responses import DiskResponses
from proxy.store.disk.disk_writer import ChangeQueue, Disk, DiskWriter
from proxy.store.disk.scope_names import ScopeNames
from proxy.store.disk.sealing import KEY_BYTES, Names
from proxy.store.disk.steady_clock import SteadyClock
from proxy.store.erased import Erased
from proxy.store.local_claims import LocalClaims

SWEEP_S = 10.0
ERASE_WITHIN_S = 60.0
log = structlog.get_logger("backstay.store")


class DiskBundle:
    """A store in this process with a folder that outlives it."""

    def __init__(self, settings: StoreSettings, clock: Clock, on_error: Callable[[str], None]) -> None:
        self._path = Path(settings.url.removeprefix("sqlite://"))
        self._key_file = settings.key_file
        self._within_s = settings.sync_timeout
        self._on_error = on_error
        self._names = ScopeNames(Names(bytes(KEY_BYTES)))  # until the file says otherwise
        self._steady = SteadyClock(clock)
        self.clock: Clock = self._steady
        bounds = settings.max_entries, settings.max_bytes
        self._responses = DiskResponses(self._steady, bounds, self._names, self._submit)
        self._marks = DiskMarks(self._steady.wall)
        self._claims = DiskClaims(LocalClaims(clock, *bounds), self._names, self._steady, self._within_s)
        invalidations = DiskInvalidations(self._responses, self._marks, self._names, self._submit_mark)
        invalidations.when_owners_dropped = self._erase_callers
        self.invalidations: Invalidations = invalidations
        self.responses: Store = self._responses
        self.claims: Claims = self._claims
        self.replicas: Replicas | None = self
        self._last_mark = 0  # the number of the group of the newest mark or removal
        self._opened: Opened | None = None
        self._writer: ChangeQueue | None = None
        self._sweeper: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Open the folder and take over what it has. Raise StartError."""
        opening = partial(open_folder, self._path, self._key_file, when_text())
        opened = self._opened = await in_daemon_thread(opening)
        disk = Disk(opened.file, opened.seal, opened.folder)
        self.begin(opened, DiskWriter(disk, self.high_water, self.everything, self._on_error))
        log.info(
            "store_opened", folder=str(self._path), responses=len(self._responses.index), claims=len(opened.claims),
            encrypted=opened.seal.encrypts,
        )  # fmt: skip
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)

    def begin(self, opened: Opened, writer: ChangeQueue) -> None:
        """Take over what an earlier process left, and write changes from now on."""
        self._names.use(opened.names)
        if opened.high_water is not None:
            self._steady.go_on_from(opened.high_water)
        self._writer = self._claims.writer = writer
        self._responses.is_up = lambda: writer.up
        self._submit(self._take_over(opened), True)

    @property
    def waiting(self) -> int:
        """Return how many commits wait for the disk."""
        return 0 if self._writer is None else self._writer.waiting

    async def flushed(self) -> None:
        """Wait until every mark and every removal is durable, or the whole file is void; at most `sync_timeout`."""
        if self._writer is not None and self._last_mark:
            await self._writer.durable(self._last_mark, self._within_s)

    def shed(self) -> None:
        """Drop cached responses. Used keys stay, because forgetting one could execute it twice."""
        self._responses.shed()

    def make_room(self, most: int) -> None:
        """Reduce responses of either kind to `most` bytes; the heaviest holders' are dropped first."""
        self._responses.make_room(most)
        self._claims.make_room(most)

    async def erase(self, subject: str) -> Erased:
        """Erase every response of a subject, here and in every file of the folder, the WAL included."""
        names = self._responses.index.of([self._names.subject(subject)])
        self.invalidations.drop_subject(subject)
        claims = self._claims.erase_subject(subject)
        digest = self._names.subject(subject)
        rest: list[Change] = [RemoveSubject(Kind.RESPONSE, digest), RemoveSubject(Kind.CLAIM, digest)]
        complete = self._writer is not None
        if self._writer is not None:
            number = self._writer.submit(rest, truncates=True)
            complete = await self._writer.durable(number, ERASE_WITHIN_S)
        return Erased(len(names), len(claims), complete=complete)

    def on_erasure_elsewhere(self, call: Callable[[str], object]) -> None:
        """Do nothing: there are no other replicas."""

    async def close(self) -> None:
        """Commit what waits, and release the folder."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        ended = True
        if self._writer is not None:
            ended = await self._writer.close()
        if self._opened is not None and ended:
            self._opened.close()
        self._opened = self._writer = self._claims.writer = None

    def _take_over(self, opened: Opened) -> list[Change]:
        """Take over the rows that no write has made old; return the changes that remove the others."""
        old = self._marks.restore(opened.marks)
        changes = list[Change]()
        for kept in opened.responses:
            changes += self._responses.restore(kept)
        changes += self._responses.take(self._responses.index.of(old))
        changes += self._marks.close(old)
        for claim in opened.claims:
            self._claims.restore(claim)
        for row in opened.damaged_claims:
            self._claims.restore_damaged(row.name, row.until)
        opened.responses.clear()
        return changes

    def everything(self) -> list[Change]:
        """Return the changes that write all of this to an empty file."""
        return [*self._responses.everything(), *self._marks.everything(), *self._claims.everything()]

    def high_water(self) -> float:
        """Return the highest time so far, in wall seconds."""
        return self._steady.high_water

    def _submit(self, changes: list[Change], urgent: bool) -> None:
        if self._writer is not None and changes:
            self._writer.submit(changes, urgent=urgent)

    def _submit_mark(self, changes: list[Change], awaited: bool) -> None:
        if self._writer is not None:
            number = self._writer.submit(changes)
            if awaited:
                self._last_mark = number

    def _erase_callers(self, owners: Iterable[bytes]) -> None:
        """Erase the replayed responses of a session that ended; the response to that waits for it."""
        self._claims.erase_callers(owners)
        if self._writer is not None:
            self._last_mark = self._writer.last

    def _sweep(self) -> None:
        """Remove what has expired, and truncate the WAL, so that nothing that was removed stays in a file."""
        high_water = self.high_water()
        self._marks.forget_old()
        self._claims.sweep()
        changes: list[Change] = [*self._responses.sweep(high_water), Expire(high_water)]
        if self._writer is not None:
            self._writer.submit(changes, urgent=False, truncates=True)
        self._sweeper = asyncio.get_running_loop().call_later(SWEEP_S, self._sweep)
