"""The folder of a durable store: one process uses it, on a local disk. Its epoch file says whether to trust it."""

import errno
import fcntl
import os
from pathlib import Path

from proxy.errors import StartError

CACHE = "cache.db"
_LOCK, _EPOCH = "lock", "epoch"
_ASIDE = ".damaged-"  # cache.db.damaged-20261130T170000
_BESIDE = ("-wal", "-shm", "-journal")  # files that SQLite keeps beside its own
_TRUSTED, _VOID = b"trusted\n", b"void   \n"  # of one length: it is overwritten in place, which needs no room
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "lustre", "afs", "glusterfs", "beegfs", "fuse.ceph",
     "fuse.glusterfs", "fuse.sshfs", "fuse.s3fs"}
)  # fmt: skip
_PRIVATE = 0o600
_MOUNTS = Path("/proc/self/mountinfo")


class StoreFolder:
    """The folder, locked for this process until `close`."""

    def __init__(self, path: Path) -> None:
        """Create the folder if it is missing, and lock it. Raise StartError."""
        self.path = path
        self._lock = -1
        self._epoch = -1
        try:
            path.mkdir(mode=0o700, exist_ok=True)
            _refuse_network(path)
            self._lock = self._open(_LOCK)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._epoch = self._open(_EPOCH)
        except OSError as error:
            self.close()
            raise StartError(_unusable(path, error)) from None
        except StartError:
            self.close()
            raise

    @property
    def cache(self) -> Path:
        """Return the path of the file of cached responses, marks and claims."""
        return self.path / CACHE

    @property
    def trusted(self) -> bool:
        """Tell whether every write of the last process has reached the file."""
        return os.pread(self._epoch, len(_VOID), 0) == _TRUSTED

    def trust(self) -> None:
        """Say so. Raise OSError."""
        self._write(_TRUSTED)

    def void(self) -> None:
        """Invalidate the whole cache for the next start: a mark could not be written. Raise OSError.

        The file exists and is overwritten in place, so that a full disk does not prevent it. If even that fails it is
        removed, which means the same.
        """
        try:
            self._write(_VOID)
        except OSError:
            (self.path / _EPOCH).unlink(missing_ok=True)
            self.sync()

    def set_aside(self, when: str) -> Path:
        """Rename a damaged cache file, in place of one that was set aside before; return its new path."""
        self.erase_aside()
        aside = self.path / f"{CACHE}{_ASIDE}{when}"
        for ending in _BESIDE:
            (self.path / f"{CACHE}{ending}").unlink(missing_ok=True)
        self.cache.rename(aside)
        self.sync()
        return aside

    def remove_cache(self) -> None:
        """Remove the cache file and the files beside it."""
        for ending in ("", *_BESIDE):
            (self.path / f"{CACHE}{ending}").unlink(missing_ok=True)
        self.sync()

    def erase_aside(self) -> None:
        """Remove every file that was set aside: nobody can tell what is in it."""
        for file in self.path.glob(f"{CACHE}{_ASIDE}*"):
            file.unlink(missing_ok=True)

    def create_cache(self) -> None:
        """Create an empty cache file that only this user can read, unless there is one."""
        os.close(os.open(self.cache, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _PRIVATE))

    def close(self) -> None:
        """Release the lock."""
        for fd in (self._epoch, self._lock):
            if fd >= 0:
                os.close(fd)
        self._epoch = self._lock = -1

    def _open(self, name: str) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        return os.open(self.path / name, flags, _PRIVATE)

    def _write(self, content: bytes) -> None:
        os.pwrite(self._epoch, content, 0)
        os.fdatasync(self._epoch)
        if not os.fstat(self._epoch).st_nlink:  # it was removed: a file without a name says nothing to the next start
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path / _EPOCH))

    def sync(self) -> None:
        """Make it durable which files there are: a journal that SQLite has removed must not come back."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _unusable(path: Path, error: OSError) -> str:
    if isinstance(error, BlockingIOError):
        return f"store.url: another process uses {path}: give each process a folder of its own"
    name = error.filename or path
    return f"store.url: {name}: {error.strerror}: name a folder on a local disk that this user can write"


def _refuse_network(path: Path) -> None:
    kind = filesystem(path)
    if kind in _NETWORK:
        text = f"store.url: {path} is on a network file system ({kind}), whose locks and syncs cannot be relied on"
        raise StartError(f"{text}: name a folder on a local disk")


def filesystem(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the kind of the file system that a path is on, "" if it cannot be seen (proc(5), mountinfo)."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return ""
    found, longest, real = "", -1, path.resolve()
    for line in lines:
        own, _, rest = line.partition(" - ")
        point = Path(own.split(" ")[4].encode().decode("unicode_escape"))
        if real.is_relative_to(point) and len(point.parts) >= longest:  # a later mount covers an earlier one
            found, longest = rest.split(" ")[0], len(point.parts)
    return found
