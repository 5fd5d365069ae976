"""Open the folder of a durable store at a start: lock, epoch, file, key and rows. It blocks: use a thread."""

import sqlite3
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_bytes

import structlog

from proxy.errors import StartError
from proxy.store.disk.cache_file import CacheFile, DamagedError, NewerError
from proxy.store.disk.contents import KeptClaim, KeptResponse, OpenMark, read_claim, read_mark, read_response
from proxy.store.disk.disk_changes import Change, Kind, Put, Remove, RemoveKind, Row
from proxy.store.disk.disk_writer import CLOCK
from proxy.store.disk.folder import StoreFolder
from proxy.store.disk.sealing import KEY_BYTES, Names, Plain, Seal, UnreadableError, seal_of
from proxy.store.packing import Damaged

_NAMES = "names"  # the fact that has the key of the file's names; who can read it can read the rows
log = structlog.get_logger("backstay.store")


@dataclass(slots=True)
class Opened:
    """An open folder, and what an earlier process left in it."""

    folder: StoreFolder
    file: CacheFile
    seal: Seal
    names: Names
    high_water: float | None = None  # wall time in seconds
    responses: list[KeptResponse] = field(default_factory=list)
    claims: list[KeptClaim] = field(default_factory=list)
    marks: list[OpenMark] = field(default_factory=list)
    damaged_claims: list[Row] = field(default_factory=list)

    def close(self) -> None:
        """Release the file and the lock."""
        self.file.close()
        self.folder.close()


def open_folder(path: Path, key_file: str | None, when: str) -> Opened:
    """Return the open folder. Raise StartError, in one line that names the cure. `when` names what is set aside."""
    seal = seal_of(key_file)
    folder = StoreFolder(path)
    try:
        return _opened(folder, seal, when)
    except sqlite3.Error as error:
        folder.close()
        raise StartError(f"store.url: {folder.cache}: {error}: free some space, or check the disk") from None
    except OSError as error:
        folder.close()
        raise StartError(
            f"store.url: {error.filename or path}: {error.strerror}: check the disk and its owner"
        ) from None
    except BaseException:
        folder.close()
        raise


def _opened(folder: StoreFolder, seal: Seal, when: str) -> Opened:
    try:
        opened = _read(folder, seal)
    except DamagedError as damage:
        if not folder.cache.exists():
            raise
        aside = folder.set_aside(when)
        text = "cached responses and used keys of the last process are gone; DELETE /kept removes this file too"
        log.warning("store_set_aside", file=str(aside), damage=str(damage), detail=text)
        folder.trust()
        opened = _read(folder, seal)
    if not folder.trusted:
        begin_anew(opened)
    return opened


def _read(folder: StoreFolder, seal: Seal) -> Opened:
    """Open the file and read every row. Raise DamagedError or StartError."""
    new = not folder.cache.exists()
    folder.create_cache()
    file = _file(folder)
    try:
        folder.sync()
        names = _names(file, folder, seal)
        if names is None:
            file.close()
            folder.remove_cache()
            log.warning("store_discarded", file=str(folder.cache), detail="it was plain, and store.key_file is set")
            return _read(folder, seal)
        if new:
            folder.trust()
        clock = file.fact(CLOCK)
        opened = Opened(folder, file, seal, names, None if clock is None else float(clock))
        rows, older = file.rows(seal)
        take_rows(opened, rows)
        if older:
            _renew(opened, rows, older)
    except BaseException:
        file.close()
        raise
    return opened


def _file(folder: StoreFolder) -> CacheFile:
    try:
        return CacheFile(folder.cache)
    except NewerError as newer:
        cure = "use that version again, or move the file away"
        raise StartError(f"store.url: {folder.cache} was written by a newer version ({newer}): {cure}") from None


def _names(file: CacheFile, folder: StoreFolder, seal: Seal) -> Names | None:
    """Return the file's names; None for a plain file where a key is set, which proves nothing. Raise StartError."""
    sealed = file.fact(_NAMES)
    if sealed is None:
        key = token_bytes(KEY_BYTES)
        file.state_fact(_NAMES, seal.seal(_NAMES.encode(), key))
        return Names(key)
    try:
        key, newest = seal.unseal(_NAMES.encode(), sealed)
    except UnreadableError:
        if seal.encrypts and sealed.startswith(Plain().seal(b"", b"")):
            return None
        raise StartError(_no_key(folder, seal)) from None
    if not newest:
        file.state_fact(_NAMES, seal.seal(_NAMES.encode(), key))
    return Names(key)


def _no_key(folder: StoreFolder, seal: Seal) -> str:
    cure = f"put the key that it was written with into that file, or remove {folder.cache}"
    if seal.encrypts:
        return f"store.key_file: no key in it opens {folder.cache}: {cure}"
    return f"store.key_file: {folder.cache} is encrypted, and no key file is set: {cure}"


def take_rows(opened: Opened, rows: list[Row]) -> None:
    """Read the rows by their kind. A damaged mark may concern anything, so nothing that was cached is used then."""
    damaged, unusable = Counter[Kind](), list[Change]()
    for row in rows:
        try:
            match row.kind:
                case Kind.RESPONSE:
                    opened.responses.append(read_response(row, 0))
                case Kind.CLAIM:
                    opened.claims.append(read_claim(row))
                case Kind.MARK:
                    opened.marks.append(read_mark(row))
        except Damaged:
            damaged[row.kind] += 1
            if row.kind is Kind.CLAIM:
                opened.damaged_claims.append(row)
            else:
                unusable.append(Remove(row.kind, row.name))
    if damaged:
        counts = {f"{kind.value}s": count for kind, count in damaged.items()}
        log.warning("store_rows_damaged", **counts, file=str(opened.folder.cache), detail="they are not used")
    if Kind.MARK in damaged:  # before the row that says so is removed
        opened.folder.void()
    opened.file.apply(unusable, opened.seal)


def _renew(opened: Opened, rows: list[Row], older: int) -> None:
    """Encrypt every row with the newest key, so that an older one can be removed from the key file."""
    changes: list[Change] = [
        Put(row.kind, row.name, row.until, 0, partial(bytes, row.content), row.subject)
        for row in rows
        if row.content is not None
    ]
    opened.file.apply(changes, opened.seal)
    opened.file.truncate()
    log.info("store_key_renewed", rows=older, detail="older keys in store.key_file are not needed any more")


def begin_anew(opened: Opened) -> None:
    """Remove every cached response and mark: a write of the last process may be missing."""
    opened.file.apply([RemoveKind(Kind.RESPONSE), RemoveKind(Kind.MARK)], opened.seal)
    opened.file.truncate()
    log.warning(
        "store_void", responses=len(opened.responses), detail="the last process could not write down every write"
    )
    opened.responses.clear()
    opened.marks.clear()
    opened.folder.trust()


def when_text() -> str:
    """Return the present time for the name of a file."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime())
