"""Open files of the trail safely: owned by the sidecar's user, private, and not through links."""

import errno
import os
import stat

PRIVATE = 0o600


class NotOwnError(OSError):
    """The file is a link or has another owner; `strerror` names the cure."""


def open_own(path: str | os.PathLike[str], flags: int, mode: int = PRIVATE) -> int:
    """Open or create a regular file of this user and set its mode; return the descriptor.

    Raise OSError, with a `strerror` that names the cure, for a symbolic link, a second hard link, another owner, or
    a file that is not regular. The check uses the open descriptor, so the file cannot be exchanged meanwhile.
    """
    try:
        fd = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotOwnError(errno.ELOOP, "is a symbolic link: name the file itself") from error
        raise
    try:
        _check(fd, mode)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check(fd: int, mode: int) -> None:
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        raise NotOwnError(errno.EINVAL, "is not a regular file: remove it, or name another one")
    if status.st_uid != os.geteuid():
        detail = f"belongs to user {status.st_uid}, not to user {os.geteuid()} that runs this: change its owner"
        raise NotOwnError(errno.EACCES, detail)
    if status.st_nlink > 1:
        raise NotOwnError(errno.EMLINK, "has a second name (hard link): remove the other name")
    if stat.S_IMODE(status.st_mode) != mode:
        os.fchmod(fd, mode)
