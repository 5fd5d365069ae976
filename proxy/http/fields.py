"""Field lines as received, and in wire format.

This module is not compiled: `Fields` is a subclass of dict.
"""

from collections.abc import Collection, Iterable, Mapping

from proxy.http.caller import Caller, Standing

Lines = tuple[tuple[bytes, bytes], ...]
# By whom, then: the sender, other conditions, whether they identify nobody, whether they identify a caller by a guess
# only, whether only fields that a route names count, and whom verified tokens name.
Read = tuple[object, bytes, bytes, bool, bool, bool, Caller | None]
# By whom, how the tokens were judged, until which wall time, and with which generation of keys.
Judged = tuple[object, Standing, float, int]


class Fields(dict[bytes, bytes]):
    """Field lines as received (order, case, duplicates, raw bytes); as a dict, the first value by lower-case name.

    It is a dict because look-ups by name are frequent. It is shared between callers and never changed.
    """

    __slots__ = ("_encoded", "judged", "lines", "owners", "read", "sent")

    def __init__(self, lines: Lines, first: Mapping[bytes, bytes] | None = None) -> None:
        """Take the lines, and the content of the dict if it is known."""
        dict.__init__(self, first or {name.lower(): value for name, value in reversed(lines)})  # `super()` is slow
        self.lines = lines
        self.sent: tuple[object, bytes] | None = None  # encoded for an upstream, with the key of the cache
        self.read: Read | None = None  # as parsed by one route's rules of identity
        self.owners: tuple[object, list[bytes]] | None = None  # digests of credentials, with whose rules found them
        self.judged: Judged | None = None  # the tokens in it, for one route
        self._encoded: bytes | None = None

    def all(self, name: bytes) -> list[bytes]:
        """Return every value of a lower-case `name`, in order."""
        if name not in self:
            return []
        if len(self) == len(self.lines):  # no name is repeated
            return [self[name]]
        return [value for key, value in self.lines if key.lower() == name]

    def repeats(self, name: bytes) -> bool:
        """Tell whether a lower-case `name` occurs more than once."""
        return len(self) != len(self.lines) and len(self.all(name)) > 1

    def tokens(self, name: bytes) -> list[bytes]:
        """Return the lower-case members of a comma-separated field."""
        parts = [part.strip() for value in self.all(name) for part in value.lower().split(b",")]
        return [part for part in parts if part]

    def encode(self) -> bytes:
        """Return the lines in wire format; encoded once for all callers."""
        if self._encoded is None:
            self._encoded = encoded(self.lines)
        return self._encoded

    def without(self, names: Collection[bytes]) -> "Fields":
        """Return the lines whose lower-case name is not in `names`."""
        gone = self.keys() & names
        if not gone:
            return self
        first = dict(self)
        for name in gone:
            del first[name]
        return Fields(tuple(self.lines_without(gone)), first)

    def lines_without(self, names: Collection[bytes]) -> list[tuple[bytes, bytes]]:
        """Return the same as a list of lines, which is cheaper."""
        return [line for line in self.lines if line[0].lower() not in names]

    def with_line(self, name: bytes, value: bytes) -> "Fields":
        """Return the lines with one `name` line, in the place of the first one."""
        key = name.lower()
        if key not in self:
            return Fields((*self.lines, (name, value)))
        at = next(i for i, line in enumerate(self.lines) if line[0].lower() == key)
        rest = tuple(line for line in self.lines[at + 1 :] if line[0].lower() != key)
        return Fields((*self.lines[:at], (name, value), *rest))

    def __repr__(self) -> str:
        return f"<Fields {self.lines}>"


def encoded(lines: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return field lines in wire format."""
    return b"\r\n".join([*map(b": ".join, lines), b""])


NO_FIELDS = Fields(())
