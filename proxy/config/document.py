"""A configuration as it was written: plain tables, and the line, variable or option where each key was set."""

import re
import tomllib
from collections.abc import Iterator
from copy import deepcopy
from itertools import pairwise
from typing import Any

from proxy.config.objections import Keys

_KEY = r"(?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')"
_DOTTED = rf"{_KEY}(?:\s*+\.\s*+{_KEY})*+"
_HEADER = re.compile(rf"\s*+(?P<open>\[\[?)\s*+(?P<name>{_DOTTED})\s*+\]")
_ENTRY = re.compile(rf"\s*+(?P<name>{_DOTTED})\s*+=")
_PART = re.compile(rf"[\s.]*+({_KEY})")
_PIECE = re.compile(rf"({_DOTTED})|.", re.DOTALL)
_DEEPEST = 64  # levels; no setting needs more than 10, and the data is walked recursively
_LINE = re.compile(r" \(at line (\d+), column \d+\)")


class Document:
    """Plain data under construction. A later value replaces an earlier one, with its origin."""

    __slots__ = ("_laid", "_lines", "_name", "data")

    def __init__(self, text: str = "", name: str = "") -> None:
        """Parse TOML. `name` is the file's name in messages.

        Raise `tomllib.TOMLDecodeError`, RecursionError for too deep nesting, ValueError for a number of more than
        4,300 digits.
        """
        self._lines = dict(_lines(text))
        _refuse_long_keys(text)
        self.data: dict[str, Any] = tomllib.loads(text)
        if nests_too_deeply(self.data):
            raise RecursionError
        self._laid: dict[Keys, str] = {}
        self._name = name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Document):
            return NotImplemented
        return (self._name, self.data, self._lines, self._laid) == (other._name, other.data, other._lines, other._laid)

    __hash__ = None  # type: ignore[assignment]  # it changes

    def has(self, keys: Keys) -> bool:
        """Tell whether something was written at `keys`."""
        node: Any = self.data
        for key in keys:
            if not _holds(node, key):
                return False
            node = node[key]
        return True

    def get(self, *keys: str | int) -> Any:
        """Return the value at `keys`; `None` if there is none."""
        node: Any = self.data
        for key in keys:
            if not _holds(node, key):
                return None
            node = node[key]
        return node

    def names(self, *keys: str | int) -> tuple[str, ...]:
        """Return the keys of the table at `keys`; none if there is no table."""
        node = self.get(*keys)
        return tuple(node) if isinstance(node, dict) else ()

    def items(self, *keys: str | int) -> list[Any]:
        """Return the list at `keys`; an empty one if there is none."""
        node = self.get(*keys)
        return node if isinstance(node, list) else []

    def lay(self, keys: Keys, value: object, origin: str) -> None:
        """Set `value` at `keys`. `origin` names the variable or option that set it.

        If another type was written where a table must be, it stays: validation reports it.
        """
        parent: Any = self.data
        for key, below in pairwise(keys):
            if not _holds(parent, key):
                _put(parent, key, [] if isinstance(below, int) else {})
            parent = parent[key]
            if not isinstance(parent, list if isinstance(below, int) else dict):
                return
        _put(parent, keys[-1], value)
        self._laid[keys] = origin

    def lay_under(self, keys: Keys, value: object, origin: str) -> None:
        """Set `value` at `keys` over the file's value, but not over a value of a variable or option."""
        if not (self.has(keys) and any(keys[:size] in self._laid for size in range(1, len(keys) + 1))):
            self.lay(keys, value, origin)

    def laid_by(self, origin: str) -> list[Keys]:
        """Return every key that a variable or option has set."""
        return [keys for keys, name in self._laid.items() if name == origin]

    def setter(self, keys: Keys) -> str | None:
        """Return the variable or option of the nearest key at or above `keys`; `None` if the file wrote it."""
        laid = max((size for size in range(1, len(keys) + 1) if keys[:size] in self._laid), default=0)
        return self._laid[keys[:laid]] if laid else None

    def where(self, keys: Keys) -> str:
        """Return the file and line, variable or option of the nearest key at or above `keys`."""
        setter = self.setter(keys)
        written = max((size for size in range(1, len(keys) + 1) if keys[:size] in self._lines), default=0)
        if setter is not None:  # a value laid over the file hides what the file has below it
            return setter
        return f"{self._name}:{self._lines[keys[:written]]}" if written else self._name

    def without(self, refused: set[Keys]) -> dict[str, Any]:
        """Return a copy of the data without the `refused` keys, and without lists that contain a refused item."""
        data = deepcopy(self.data)
        for keys in refused:
            _drop(data, keys)
        return data


