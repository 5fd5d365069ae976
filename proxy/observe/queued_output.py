"""Non-blocking standard output and error: a pipe without a reader must not block requests."""

import atexit
import io
import os
import select
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

LIMIT_BYTES = 1 << 20  # about 5,000 log lines
PATIENCE_S = 1.0  # seconds for which the exit of the process waits for a reader
_queued: list["QueuedOutput"] = []  # the replaced standard streams


class QueuedOutput(io.RawIOBase):
    """Queue at most `limit` bytes; a daemon thread writes them to the descriptor `fd`.

    Data beyond the limit or refused by the descriptor is dropped and counted by line. Once a write succeeds again
    and half of the limit is free, `on_recovery` gets the number of dropped lines, in that thread.
    """

    def __init__(
        self, fd: int, limit: int = LIMIT_BYTES, on_recovery: Callable[[int], None] = lambda lines: None
    ) -> None:
        super().__init__()
        self.dropped = 0  # lines in total
        self._fd = fd
        self._limit = limit
        self._on_recovery = on_recovery
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._size = 0  # bytes that the thread has not processed
        self._unreported = 0  # dropped lines that were not reported
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # any buffer, as in typeshed
        """Accept all of `data` or drop all of it; return its size in either case."""
        taken = bytes(data)
        with self._changed:
            if self._size + len(taken) > self._limit:
                self._drop(taken)
                return len(taken)
            self._size += len(taken)
            self._start()
        self._queue.put(taken)
        return len(taken)

    def drain(self, within_s: float = PATIENCE_S) -> bool:
        """Wait until all queued data is written or dropped; return False after `within_s` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._size, within_s)

    def _start(self) -> None:
        """Start the thread with the first write."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"output-{self._fd}", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            data = self._queue.get()
            if lost := self._settle(data, written=_write_all(self._fd, data)):
                self._on_recovery(lost)

    def _settle(self, data: bytes, *, written: bool) -> int:
        """Free the space of `data`; return how many dropped lines to report now."""
        with self._changed:
            self._size -= len(data)
            self._changed.notify_all()
            if not written:
                self._drop(data)
            if not written or self._size > self._limit // 2:
                return 0
            untold, self._unreported = self._unreported, 0
            return untold

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n") or 1
        self.dropped += lines
        self._unreported += lines


def queue_standard_streams(on_recovery: Callable[[int], None]) -> QueuedOutput:
    """Replace `sys.stdout` and `sys.stderr` until the process ends; return the stream of standard error.

    All prints, logs and warnings go through them.
    """
    out, error = QueuedOutput(1), QueuedOutput(2, on_recovery=on_recovery)
    sys.stdout, sys.stderr = as_text(out), as_text(error)
    _queued.extend((out, error))
    atexit.register(drain_standard_streams)
    return error


def drain_standard_streams() -> None:
    """Wait briefly for queued output, as the last step of the process."""
    for output in _queued:
        output.drain()


def as_text(raw: QueuedOutput) -> io.TextIOWrapper:
    """Return a line-buffered text stream over `raw`."""
    # `raw` has the methods that TextIOWrapper needs
    return io.TextIOWrapper(raw, "utf-8", "backslashreplace", line_buffering=True)  # type: ignore[arg-type]


def _write_all(fd: int, data: bytes) -> bool:
    """Write all of `data`, however long that takes; return False if the descriptor refuses."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # another process made the shared descriptor non-blocking
            _wait_until_writable(fd)
        except OSError:
            return False
    return True


def _wait_until_writable(fd: int) -> None:
    waiting = select.poll()
    waiting.register(fd, select.POLLOUT)
    waiting.poll()
