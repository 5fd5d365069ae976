"""The audit log as the rest of the sidecar sees it: append never waits, never raises, and nothing leaves it uncounted.

Records are encoded and hashed on the event loop in small batches, because a thread that encodes fights the loop for the
interpreter (p99 7 ms against 3.5 ms); one thread writes the bytes. appended = `records` + `gaps` + `queued`, always.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path

import structlog

from proxy.audit.chain import Chain, timestamp
from proxy.audit.output import Output, StandardOutput, TrailFile
from proxy.audit.writer import Batch, Writer, Written
from proxy.clock import Clock

_TURN = 512  # records sealed in one turn of the loop: about 1 ms, so that a burst delays no answer

log = structlog.get_logger(__name__)


class AuditLog:
    """Keep one chained record of every finished request.

    `batch_s`: how long a record may wait for others to be sealed with. `fsync_s`: the longest time between fsyncs.
    `queue_limit`: records held while the disk is slow or failing; more are counted and become one gap record.
    `max_entries`: how many of the newest records stay in memory. `on_write` gets the seconds each batch took.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        clock: Clock,
        queue_limit: int = 100_000,
        batch_s: float = 0.005,
        fsync_s: float = 1.0,
        max_entries: int = 10_000,
        on_write: Callable[[float], None] | None = None,
    ) -> None:
        self.newest: deque[dict[str, object]] = deque(maxlen=max_entries)
        self._output: Output = StandardOutput() if path is None else TrailFile(path)
        self._clock = clock
        self._queue_limit = queue_limit
        self._batch_s = batch_s
        self._on_write = on_write
        self._writer = Writer(self._output, clock, fsync_s, self._from_thread)
        self._chain = Chain()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._waiting: deque[dict[str, object]] = deque()
        self._limit = 0  # nothing is taken before the start and after the close
        self._handed = 0  # records in sealed batches that the thread still holds
        self._unrecorded = 0  # lost since the last gap record
        self._records = 0
        self._gaps = 0

    def __repr__(self) -> str:
        return f"<AuditLog {self._output!r} records={self._records} gaps={self._gaps} queued={self.queued}>"

    @property
    def records(self) -> int:
        """Return how many appended records have been written."""
        return self._records

    @property
    def gaps(self) -> int:
        """Return how many appended records were lost."""
        return self._gaps

    @property
    def queued(self) -> int:
        """Return how many appended records are on their way."""
        return len(self._waiting) + self._handed

    async def start(self) -> None:
        """Open the trail, recover its end and begin writing; raises StartError with one line for a person."""
        recovered = await asyncio.to_thread(self._output.open)
        self._chain = Chain(recovered.last.hash, recovered.last.seq)
        self._loop = asyncio.get_running_loop()
        self._limit = self._queue_limit
        self._writer.start()
        if recovered.torn_bytes:
            log.warning("audit_torn_line_set_aside", output=repr(self._output), bytes=recovered.torn_bytes)
            self._writer.submit(Batch(self._chain.torn(self._now(), recovered.torn_bytes), 0))

    def append(self, fields: dict[str, object]) -> None:
        """Take a finished request's record, which must not change from here on; 0.15 µs, on the event loop."""
        self.newest.append(fields)
        if len(self._waiting) + self._handed >= self._limit:
            self._lose(1)
            return
        self._waiting.append(fields)
        if self._timer is None:
            self._arm(self._batch_s)

    async def flush(self) -> None:
        """Return once everything appended so far is written and fsynced: as late as the disk allows.

        A durability mode that makes an answer wait for its record waits here, in company.
        """
        if self._limit:
            await self._in_order(self._writer.flush)

    async def close(self) -> None:
        """Write and fsync what is left and stop; what a failing disk refuses once more is lost, and counted."""
        if self._limit:
            self._limit = 0
            await self._in_order(self._writer.stop)

    async def _in_order(self, ask: Callable[[Callable[[], None]], None]) -> None:
        """Seal what waits, hand `ask` to the thread behind it, and return when the thread has done it."""
        loop = asyncio.get_running_loop()
        while self._waiting or self._unrecorded:
            self._seal_turn()
        self._disarm()
        done = loop.create_future()

        def tell_loop() -> None:
            loop.call_soon_threadsafe(_resolve, done)

        ask(tell_loop)
        await done

    def _arm(self, delay: float) -> None:
        assert self._loop is not None
        self._timer = self._loop.call_later(delay, self._on_timer)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self._timer = None
        self._seal_turn()
        if self._waiting:
            self._arm(0)

    def _seal_turn(self) -> None:
        """Seal one turn's records, then the gap behind them, and hand the lines over in one piece."""
        count = min(len(self._waiting), _TURN)
        lines = [line for _ in range(count) if (line := self._seal(self._waiting.popleft()))]
        records = len(lines)
        if self._unrecorded and not self._waiting:
            lines.append(self._chain.gap(self._now(), self._unrecorded))
            self._unrecorded = 0
        self._handed += records
        self._writer.submit(Batch(b"".join(lines), records))

    def _seal(self, fields: dict[str, object]) -> bytes | None:
        try:
            return self._chain.seal(fields)
        except TypeError as error:
            log.error("audit_record_not_json", error=str(error), id=fields.get("id"))
            self._lose(1)
            return None

    def _lose(self, records: int) -> None:
        self._gaps += records
        self._unrecorded += records

    def _from_thread(self, written: Written) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._on_written, written)

    def _on_written(self, written: Written) -> None:
        """Count a batch; the first room after an overflow is when the gap can be recorded."""
        self._handed -= written.records
        if written.kept:
            self._records += written.records
            if self._on_write is not None:
                self._on_write(written.seconds)
        else:
            self._lose(written.records)
        if self._unrecorded and self._limit and self._timer is None:
            self._arm(self._batch_s)

    def _now(self) -> str:
        return timestamp(self._clock.wall())


def _resolve(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)
