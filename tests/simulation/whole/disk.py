"""A simulated disk under real files: short writes, no room, slow and failing fsyncs, and what a power failure leaves.

The files are real ones in a folder of memory, so the product's readers and the verifier work on them as they are. What
the audit trail does to its files goes through `os`, which is replaced in its modules: the disk may refuse, delay or
shorten it, and knows which bytes and which names an fsync has made durable. A power failure puts the folder back to
that, plus a part of what was under way.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from tests.simulation.whole.loop import Process, this_process
from tests.simulation.whole.threads import all_of, pause_thread

MODULES = ("trail_file", "crash_recovery", "own_file", "checkpoint", "retention")  # of proxy.audit, that write


@dataclass
class _File:
    """One inode: what is durable, and which bytes a failed fsync has lost although they can still be read."""

    durable: bytes = b""
    lost: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class _Open:
    """One descriptor."""

    inode: int
    folder: bool


class Disk:
    """The disk of one host. `slow_s` is how long a write or an fsync takes, and the rest is what goes wrong."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder = folder
        self._random = random
        self.slow_s = 0.0
        self.full = False
        self.short = 0.0  # chance that a write takes only a part
        self.fails = 0.0  # chance that an fsync fails
        self._files: dict[int, _File] = {}
        self._names: dict[str, int] = {}  # that are durable
        self._open: dict[int, _Open] = {}

    def opened(self, fd: int, flags: int) -> None:
        """Note a descriptor."""
        status = os.fstat(fd)
        folder = bool(flags & os.O_DIRECTORY)
        self._open[fd] = _Open(status.st_ino, folder)
        if not folder and status.st_ino not in self._files:
            self._files[status.st_ino] = _File(os.pread(fd, status.st_size, 0) if flags & os.O_RDWR else b"")

    def write(self, fd: int, data: Any) -> int:
        """Write all, a part or nothing."""
        self._take_time()
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if len(data) > 1 and self._random.random() < self.short:
            data = data[: self._random.randint(1, len(data) - 1)]
        return os.write(fd, data)

    def fsync(self, fd: int) -> None:
        """Make bytes or names durable. After a failure the bytes can be read, and no later fsync writes them."""
        self._take_time()
        opened = self._open[fd]
        fails = self._random.random() < self.fails
        if opened.folder:
            if not fails:
                self._names = self._present()
        else:
            self._sync(fd, self._files[opened.inode], fails=fails)
        if fails:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    def _sync(self, fd: int, file: _File, *, fails: bool) -> None:
        size = os.fstat(fd).st_size
        if fails:
            file.lost.append((len(file.durable), size))
            return
        content = bytearray(_content(fd, size))
        for start, end in file.lost:
            content[start:end] = bytes(max(0, min(end, size) - start))
        file.durable = bytes(content)

    def truncate(self, fd: int, size: int) -> None:
        """Cut a file; what is written there anew is no longer lost."""
        os.ftruncate(fd, size)
        file = self._files[self._open[fd].inode]
        file.lost = [(start, min(end, size)) for start, end in file.lost if start < size]
        if len(file.durable) > size:
            file.durable = file.durable[:size]

    def close(self, fd: int) -> None:
        """Forget a descriptor."""
        self._open.pop(fd, None)
        os.close(fd)

    def _take_time(self) -> None:
        pause_thread(self.slow_s * self._random.random())

    def _present(self) -> dict[str, int]:
        return {entry.name: entry.stat().st_ino for entry in self.folder.iterdir()}

    def end_process(self) -> None:
        """Close what a killed process had open, and release its locks. Written bytes stay."""
        for fd in tuple(self._open):
            self.close(fd)

    def lose_power(self) -> None:
        """Keep what was durable, and a part of the rest."""
        names = self._names if self._random.random() < 0.5 else self._present()
        inodes = {inode: self._left_of(inode, path) for path, inode in self._present_paths().items()}
        left = {name: inodes.get(inode) or self._files[inode].durable for name, inode in names.items()}
        for path in tuple(self.folder.iterdir()):
            path.unlink()
        self._files.clear()
        self._names.clear()
        for name, content in left.items():
            path = self.folder / name
            path.touch(0o600)
            path.write_bytes(content)
            self._names[name] = path.stat().st_ino
            self._files[path.stat().st_ino] = _File(content)

    def _present_paths(self) -> dict[Path, int]:
        return {entry: entry.stat().st_ino for entry in self.folder.iterdir()}

    def _left_of(self, inode: int, path: Path) -> bytes:
        """Return what is left of a file: its durable bytes, and some of those that were appended since."""
        content, file = path.read_bytes(), self._files.get(inode)
        if file is None:  # not written through the trail's modules
            return content
        more = bytearray(content[len(file.durable) :])
        for start, end in file.lost:
            at = start - len(file.durable)
            more[max(0, at) : max(0, end - len(file.durable))] = bytes(max(0, end - max(start, len(file.durable))))
        return file.durable + bytes(more[: self._random.randint(0, len(more))])


def _content(fd: int, size: int) -> bytes:
    try:
        return os.pread(fd, size, 0)
    except OSError:  # opened to write only
        return Path(f"/proc/self/fd/{fd}").read_bytes()


class _Os:
    """`os` for the modules of the trail: what the disk decides goes to the disk of the process that runs."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def open(self, path: Any, flags: int, mode: int = 0o777) -> int:
        fd = os.open(path, flags, mode)
        _disk().opened(fd, flags)
        return fd

    def write(self, fd: int, data: Any) -> int:
        return _disk().write(fd, data)

    def fsync(self, fd: int) -> None:
        _disk().fsync(fd)

    def ftruncate(self, fd: int, size: int) -> None:
        _disk().truncate(fd, size)

    def close(self, fd: int) -> None:
        _disk().close(fd)


def _disk() -> Disk:
    disk = this_process().disk
    assert disk is not None, "this process has no disk"
    return disk


@contextmanager
def simulated_disks() -> Iterator[None]:
    """Let the modules of the audit trail use the simulated disks."""
    with all_of(patch(f"proxy.audit.{module}.os", _Os()) for module in MODULES):
        yield


def new_disk(folder: Path, random: Random, process: Process | None = None) -> Disk:
    """Return an empty disk."""
    folder.mkdir(parents=True)
    return Disk(folder, random)
