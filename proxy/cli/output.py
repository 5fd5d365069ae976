"""Report that standard output cannot be written: the device is full, or the pipe has no reader.

Libraries hide or handle an OSError, so `OutputError` is not a subclass of it.
"""

import os
import sys
from io import BufferedWriter, FileIO, TextIOWrapper, UnsupportedOperation
from typing import TextIO

from proxy.cli.main import FAILED

READER_LEFT = 141  # 128 + SIGPIPE, the exit status in shells


class OutputError(Exception):
    """Standard output was not written; `reason` is empty if the reader has closed the pipe, as `head` does."""

    def __init__(self, error: OSError) -> None:
        left = isinstance(error, BrokenPipeError)
        self.status = READER_LEFT if left else FAILED
        self.reason = "" if left else f"standard output: {os.strerror(error.errno or 0)}"
        super().__init__(self.reason)


class _Guard(FileIO):
    """Write to the descriptor of the stream that it replaces."""

    def __init__(self, before: TextIO) -> None:
        super().__init__(before.fileno(), "w", closefd=False)
        self._before = before  # keeps the descriptor open: deleting the stream would close it


class _Output(_Guard):
    """Raise OutputError for the first failed write; discard all later writes."""

    _failed = False

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # any buffer, says typeshed
        if self._failed:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except OSError as error:
            self._failed = True
            raise OutputError(error) from error


class _Messages(_Guard):
    """Discard messages that cannot be written: the exit status still reports the result."""

    def write(self, data: "memoryview | bytes") -> int:  # type: ignore[override]  # any buffer, says typeshed
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def guard_standard_streams() -> None:
    """Replace `sys.stdout` and `sys.stderr` until the process ends, or until `run` begins to queue its output."""
    sys.stdout = _over(_Output, sys.stdout)
    sys.stderr = _over(_Messages, sys.stderr)


def _over(guard: type[_Guard], before: TextIO) -> TextIO:
    """Return a guarded stream with the encoding and buffering of `before`; return a stream in memory unchanged."""
    try:
        raw = guard(before)
    except UnsupportedOperation:
        return before
    return TextIOWrapper(
        BufferedWriter(raw), encoding=before.encoding, errors=before.errors,
        line_buffering=getattr(before, "line_buffering", False) or getattr(before, "write_through", False),
    )  # fmt: skip
