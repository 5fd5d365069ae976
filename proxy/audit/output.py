"""Where the lines go: a file that one writer holds, or standard output. Every call may block: never on the loop."""

import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Protocol

from proxy.audit.chain import GENESIS
from proxy.audit.recovery import Recovered, recover
from proxy.errors import StartError

_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class Output(Protocol):
    """A place for bytes. Every method but `open` raises OSError and may be tried again."""

    def open(self) -> Recovered:
        """Get ready, and return where the chain goes on; raises StartError with the cure."""
        ...

    def follow(self) -> None:
        """Make the next write go where readers look: called between batches, never inside a line."""
        ...

    def write(self, data: memoryview) -> int:
        """Return how many bytes were taken, which may be fewer than given."""
        ...

    def sync(self) -> None:
        """Return once everything written survives the machine."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class StandardOutput:
    """Lines for whoever runs the process to keep: nothing to lock, recover or fsync."""

    __slots__ = ()

    def open(self) -> Recovered:
        return Recovered(GENESIS, 0)

    def follow(self) -> None:
        """Stay: standard output does not move."""

    def write(self, data: memoryview) -> int:
        return os.write(1, data)

    def sync(self) -> None:
        """Leave durability to the reader of the pipe."""

    def close(self) -> None:
        """Leave it open: it is the process's, not ours."""


class TrailFile:
    """One audit file, mode 0600, locked against a second writer. A device such as /dev/null is only written to."""

    __slots__ = ("_fd", "_path", "_regular")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._regular = True

    def __repr__(self) -> str:
        return f"<TrailFile {self._path} fd={self._fd}>"

    def open(self) -> Recovered:
        try:
            return self._open()
        except OSError as error:
            raise StartError(f"audit trail {self._path}: {_cure(error)}") from error

    def follow(self) -> None:
        """Open the path anew where the file was renamed or deleted, so that nothing is written out of sight.

        One `stat` a batch (1 µs). The chain goes on in the new file; rotation by rename needs nothing more.
        """
        if self._regular and not self._in_place():
            fd = _open_locked(self._path)
            old, self._fd = self._fd, fd
            _finish(old)

    def write(self, data: memoryview) -> int:
        return os.write(self._fd, data)

    def sync(self) -> None:
        if self._regular:
            os.fsync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self) -> Recovered:
        self._regular = _is_regular(self._path)
        if not self._regular:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            return Recovered(GENESIS, 0)
        self._fd = _open_locked(self._path)
        try:
            return recover(self._fd, self._path)
        except BaseException:
            self.close()
            raise

    def _in_place(self) -> bool:
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False
        return os.path.samestat(named, os.fstat(self._fd))


def _is_regular(path: Path) -> bool:
    """Tell a file (or a free name) from a character device; refuse the rest, which cannot hold a trail."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return True
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode) and not stat.S_ISCHR(mode):
        raise StartError(f"audit trail {path}: neither a file nor a device: set audit.path to a file, or to -")
    return stat.S_ISREG(mode)


def _open_locked(path: Path) -> int:
    fd = os.open(path, _FLAGS, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _finish(fd: int) -> None:
    """Put a file that has been left behind on disk, and let go of it and its lock."""
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
    reason = error.strerror or str(error)
    return _CURES.get(error.errno or 0, f"{reason}: set audit.path to a file that can be written")
