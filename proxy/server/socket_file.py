"""The file of a listening Unix socket: replaced only if its process has ended, removed only by its process."""

import errno
import fcntl
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.errors import StartError

BACKLOG = 2048
_LOCK_STEP_S = 0.02
_LOCK_STEPS = 250  # 5 s: a start holds the lock for well under a millisecond


class SocketFile:
    """One listening socket in the file system. `mode` applies to its file before the first connection.

    `setting` is the name of the setting that configures it.
    """

    def __init__(self, path: str, mode: int | None = None, setting: str = "listen.address") -> None:
        self._path = Path(path)
        self._mode = mode
        self._setting = setting
        self._made: os.stat_result | None = None

    def open(self) -> socket.socket:
        """Return the listening socket; blocking. Raise StartError, also if another process listens, or OSError.

        A lock makes check and bind atomic among processes that start in this folder: each could mistake the other's
        socket for that of a dead process.
        """
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _alone_in(self._path.parent, self._setting):
                self._clear()
                self._listen(listening)
        except BaseException:
            listening.close()
            raise
        return listening

    def remove(self) -> None:
        """Remove the file, unless another process has replaced it."""
        made, self._made = self._made, None
        try:
            if made is not None and os.path.samestat(made, self._path.lstat()):
                self._path.unlink()
        except OSError:  # already removed, or the folder is read-only: the next start removes it
            return

    def _listen(self, listening: socket.socket) -> None:
        listening.bind(str(self._path))
        self._made = self._path.lstat()
        if self._mode is not None:
            self._path.chmod(self._mode)
        listening.listen(BACKLOG)

    def _clear(self) -> None:
        """Remove the socket of a dead process. Raise StartError for any other file."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise StartError(f"{self._refused()}: the file is not a socket: remove it, or set another address")
        if not _is_dead(self._path):
            raise StartError(f"{self._refused()}: another process listens there: stop it, or set another address")
        self._path.unlink()

    def _refused(self) -> str:
        return f"cannot listen on unix:{self._path} ({self._setting})"


def _is_dead(path: Path) -> bool:
    """Tell whether no process listens on a socket: only a refused connection proves it."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) == errno.ECONNREFUSED


@contextmanager
def _alone_in(folder: Path, setting: str) -> Iterator[None]:
    """Lock a folder; continue without a lock if the folder is not readable."""
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        yield
        return
    try:
        _lock(held, folder, setting)
        yield
    finally:
        os.close(held)


def _lock(held: int, folder: Path, setting: str) -> None:
    for _ in range(_LOCK_STEPS):
        try:
            return fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            threading.Event().wait(_LOCK_STEP_S)
    raise StartError(f"cannot listen in {folder} ({setting}): another process keeps the folder locked")
