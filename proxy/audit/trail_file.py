"""Outputs for the lines: a locked file, or standard output. Every call may block: never call it on the loop."""

import errno
import fcntl
import os
import re
import select
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from proxy.audit.chain import GENESIS
from proxy.audit.crash_recovery import RecoveredEnd, recover, recover_rotated
from proxy.audit.own_file import NotOwnError, open_own
from proxy.clock import SystemClock
from proxy.errors import StartError

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT
_FIRST_TS = re.compile(rb'[^\n]{0,80}?"ts":"([^"]{20,32})"')


class Output(Protocol):
    """An output for bytes. Any method except `open` and `close` may raise OSError and can then be retried."""

    def open(self) -> RecoveredEnd:
        """Open the output and return where the chain continues. Raise StartError."""
        ...

    def moved(self) -> bool:
        """Tell whether the open file is no longer at the path: it was renamed or deleted."""
        ...

    def due(self) -> bool:
        """Tell whether the file is large or old enough to be rotated."""
        ...

    def rotate(self) -> None:
        """Rotate the file, after an fsync, and continue in a new one."""
        ...

    def reopen(self) -> None:
        """Continue in the file at the path, and close the previous one."""
        ...

    def write(self, data: memoryview) -> int:
        """Return how many bytes were written, perhaps fewer than given."""
        ...

    def sync(self) -> None:
        """Return once all written bytes are durable."""
        ...

    def rewind(self) -> None:
        """Undo all writes since the last sync."""
        ...

    def drop(self, size: int) -> bool:
        """Undo the last `size` bytes of a partial write; return False if that is impossible."""
        ...

    def close(self) -> None:
        """Close the output."""
        ...


