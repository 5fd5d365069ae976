"""The one thread that writes and fsyncs. It gets batches of bytes and encodes nothing, so it hardly holds the GIL."""

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from proxy.audit.output import Output
from proxy.clock import Clock

_RETRY_S = 0.1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Batch:
    """Whole lines, and how many of the caller's records they carry."""

    lines: bytes
    records: int


@dataclass(frozen=True, slots=True)
class Written:
    """What became of a batch: on file after `seconds`, or given up for good."""

    records: int
    seconds: float
    kept: bool


@dataclass(frozen=True, slots=True)
class _Flush:
    done: Callable[[], None]


@dataclass(frozen=True, slots=True)
class _Stop:
    done: Callable[[], None]


_Job = Batch | _Flush | _Stop


class Writer:
    """Write batches in order, fsync at most every `fsync_s`, and hold on to a batch until the disk takes it.

    A batch is already a part of the chain, so none is ever skipped: a failing disk holds up the queue, whose bound
    turns what follows into a gap. Only a stop in the middle of a failure gives up, and then on all that is left.
    `report` is called in this thread.
    """

    def __init__(self, output: Output, clock: Clock, fsync_s: float, report: Callable[[Written], None]) -> None:
        self._output = output
        self._clock = clock
        self._fsync_s = fsync_s
        self._report = report
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._sync_due: float | None = None
        self._failing = False
        self._given_up = False

    def start(self) -> None:
        """Begin; the thread is a daemon, so that a crash of the loop does not hang the process."""
        threading.Thread(target=self._run, name="audit-writer", daemon=True).start()

    def submit(self, batch: Batch) -> None:
        """Queue a batch."""
        self._jobs.put(batch)

    def flush(self, done: Callable[[], None]) -> None:
        """Call `done`, in this thread, once everything queued so far is fsynced."""
        self._jobs.put(_Flush(done))

    def stop(self, done: Callable[[], None]) -> None:
        """Write what is queued, fsync, end the thread and call `done`; a disk that still refuses is not waited for."""
        self._jobs.put(_Stop(done))
        self._stopping.set()

    def _run(self) -> None:
        while True:
            match self._next():
                case Batch() as batch:
                    self._write(batch)
                case _Flush(done):
                    self._sync()
                    done()
                case _Stop(done):
                    self._sync()
                    self._output.close()
                    return done()
                case None:
                    self._sync_once()

    def _next(self) -> _Job | None:
        """Return the next job, or None when the fsync is due first."""
        if self._sync_due is None:
            return self._jobs.get()
        wait = self._sync_due - self._clock.now()
        try:
            return self._jobs.get(timeout=wait) if wait > 0 else None
        except queue.Empty:
            return None

    def _write(self, batch: Batch) -> None:
        began = self._clock.now()
        kept = not self._given_up and self._keep_trying(_Lines(self._output, batch.lines).write)
        self._given_up = not kept
        now = self._clock.now()
        if kept and self._sync_due is None:
            self._sync_due = now + self._fsync_s
        self._report(Written(batch.records, now - began, kept))

    def _sync(self) -> None:
        if self._sync_due is not None and self._keep_trying(self._output.sync):
            self._sync_due = None

    def _sync_once(self) -> None:
        """Try the fsync that is due; after a failure the next one is a whole interval away, and batches go on."""
        self._sync_due = None if self._try(self._output.sync) else self._clock.now() + self._fsync_s

    def _keep_trying(self, act: Callable[[], None]) -> bool:
        """Return True once `act` has worked, False if the writer was stopped and one last try failed too."""
        while not self._try(act):
            if self._stopping.is_set():
                return False
            self._stopping.wait(_RETRY_S)
        return True

    def _try(self, act: Callable[[], None]) -> bool:
        """Tell whether `act` worked; a failure is logged when it begins and when it ends, not each time."""
        try:
            act()
        except OSError as error:
            if not self._failing:
                log.error("audit_write_failed", output=repr(self._output), error=str(error))
            self._failing = True
            return False
        if self._failing:
            log.warning("audit_write_recovered", output=repr(self._output))
        self._failing = False
        return True


class _Lines:
    """The rest of a batch: after a short write or a failure, writing goes on at the first byte not taken."""

    __slots__ = ("_output", "_rest", "_whole")

    def __init__(self, output: Output, lines: bytes) -> None:
        self._output = output
        self._whole = len(lines)
        self._rest = memoryview(lines)

    def write(self) -> None:
        if len(self._rest) == self._whole:
            self._output.follow()
        while self._rest:
            self._rest = self._rest[self._output.write(self._rest) :]
