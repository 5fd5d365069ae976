"""The file of a listening Unix socket: taken only where nobody listens, and removed by whoever made it."""

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
    """One listening socket in the file system. With `mode` its file has that mode from the first connection on.

    `setting` is the one that names it.
    """

    def __init__(self, path: str, mode: int | None = None, setting: str = "listen.address") -> None:
        self._path = Path(path)
        self._mode = mode
        self._setting = setting
        self._made: os.stat_result | None = None

    def open(self) -> socket.socket:
        """Return the listening socket; blocking. Raises StartError, also where somebody listens there, and OSError.

        Looking and binding are one step among all who start in this folder: two of them would each take the other's
        socket for one that a dead process left behind.
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
        """Remove the file, unless it is another one by now."""
        made, self._made = self._made, None
        try:
            if made is not None and os.path.samestat(made, self._path.lstat()):
                self._path.unlink()
        except OSError:  # gone already, or the folder is read-only by now: the next start clears it
            return

    def _listen(self, listening: socket.socket) -> None:
        listening.bind(str(self._path))
        self._made = self._path.lstat()
        if self._mode is not None:
            self._path.chmod(self._mode)
        listening.listen(BACKLOG)

    def _clear(self) -> None:
        """Remove a socket that nobody listens on any more; raise StartError for whatever else is there."""
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise StartError(f"{self._refused()}: the file is no socket: remove it, or set another address")
        if not _is_dead(self._path):
            raise StartError(f"{self._refused()}: another process listens there: stop it, or set another address")
        self._path.unlink()

    def _refused(self) -> str:
        return f"cannot listen on unix:{self._path} ({self._setting})"


def _is_dead(path: Path) -> bool:
    """Tell whether a socket belongs to nobody; whatever else than a refusal comes of asking, somebody is there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) == errno.ECONNREFUSED


@contextmanager
def _alone_in(folder: Path, setting: str) -> Iterator[None]:
    """Hold a lock on a folder; where it cannot be opened for reading, go on without."""
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