class StandardOutput:
    """Standard output, whose reader stores the lines: no lock, recovery, rotation or fsync."""

    __slots__ = ()

    def __str__(self) -> str:
        return "standard output"

    def open(self) -> RecoveredEnd:
        if fcntl.fcntl(1, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise StartError("audit trail -: standard output is closed: open it, or set audit.path to a file")
        return RecoveredEnd(GENESIS, 0)

    def moved(self) -> bool:
        return False

    def due(self) -> bool:
        return False

    def rotate(self) -> None:
        """Do nothing: the reader rotates."""

    def reopen(self) -> None:
        """Do nothing: standard output does not move."""

    def write(self, data: memoryview) -> int:
        try:
            return os.write(1, data)
        except BlockingIOError:  # another process made the shared descriptor non-blocking
            waiting = select.poll()
            waiting.register(1, select.POLLOUT)
            waiting.poll()
            return 0

    def sync(self) -> None:
        """Do nothing: the reader is responsible for durability."""

    def rewind(self) -> None:
        """Do nothing: written bytes cannot be undone."""

    def drop(self, size: int) -> bool:
        return not size

    def close(self) -> None:
        """Leave standard output open: the process owns it."""


@dataclass(frozen=True, slots=True)
class RotationRules:
    """When to rotate: at a size in bytes, at an age in seconds, or never (None)."""

    size: int | None
    age_s: float | None


class TrailFile:
    """One audit file, mode 0600, with a lock file that excludes a second writer, also during rotation.

    A device such as /dev/null is only written to. `on_rotated` is called after each rotation by the sidecar.
    """

    __slots__ = ("_began", "_fd", "_lock", "_on_rotated", "_path", "_regular", "_rules", "_synced", "_wall")

    def __init__(
        self,
        path: Path,
        rules: RotationRules,
        on_rotated: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = SystemClock.wall,
    ) -> None:
        self._path = path
        self._rules = rules
        self._on_rotated = on_rotated
        self._wall = wall
        self._fd = self._lock = -1
        self._regular = True
        self._synced = 0  # bytes that the last sync covered
        self._began = 0.0  # wall time of the file's first record

    def __repr__(self) -> str:
        return f"<TrailFile {self._path} fd={self._fd}>"

    def __str__(self) -> str:
        return str(self._path)

    def open(self) -> RecoveredEnd:
        try:
            return self._open()
        except OSError as error:
            self.close()
            raise StartError(f"audit trail {self._path}: {_cure(error)}") from error
        except BaseException:
            self.close()
            raise

    def moved(self) -> bool:
        """Tell whether the file was replaced, with one `stat` per batch (1 µs): rotation by rename needs no signal."""
        if not self._regular:
            return False
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        return not os.path.samestat(named, os.fstat(self._fd))

    def due(self) -> bool:
        if not self._regular:
            return False
        size, age_s = os.fstat(self._fd).st_size, self._wall() - self._began
        too_big = self._rules.size is not None and size >= self._rules.size
        too_old = self._rules.age_s is not None and age_s >= self._rules.age_s
        return size > 0 and (too_big or too_old)

    def rotate(self) -> None:
        self._path.rename(rotated_name(self._path, self._wall()))
        self.reopen()
        self._on_rotated()

    def reopen(self) -> None:
        fd = open_own(self._path, _FLAGS)
        old, self._fd = self._fd, fd
        self._synced, self._began = os.fstat(fd).st_size, self._wall()
        os.close(old)
        _sync_folder(self._path.parent)

    def write(self, data: memoryview) -> int:
        return os.write(self._fd, data)

    def sync(self) -> None:
        if self._regular:
            os.fsync(self._fd)
            self._synced = os.fstat(self._fd).st_size

    def rewind(self) -> None:
        if self._regular:
            os.ftruncate(self._fd, self._synced)

    def drop(self, size: int) -> bool:
        if not size:
            return True
        try:
            os.ftruncate(self._fd, os.fstat(self._fd).st_size - size)
        except OSError:
            return False
        return True

    def close(self) -> None:
        for fd in (self._fd, self._lock):
            if fd >= 0:
                os.close(fd)
        self._fd = self._lock = -1

    def _open(self) -> RecoveredEnd:
        self._regular = _is_regular(self._path)
        if not self._regular:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            return RecoveredEnd(GENESIS, 0)
        self._lock = _locked(self._path.with_name(f"{self._path.name}.lock"))
        self._fd = open_own(self._path, _FLAGS)
        recovered = recover(self._fd, self._path)
        self._synced, self._began = os.fstat(self._fd).st_size, self._first_ts()
        _sync_folder(self._path.parent)
        return recovered if recovered.last.seq else recover_rotated(self._path, recovered)

    def _first_ts(self) -> float:
        """Return the wall time of the file's first record, so that the file's age continues across restarts."""
        first = _FIRST_TS.match(os.pread(self._fd, 256, 0))
        return datetime.fromisoformat(first[1].decode()).timestamp() if first else self._wall()


def rotated_name(path: Path, wall: float) -> Path:
    """Return a free name for a file rotated at this time, such as `audit.jsonl.20261123T153700.123456Z`."""
    second, micros = divmod(round(wall * 1e6), 1_000_000)
    while True:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(second))
        name = path.with_name(f"{path.name}.{stamp}.{micros:06d}Z")
        if not name.exists() and not name.with_name(f"{name.name}.gz").exists():
            return name
        micros += 1


def _is_regular(path: Path) -> bool:
    """Return True for a regular file or none, False for a character device. Raise StartError for anything else."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        raise StartError(f"audit trail {path}: neither a file nor a device: set audit.path to a file, or to -")
    return stat.S_ISREG(mode)


def _locked(path: Path) -> int:
    fd = open_own(path, _FLAGS)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _sync_folder(folder: Path) -> None:
    """Fsync a directory: otherwise a crash of the machine may lose a new file's name."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_CURES: dict[int, str] = {
    errno.EISDIR: "is a folder: set audit.path to a file in it",
    errno.ENOENT: "its folder does not exist: create it, or set another audit.path",
    errno.ENOTDIR: "its folder is a file: set another audit.path",
    errno.EACCES: "no permission to write it: change the owner or the mode, or set another audit.path",
    errno.EPERM: "no permission to write it: change the owner or the mode, or set another audit.path",
    errno.EROFS: "the file system is read-only: set audit.path to a writable one",
    errno.EWOULDBLOCK: "another writer has it locked: stop that one, or set another audit.path",
}


def _cure(error: OSError) -> str:
    if isinstance(error, NotOwnError):
        return error.strerror or ""
    reason = error.strerror or str(error)
    return _CURES.get(error.errno or 0, f"{reason}: set audit.path to a file that can be written")
