"""Find the files of a trail and read their lines: plain or gzipped, rotated or not, with constant memory."""

import gzip
import math
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import orjson

from proxy.audit.chain import MAX_LINE, VERSION, parse_link
from proxy.regular_file import opener

_ROTATED = re.compile(r"([.-]\d[\dTZ:._-]*)?")  # audit.jsonl.1, audit.jsonl-20261123.gz: a number, or a date
_OWN = re.compile(r"\.\d{8}T\d{6}\.\d{6}Z")  # names by the sidecar's own rotation: audit.jsonl.20261123T153700.123456Z
_SUFFIX = ".jsonl"  # of each trail in a directory


class TrailError(Exception):
    """Report in one line why a trail cannot be read."""


class NoTrailError(TrailError):
    """Report in one line that there is no trail at this path."""


@dataclass(frozen=True, slots=True)
class Trail:
    """One writer's files, oldest first, and the path that it writes to."""

    files: tuple[Path, ...]
    path: Path

    def first_seq(self, file: Path) -> float:
        """Return the number of a file's first complete record; infinity if it has none, as the newest may."""
        links = (parse_link(line.data) for line in lines([file]))
        return next((link.seq for link in links if link is not None), math.inf)


class TrailLine(NamedTuple):
    """The bytes of one line, with its newline if it has one, its file and its number (from 1)."""

    file: Path
    number: int
    data: bytes


class Record(NamedTuple):
    """The bytes and the fields of one line."""

    line: TrailLine
    fields: dict[str, object]


def trails(path: Path) -> list[Trail]:
    """Return the trail of a file with its rotated files, or every `*.jsonl` trail in a directory."""
    try:
        if path.is_dir():
            return _in_folder(path)
        path.stat()
        beside = (file for file in path.parent.iterdir() if _continues(file.name, path.name, _ROTATED))
        return [_trail(path, (file for file in beside if file.name == path.name or not file.is_symlink()))]
    except (FileNotFoundError, NotADirectoryError):
        raise NoTrailError(f"{path}: no such file or folder") from None
    except OSError as error:
        raise TrailError(f"{path}: {error.strerror}") from error


def put_aside(path: Path) -> list[Path]:
    """Return the files of the sidecar's own rotation, oldest first; their names contain the time."""
    beside = (file for file in path.parent.iterdir() if not file.is_symlink())
    found = (file for file in beside if _continues(file.name, path.name, _OWN))
    return _once(sorted(found, key=lambda file: file.name.removesuffix(".gz")))


def lines(files: Iterable[Path]) -> Iterator[TrailLine]:
    """Yield every line of these files in order; a longer line is yielded in pieces of MAX_LINE. Raise TrailError."""
    for file in files:
        with reading(file) as stream:
            pieces = iter(partial(stream.readline, MAX_LINE), b"")
            for number, data in enumerate(pieces, start=1):
                yield TrailLine(file, number, data)


def opened(file: Path) -> BinaryIO:
    """Open a regular file of lines, through gzip if it is named .gz or was compressed meanwhile. Raise OSError."""
    if file.suffix == ".gz":
        return cast(BinaryIO, _Unzipped(_plain(file)))
    try:
        return _plain(file)
    except FileNotFoundError:
        return cast(BinaryIO, _Unzipped(_plain(file.with_name(f"{file.name}.gz"))))


def _plain(file: Path) -> BinaryIO:
    return open(file, "rb", opener=opener)


class _Unzipped(gzip.GzipFile):
    """The content of an open gzip file; `close` also closes that file."""

    def __init__(self, packed: BinaryIO) -> None:
        super().__init__(fileobj=packed, mode="rb")
        self._packed = packed

    def close(self) -> None:
        super().close()
        self._packed.close()


@contextmanager
def reading(file: Path) -> Iterator[BinaryIO]:
    """Open a file of lines; convert its errors to TrailError."""
    try:
        with opened(file) as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        reason = str((error.strerror if isinstance(error, OSError) else None) or error)  # without number and path
        said = reason if reason.startswith("is ") else f"cannot be read to its end: {reason}"
        raise TrailError(f"{file}: {said}") from error


def parse(line: TrailLine) -> Record | None:
    """Return the unverified record in a line, None if there is none. Raise TrailError for a newer version."""
    try:
        fields = orjson.loads(line.data)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(fields, dict) or not isinstance(version := fields.get("v"), int):
        return None
    if version > VERSION:
        raise TrailError(f"{line.file} line {line.number}: written by a newer version (v {version}): use that one")
    return Record(line, fields)


def _continues(name: str, path_name: str, rotated: re.Pattern[str]) -> bool:
    """Tell whether a file name is the trail's name with a rotation suffix, optionally with `.gz`."""
    rest = name.removeprefix(path_name).removesuffix(".gz")
    return name.startswith(path_name) and rotated.fullmatch(rest) is not None


def _in_folder(folder: Path) -> list[Trail]:
    groups: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        stem, suffix, _ = file.name.rpartition(_SUFFIX)
        name = stem + suffix
        if stem and _continues(file.name, name, _ROTATED) and not file.is_symlink():
            groups.setdefault(name, []).append(file)
    if not groups:
        raise NoTrailError(f"{folder}: no audit files (*.jsonl) in this folder")
    return [_trail(folder / name, files) for name, files in groups.items()]


def _trail(path: Path, files: Iterable[Path]) -> Trail:
    """Order the files by their content: each rotation tool has its own naming."""
    found = Trail(tuple(_once(files)), path)
    return Trail(tuple(sorted(found.files, key=lambda file: (found.first_seq(file), file.name))), path)


def _once(files: Iterable[Path]) -> list[Path]:
    """Skip a gzipped file whose plain file still exists."""
    found = dict.fromkeys(files)
    return [file for file in found if file.suffix != ".gz" or file.with_suffix("") not in found]
