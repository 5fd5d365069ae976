"""What the durable store keeps, as rows, and the changes of rows that one commit makes durable together."""

from collections.abc import Callable, Sequence
from enum import Enum
from math import inf
from typing import NamedTuple

FOREVER = inf  # `until` of a row that only a change removes


class Kind(Enum):
    """The kinds of rows; the value is the column in the file."""

    RESPONSE = "response"  # a cached response
    MARK = "mark"  # a write that is under way or in doubt
    CLAIM = "claim"  # a used key: its request, and its response if there is one


class Put(NamedTuple):
    """Write a row. `pack` returns its content; it runs in the writer's thread, and so must what it reads not change.

    `size` is about the content's bytes. `subject` is the subject's digest, by which erasure finds the row.
    """

    kind: Kind
    name: bytes
    until: float
    size: int
    pack: Callable[[], bytes]
    subject: bytes = b""


class Remove(NamedTuple):
    """Remove a row."""

    kind: Kind
    name: bytes


class RemoveKind(NamedTuple):
    """Remove every row of a kind, also one that cannot be read."""

    kind: Kind


class RemoveSubject(NamedTuple):
    """Remove every row of a kind with this subject's digest, also one that no process could read."""

    kind: Kind
    subject: bytes


class Expire(NamedTuple):
    """Remove every row whose time is over at `wall` seconds."""

    wall: float


class Clear(NamedTuple):
    """Remove every row."""


Change = Put | Remove | RemoveKind | RemoveSubject | Expire | Clear


class Row(NamedTuple):
    """A row as it was read: `content` is None if it is damaged, or stands where another row belongs."""

    kind: Kind
    name: bytes
    subject: bytes
    until: float
    content: bytes | None


def weight(changes: Sequence[Change]) -> int:
    """Return about how many bytes of memory these changes take while they wait."""
    return sum(256 + (change.size if isinstance(change, Put) else 0) for change in changes)
