"""Open files that a setting or a command names. They must be regular files, so that no open or read blocks forever."""

import errno
import os
import stat
from io import FileIO

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_KINDS = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(path: str | os.PathLike[str], flags: int = 0) -> int:
    """Open a regular file for reading and return the descriptor; `flags` are additional, such as O_NOFOLLOW.

    Raise OSError with the path; for anything but a regular file `strerror` names the cure. The check uses the open
    descriptor, so the file cannot be exchanged meanwhile.
    """
    try:
        fd = os.open(path, _FLAGS | flags)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise _refused(path, stat.S_IFSOCK) from error
        raise
    try:
        mode = os.fstat(fd).st_mode
        if not stat.S_ISREG(mode):
            raise _refused(path, stat.S_IFMT(mode))
    except BaseException:
        os.close(fd)
        raise
    return fd


def opener(path: str, flags: int) -> int:
    """Return the descriptor of a regular file for `open(..., opener=opener)`. Raise OSError."""
    return open_regular(path, flags & os.O_NOFOLLOW)


def read_regular(path: str | os.PathLike[str], most: int) -> bytes:
    """Return the content of a regular file of at most `most` bytes. Raise OSError with the cure."""
    with FileIO(open_regular(path)) as file:
        content = bytearray()
        while len(content) <= most and (piece := file.read(most + 1 - len(content))):
            content += piece
    if len(content) > most:
        raise OSError(errno.EFBIG, f"is larger than {most} bytes: name another file", os.fspath(path))
    return bytes(content)


def check_regular(path: str | os.PathLike[str], most: int) -> None:
    """Raise OSError with the cure unless this is a regular file of at most `most` bytes that can be opened."""
    fd = open_regular(path)
    try:
        if os.fstat(fd).st_size > most:
            raise OSError(errno.EFBIG, f"is larger than {most} bytes: name another file", os.fspath(path))
    finally:
        os.close(fd)


def why_unreadable(error: OSError) -> str:
    """Return what follows the name of a file: `is a device, not a file: ...` or `cannot be read: ...`."""
    text = error.strerror or str(error)
    return text if text.startswith("is ") else f"cannot be read: {text}"


def _refused(path: str | os.PathLike[str], kind: int) -> OSError:
    if kind == stat.S_IFDIR:
        return IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path))
    what = _KINDS.get(kind, "something else")
    return OSError(errno.EINVAL, f"is {what}, not a file: name a regular file", os.fspath(path))