def split_toml_error(error: tomllib.TOMLDecodeError) -> tuple[str, str]:
    """Return the message and the line number, which is empty if the file ended too early."""
    text = str(error)
    found = _LINE.search(text)
    return _LINE.sub("", text), found[1] if found else ""


def _lines(text: str) -> Iterator[tuple[Keys, int]]:
    """Yield each key and its line. Reads only headers and beginnings of lines, which suffices for messages."""
    table: Keys = ()
    counts: dict[Keys, int] = {}
    for number, line in enumerate(text.split("\n"), 1):  # split as TOML counts lines
        if header := _HEADER.match(line):
            table = _split(header["name"])
            if header["open"] == "[[":
                counts[table] = counts.get(table, -1) + 1
            table = _indexed(table, counts)
            yield table, number
        elif entry := _ENTRY.match(line):
            keys = (*table, *_split(entry["name"]))
            yield from ((keys[:size], number) for size in range(len(table) + 1, len(keys) + 1))


def _refuse_long_keys(text: str) -> None:
    """Raise RecursionError for a dotted key of more than `_DEEPEST` parts, on which `tomllib` takes quadratic time."""
    for line in text.split("\n"):
        at = 0 if line.count(".") > _DEEPEST else len(line)
        while (piece := _PIECE.match(line, at)) is not None:
            at = piece.end()
            if piece[1]:
                _split(piece[1])


def nests_too_deeply(data: object) -> bool:
    """Tell whether tables and lists are nested in more than `_DEEPEST` levels."""
    level: list[Any] = [data] if isinstance(data, dict | list) else []
    for _ in range(_DEEPEST):
        children = (child for node in level for child in (node.values() if isinstance(node, dict) else node))
        level = [child for child in children if isinstance(child, dict | list)]
    return bool(level)


def _split(name: str) -> Keys:
    """Return the parts of a dotted key. Raise RecursionError for more than `_DEEPEST` parts."""
    keys: list[str] = []
    at = 0
    while (part := _PART.match(name, at)) is not None:
        keys.append(part[1].strip("\"'"))
        at = part.end()
        if len(keys) > _DEEPEST:
            raise RecursionError
    return tuple(keys)


def _indexed(table: Keys, counts: dict[Keys, int]) -> Keys:
    """Return `("routes", 2, "retry")` for the third route's `[routes.retry]`."""
    indexed: Keys = ()
    for size in range(1, len(table) + 1):
        indexed += (table[size - 1],)
        if table[:size] in counts:
            indexed += (counts[table[:size]],)
    return indexed


def _holds(node: object, key: str | int) -> bool:
    if isinstance(node, list):
        return isinstance(key, int) and key < len(node)
    return isinstance(node, dict) and key in node


def _put(parent: Any, key: str | int, value: object) -> None:
    if isinstance(parent, list) and key == len(parent):
        parent.append(value)
    else:
        parent[key] = value


def _drop(node: Any, keys: Keys) -> None:
    while isinstance(keys[-1], int):
        keys = keys[:-1]
    for key in keys[:-1]:
        if not _holds(node, key):
            return
        node = node[key]
    if _holds(node, keys[-1]):
        del node[keys[-1]]
