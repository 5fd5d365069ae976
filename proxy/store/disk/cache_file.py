"""One SQLite file of rows. A commit is on the disk when it returns; no method may run on the event loop.

SQLite, through the standard library: the interpreter has it, it is the most tested file format there is, and a row at
a time is all that is needed. A key-value library (LMDB, RocksDB) would be one more dependency, without `secure_delete`.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from math import isfinite
from pathlib import Path

from proxy.store.disk.disk_changes import Change, Clear, Expire, Kind, Put, Remove, RemoveKind, RemoveSubject, Row
from proxy.store.disk.sealing import Seal, UnreadableError

FORMAT = 1  # of the rows and their content; a newer file is refused
_NEVER = 9e18  # an `until` that has no end, as a number that SQL can compare
_SYNCHRONOUS = "FULL"  # each commit is synced before it returns
_SETTINGS = (
    "PRAGMA locking_mode = EXCLUSIVE",  # before WAL: there is no -shm file then
    "PRAGMA journal_mode = WAL",
    f"PRAGMA synchronous = {_SYNCHRONOUS}",
    "PRAGMA secure_delete = ON",  # what is deleted is overwritten with zeros
    "PRAGMA temp_store = MEMORY",  # no other file ever has content
    "PRAGMA trusted_schema = OFF",
    "PRAGMA journal_size_limit = 8388608",
)
_SCHEMA = (
    "CREATE TABLE rows (id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, name BLOB NOT NULL,"
    " subject BLOB NOT NULL, until REAL NOT NULL, value BLOB NOT NULL, UNIQUE (kind, name))",
    "CREATE INDEX of_subject ON rows (subject) WHERE subject != x''",
    "CREATE INDEX by_time ON rows (until)",
    "CREATE TABLE facts (name TEXT PRIMARY KEY, value BLOB NOT NULL)",
    f"PRAGMA user_version = {FORMAT}",
)
_PUT = "INSERT OR REPLACE INTO rows (kind, name, subject, until, value) VALUES (?, ?, ?, ?, ?)"


class NewerError(Exception):
    """A newer version of this program wrote the file."""


class DamagedError(Exception):
    """The file is not what it was written as."""


class CacheFile:
    """The open file. One thread at a time uses it."""

    def __init__(self, path: Path) -> None:
        """Open or make the file. Raise NewerError, DamagedError, or sqlite3.Error for a disk that refuses."""
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.0)
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if _is_damage(error):
                raise DamagedError(str(error)) from None
            raise
        except BaseException:
            self._db.close()
            raise

    def _open(self) -> None:
        for setting in _SETTINGS:
            self._db.execute(setting)
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise NewerError(f"format {version}; this version reads {FORMAT}")
        tables = {name for (name,) in self._db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        if not tables:
            self._in_one(lambda: [self._db.execute(statement) for statement in _SCHEMA])
        elif version != FORMAT or not {"rows", "facts"} <= tables:
            raise DamagedError("it is not a file of this program")
        (state,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if state != "ok":
            raise DamagedError(str(state))

    def fact(self, name: str) -> bytes | None:
        """Return a fact about the file. Raise DamagedError."""
        try:
            found = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        except sqlite3.DatabaseError as error:
            raise DamagedError(str(error)) from None
        return None if found is None else bytes(found[0])

    def state_fact(self, name: str, value: bytes) -> None:
        """Commit a fact about the file."""
        self._in_one(lambda: self._state(name, value))

    def rows(self, seal: Seal) -> tuple[list[Row], int]:
        """Return every row, the newest last, and how many have an older key. Raise DamagedError."""
        found, older = list[Row](), 0
        try:
            read = self._db.execute("SELECT kind, name, subject, until, value FROM rows ORDER BY id")
            for kind, name, subject, until, value in read:
                row, newest = _row(seal, Kind(kind), bytes(name), bytes(subject), float(until), bytes(value))
                found.append(row)
                older += not newest
        except (sqlite3.DatabaseError, ValueError, TypeError) as error:
            raise DamagedError(str(error)) from None
        return found, older

    def apply(self, changes: Iterable[Change], seal: Seal, facts: Sequence[tuple[str, bytes]] = ()) -> None:
        """Commit changes and facts together. Raise sqlite3.Error; then none of them is made."""

        def make() -> None:
            for change in changes:
                self._change(change, seal)
            for name, value in facts:
                self._state(name, value)

        self._in_one(make)

    def truncate(self) -> None:
        """Leave nothing in the WAL: what was deleted is then in no file. Raise sqlite3.Error."""
        busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the WAL is in use")

    def close(self) -> None:
        """Close the file; its WAL is merged into it."""
        self._db.close()

    def _change(self, change: Change, seal: Seal) -> None:
        match change:
            case Put(kind, name, until, _, pack, subject):
                value = seal.seal(place(kind, name, subject), pack())
                at = until if isfinite(until) else _NEVER
                self._db.execute(_PUT, (kind.value, name, subject, at, value))
            case Remove(kind, name):
                self._db.execute("DELETE FROM rows WHERE kind = ? AND name = ?", (kind.value, name))
            case RemoveKind(kind):
                self._db.execute("DELETE FROM rows WHERE kind = ?", (kind.value,))
            case RemoveSubject(kind, subject):
                self._db.execute("DELETE FROM rows WHERE kind = ? AND subject = ?", (kind.value, subject))
            case Expire(wall):
                self._db.execute("DELETE FROM rows WHERE until <= ?", (wall,))
            case Clear():
                self._db.execute("DELETE FROM rows")

    def _state(self, name: str, value: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO facts (name, value) VALUES (?, ?)", (name, value))

    def _in_one(self, make: Callable[[], object]) -> None:
        run = self._db.execute
        run("BEGIN IMMEDIATE")
        try:
            make()
            run("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # SQLite ends it itself for some errors, such as a full disk
                run("ROLLBACK")
            raise


def place(kind: Kind, name: bytes, subject: bytes) -> bytes:
    """Return what is authenticated with a row's content: where it stands."""
    return b"\0".join((kind.value.encode(), name, subject))


def _row(seal: Seal, kind: Kind, name: bytes, subject: bytes, until: float, value: bytes) -> tuple[Row, bool]:
    try:
        content, newest = seal.unseal(place(kind, name, subject), value)
    except UnreadableError:
        return Row(kind, name, subject, until, None), True
    return Row(kind, name, subject, until, content), newest


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell whether the file itself is wrong, and not the disk or its permissions."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
