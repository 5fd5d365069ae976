"""The audit log's interface for the sidecar: append never waits and never raises, and every loss is counted.

Records are encoded and hashed on the event loop in small batches, because an encoding thread would compete for the
GIL (p99 7 ms instead of 3.5 ms); one thread writes the bytes. Invariant: appended = `records` + `gaps` + `queued`.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TypeVar

import orjson
import structlog

from proxy.audit.chain import Chain, ChainLink, timestamp
from proxy.audit.checkpoint import Checkpoints
from proxy.audit.files import TrailError
from proxy.audit.line_queue import LineQueue
from proxy.audit.log_rules import LogRules
from proxy.audit.newest import Newest
from proxy.audit.retention import Retention
from proxy.audit.rounds import Rounds
from proxy.audit.trail_end import Agreement, compare
from proxy.audit.trail_file import (
    Output,
    StandardOutput,
    TrailFile,
)
from proxy.audit.writer import (
    Batch,
    Hooks,
    Lines,
    TrailWriter,
    Written,
)
from proxy.clock import Clock
from proxy.runtime.threads import in_daemon_thread

_TURN = 512  # records chained in one loop iteration: about 1 ms, so that a burst delays no response
NOTE = "note"  # the field that distinguishes a note from a request's record

log = structlog.get_logger(__name__)
T = TypeVar("T")


class AuditLog:
    """Keep one chained record of every finished request. `on_write` gets the seconds of each written batch."""

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock,
        rules: LogRules,
        checkpoints: Checkpoints | None = None,
        on_write: Callable[[float], None] | None = None,
    ) -> None:
        self._rules = rules
        self.newest = Newest(self._rules.max_entries)  # JSON objects without the members of the chain
        self._retention = None if path is None else Retention(path, self._rules.keeping, self._announce)
        self._output = self._output_to(path, clock)
        self._clock = clock
        self._path = path
        self._checkpoints = checkpoints
        self._on_write = on_write
        self._writer = TrailWriter(self._output, clock, self._rules.fsync_s, self._hooks())
        self._chain = Chain()
        self._agreement: Agreement | None = None  # the comparison of the trail with its last checkpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._waiting = LineQueue()
        self._unrecorded = 0  # lost since the last gap record
        self._records = 0
        self._gaps = 0
        self._failing = False
        self._closing = False
        self._given_up = False
        self._rounds = Rounds(self._flush)

    def __repr__(self) -> str:
        return f"<AuditLog {self._output!r} records={self._records} gaps={self._gaps} queued={self.queued}>"

    def _output_to(self, path: Path | None, clock: Clock) -> Output:
        if path is None or self._retention is None:
            return StandardOutput()
        return TrailFile(path, self._rules.rotation, self._retention.wake, clock.wall)

    def _hooks(self) -> Hooks:
        written, trouble = partial(self._on_loop, self._on_written), partial(self._on_loop, self._on_trouble)
        if self._checkpoints is None:
            return Hooks(written, trouble)
        return Hooks(written, trouble, self._checkpoints.durable, self._checkpoints.rules.every)

    @property
    def records(self) -> int:
        """Return the number of written records."""
        return self._records

    @property
    def gaps(self) -> int:
        """Return the number of lost records."""
        return self._gaps

    @property
    def write_errors(self) -> int:
        """Return how many times the disk refused; a batch is tried again until it is written."""
        return self._writer.errors

    @property
    def queued(self) -> int:
        """Return the number of records that are not written yet."""
        return self._waiting.records

    async def start(self) -> None:
        """Open the trail, recover its end and start writing. Raise StartError."""
        recovered = await in_daemon_thread(self._output.open)
        self._agreement = await in_daemon_thread(partial(self._resumed, recovered.last))
        self._chain = Chain(recovered.last.hash, recovered.last.seq)
        self._loop = asyncio.get_running_loop()
        self._waiting.open(self._rules.queue_limit, self._rules.queue_size)
        self._writer.start(recovered.last)
        if self._retention is not None:
            self._retention.start()
        if recovered.torn_bytes:
            log.warning("audit_torn_line_set_aside", output=str(self._output), bytes=recovered.torn_bytes)
            self._submit_torn(recovered.torn_bytes)
        if self._agreement is not None and self._agreement.agrees is False:
            self.note({"ts": self._now(), NOTE: "checkpoint", "agrees": False, "detail": self._agreement.detail})

    def _submit_torn(self, size: int) -> None:
        line = self._chain.torn(self._now(), size)
        self._submit(Batch(line, 0, ChainLink(self._chain.seq, b"", self._chain.head)))

    def _submit(self, batch: Batch) -> None:
        self._waiting.hand_over(batch)
        self._writer.submit(batch)

    def _resumed(self, last: ChainLink) -> Agreement | None:
        """Continue the checkpoints, and compare the trail with the last one. Blocks. Raise StartError."""
        if self._checkpoints is None or self._path is None:
            return None
        claim = self._checkpoints.resume(last.seq)
        try:
            return compare(self._path, last, claim)
        except TrailError as error:
            return Agreement(None, str(error))

    def log_agreement(self) -> None:
        """Log the comparison with the last checkpoint; a contradiction is also written to the trail."""
        found = self._agreement
        if found is None:
            return
        report = log.error if found.agrees is False else log.warning if found.uncovered else log.info
        report("audit_trail_against_checkpoint", agrees=found.agrees, uncovered=found.uncovered, detail=found.detail)

    def append(self, fields: dict[str, object]) -> None:
        """Append a record; one that cannot be written as JSON is counted as lost."""
        document = _encoded(fields)
        if document is None:
            self._lose(1)
            self._arm()
        else:
            self.append_encoded(document)

    def append_encoded(self, document: bytes) -> None:
        """Append a record that is a JSON object already; 0.2 µs, on the event loop."""
        self.newest.append(document)
        if not self._waiting.take(document):
            self._lose(1)
        elif self._timer is None:
            self._arm()

    def note(self, fields: dict[str, object]) -> bool:
        """Append a line with a `note`, which is not counted as a record; return False if there is no room."""
        document = _encoded(fields)
        if document is None or not self._waiting.take_note(document):
            return False
        self._arm()
        return True

    def when_durable(self, on_result: Callable[[bool], None], within_s: float | None = None) -> None:
        """Call `on_result` on the loop once all appended lines are durable, or with False if that takes too long.

        The limit is `within_s` (default: `max_wait_s`); the call is immediate while the disk fails or a
        record is lost. Waiters share an fsync: waiters that arrive during an fsync share the next one.
        """
        if self._unrecorded or self._failing or not self._waiting.is_open:
            on_result(False)
            return
        self._rounds.add(
            on_result, self._rules.max_wait_s if within_s is None else min(within_s, self._rules.max_wait_s)
        )

    def reopen(self) -> None:
        """Switch to the file at the path now, without waiting for a record."""
        if self._waiting.is_open:
            self._writer.follow()

    async def flush(self) -> None:
        """Return once all appended lines are written and fsynced."""
        if self._waiting.is_open:
            await self._in_order(self._writer.flush)

    async def close(self) -> None:
        """Write and fsync the rest, and stop.

        Records that the disk does not accept within `close_s` are lost. They are counted, and recorded as a gap if the
        trail has room for a line.
        """
        if not self._waiting.is_open:
            return
        self._closing = True
        self._rounds.close()
        lost = self._gaps
        try:
            async with asyncio.timeout(self._rules.close_s):
                await self._finish()
        except TimeoutError:
            self._give_up()
        self._waiting.close()
        if self._gaps > lost:
            log.error("audit_records_lost", output=str(self._output), records=self._gaps - lost)

    async def _finish(self) -> None:
        succeeded = await self._in_order(self._writer.stop)
        if self._retention is not None:
            self._retention.stop()
        self._rounds.refuse()
        if not succeeded:
            succeeded = self._continue_behind(self._writer.end)
        while self._waiting or self._unrecorded:  # records may arrive during a flush
            batch = self._chained_batch(len(self._waiting))
            self._waiting.hand_over(batch)
            succeeded = succeeded and await in_daemon_thread(partial(self._last_words, batch))
            self._settle(batch, succeeded=succeeded)
            if not succeeded:
                self._unrecorded = 0  # the loss is counted, but cannot be recorded
        await in_daemon_thread(self._output.close)

    def _continue_behind(self, end: ChainLink | None) -> bool:
        """Continue the chain after the last written line; lines chained after it are lost. Return False if unknown."""
        if end is None:
            return False
        self._chain = Chain(end.hash, end.seq)
        return True

    def _give_up(self) -> None:
        """Abandon the thread with its batches: a pipe without a reader, or a hanging disk."""
        log.error("audit_close_gave_up", output=str(self._output), after_s=self._rules.close_s)
        self._given_up = True
        self._lose(self._waiting.give_up())
        self._rounds.refuse()

    def _last_words(self, batch: Batch) -> bool:
        lines = Lines(batch.lines)
        try:
            lines.write_to(self._output)
            self._output.sync()
            if self._checkpoints is not None:
                self._checkpoints.durable(batch.last)
        except OSError as error:
            log.error("audit_write_failed", output=str(self._output), error=str(error))
            self._output.drop(lines.taken)
            return False
        return True

    async def _in_order(self, ask: Callable[[Callable[[bool], object]], None]) -> bool:
        """Chain the waiting lines, call `ask` to queue a job after them, and return the job's result."""
        self._chain_all()
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        ask(partial(self._on_loop, partial(_resolve, done)))
        return await done

    def _flush(self, done: Callable[[bool], object]) -> None:
        self._chain_all()
        self._writer.flush(done)

    def _chain_all(self) -> None:
        while self._waiting or self._unrecorded:
            self._chain_turn()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _announce(self, fields: dict[str, object]) -> bool:
        """Append a note from another thread; return whether it is durable, and covered if there are checkpoints.

        A disk that takes longer than `max_wait_s` counts as failed.
        """
        durable: Future[bool] = Future()

        def note(fields: dict[str, object]) -> None:
            if not self._closing and self.note({"ts": self._now(), **fields}):
                self._chain_all()
                self._writer.flush(durable.set_result, covered=True)
            else:
                durable.set_result(False)

        try:
            return self._on_loop(note, fields) and durable.result(self._rules.max_wait_s)
        except TimeoutError:
            return False

    def _arm(self) -> None:
        """Schedule the next batch, unless the log is closing: then the thread accepts no more batches."""
        if self._timer is None and not self._closing:
            assert self._loop is not None
            self._timer = self._loop.call_later(self._rules.batch_s, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._chain_turn()
        if self._waiting:
            assert self._loop is not None
            self._timer = self._loop.call_soon(self._on_timer)

    def _chain_turn(self) -> None:
        """Chain the records of one loop iteration and the gap after them, and pass the lines on as one batch."""
        self._submit(self._chained_batch(min(len(self._waiting), _TURN)))

    def _chained_batch(self, count: int) -> Batch:
        """Return the next `count` lines, with the gap after them if no line is left."""
        gap = 0 if len(self._waiting) > count else self._unrecorded
        lines, records = self._waiting.take_batch(count, self._chain.append_encoded)
        if gap:
            lines.append(self._chain.gap(self._now(), gap))
            self._unrecorded = 0
        return Batch(b"".join(lines), records, ChainLink(self._chain.seq, b"", self._chain.head), gap)

    def _lose(self, records: int) -> None:
        self._gaps += records
        self._unrecorded += records

    def _on_loop(self, call: Callable[[T], None], word: T) -> bool:
        """Run `call(word)` on the loop, from another thread; return False if the loop is closed."""
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(call, word)
        except RuntimeError:
            return False
        return True

    def _on_written(self, written: Written) -> None:
        """Count a batch; once there is room after an overflow, write the gap record."""
        if self._given_up:
            return
        self._settle(written.batch, succeeded=written.succeeded)
        if written.succeeded and self._on_write is not None:
            self._on_write(written.seconds)
        if self._unrecorded and self._waiting.is_open:
            self._arm()

    def _settle(self, batch: Batch, *, succeeded: bool) -> None:
        self._waiting.settle(batch)
        if succeeded:
            self._records += batch.records
        else:
            self._lose(batch.records)
            self._unrecorded += batch.gap  # the batch's gap line is lost too

    def _on_trouble(self, failing: bool) -> None:
        """End all waits when the disk fails."""
        self._failing = failing
        if failing:
            self._rounds.refuse()

    def _now(self) -> str:
        return timestamp(self._clock.wall())


def _encoded(fields: dict[str, object]) -> bytes | None:
    try:
        return orjson.dumps(fields)
    except TypeError as error:
        log.error("audit_record_not_json", error=str(error), id=fields.get("id"))
        return None


def _resolve(done: asyncio.Future[bool], succeeded: bool) -> None:
    if not done.done():
        done.set_result(succeeded)
