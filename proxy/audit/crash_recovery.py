"""Find where the chain continues after a restart: after the last complete record; an unfinished line is set aside."""

import os
from dataclasses import dataclass
from pathlib import Path

from proxy.audit.chain import (
    GENESIS,
    MAX_LINE,
    START,
    VERSION,
    ChainLink,
    parse_link,
)
from proxy.audit.files import TrailError, lines, trails
from proxy.audit.own_file import open_own
from proxy.errors import StartError

_WINDOW = 2 * MAX_LINE  # bytes read from the end: one complete line of maximum length and an unfinished one


@dataclass(frozen=True, slots=True)
class RecoveredEnd:
    """The last complete record, and the size in bytes of an unfinished line that was set aside."""

    last: ChainLink
    torn_bytes: int


def recover(fd: int, path: Path) -> RecoveredEnd:
    """Return where the chain continues, after moving an unfinished last line to `<path>.torn`.

    A damaged line with a newline is evidence and is left for the verifier. Raise StartError for a file that is no audit
    trail or of a newer version, and OSError.
    """
    size = os.fstat(fd).st_size
    end = os.pread(fd, _WINDOW, max(0, size - _WINDOW))
    whole, newline, torn = end.rpartition(b"\n")
    last = _last_link(whole + newline)
    if last is None and (newline or size > _WINDOW or not _begins_a_line(torn)):
        raise StartError(f"audit trail {path}: it holds no audit records: move it away, or set another audit.path")
    if last is not None and last.version > VERSION:
        raise StartError(f"audit trail {path}: written by a newer version: run that version, or set another audit.path")
    if torn:
        _set_aside(fd, path, torn, keep=size - len(torn))
    return RecoveredEnd(last or GENESIS, len(torn))


def recover_rotated(path: Path, found: RecoveredEnd) -> RecoveredEnd:
    """Return where the chain continues if the file has no record: after the newest rotated file.

    A crash between the rename and the first line causes this, and so does a rotation while the sidecar was stopped.
    """
    try:
        (trail,) = trails(path)
        older = [file for file in trail.files if file != path and (file.suffix == ".gz" or file.stat().st_size)]
        return _after(older[-1], found) if older else found
    except TrailError as error:
        raise StartError(f"audit trail {error}: move it away, or set another audit.path") from error


def _after(older: Path, found: RecoveredEnd) -> RecoveredEnd:
    if older.suffix == ".gz":
        links = (link for line in lines([older]) if (link := parse_link(line.data)))
        return RecoveredEnd(max(links, default=GENESIS), found.torn_bytes)
    fd = open_own(older, os.O_RDWR | os.O_APPEND)
    try:
        before = recover(fd, older)
    finally:
        os.close(fd)
    return RecoveredEnd(before.last, before.torn_bytes + found.torn_bytes)


def _last_link(whole: bytes) -> ChainLink | None:
    """Return the link of the last complete and unaltered line."""
    links = (parse_link(line + b"\n") for line in reversed(whole.split(b"\n")))
    return next((link for link in links if link is not None), None)


def _begins_a_line(torn: bytes) -> bool:
    """Tell whether these bytes can start a trail's first line. An empty file can."""
    return torn.startswith(START) or START.startswith(torn)


def _set_aside(fd: int, path: Path, torn: bytes, *, keep: int) -> None:
    """Copy the unfinished bytes, then truncate: a crash in between duplicates them and never loses them."""
    aside = open_own(f"{path}.torn", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(aside, torn + b"\n")
        os.fsync(aside)
    finally:
        os.close(aside)
    os.ftruncate(fd, keep)
    os.fsync(fd)
