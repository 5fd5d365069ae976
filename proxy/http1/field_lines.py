"""Parse field lines strictly (RFC 9112 section 5): ambiguous input is refused.

A proxy keeps raw lines and looks fields up by lower-case name: one dictionary look-up checks and lowers a known name.
llhttp takes the same time and is not stricter; the tests compare against it.
"""

import re
from typing import Final

from proxy.errors import MalformedFieldLines, TooManyFieldLines
from proxy.http.fields import Fields
from proxy.http.headers import COMMON_SPELLINGS, LIMITED_LISTS

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE: Final = bytes({*range(32, 127), *range(128, 256), ord("\t")})  # the bytes allowed in a value
# Valid names only.
_lower: Final = {name: name.lower() for spelt in COMMON_SPELLINGS for name in (spelt, spelt.lower())}
_MEMORY = 4096  # most names that are remembered; a client that sends more new names slows only its own requests
_MEMORABLE = 64  # bytes of a name
_MOST_MEMBERS = 128  # of a limited list; only a long block can have more
_LONGEST_LIST = 8192  # bytes of the lines of a limited list; nginx and Apache refuse longer lines of any field
_LONG_BLOCK: Final = 4096  # bytes


def _learn(name: bytes) -> bytes:
    """Return the lower-case form of a new name."""
    if _TOKEN.fullmatch(name) is None:
        raise MalformedFieldLines
    lower = name.lower()
    if len(_lower) < _MEMORY and len(name) <= _MEMORABLE:
        _lower[name] = lower
    return lower


def read_lines(block: bytes, most: int | None = None) -> Fields:
    """Return the fields in `block`, whose lines all end in CRLF. White space around values is removed.

    Raise TooManyFieldLines for more than `most` lines, and MalformedFieldLines for a list with too many members.
    """
    raw = block.split(b"\r\n")
    if most is not None and len(raw) > most + 1:
        raise TooManyFieldLines
    if block.translate(None, _VISIBLE) != b"\r\n" * (len(raw) - 1):  # a control, or a CR or LF outside of a CRLF
        raise MalformedFieldLines
    del raw[-1]  # the empty string after the last CRLF
    lower, first, lines = _lower, {}, []
    try:
        for line in raw:
            name, value = line.split(b":", 1)
            value = value.strip()
            first[lower.get(name) or _learn(name)] = value
            lines.append((name, value))
    except ValueError:  # no colon
        raise MalformedFieldLines from None
    fields = Fields(tuple(lines), first if len(first) == len(lines) else None)
    if len(block) > _LONG_BLOCK:
        _refuse_long_lists(fields)
    return fields


def _refuse_long_lists(fields: Fields) -> None:
    for name in fields.keys() & LIMITED_LISTS:
        values = fields.all(name)
        if sum([value.count(b",") for value in values]) >= _MOST_MEMBERS or sum(map(len, values)) > _LONGEST_LIST:
            limits = f"{_MOST_MEMBERS} members or {_LONGEST_LIST} bytes"
            raise MalformedFieldLines(f"the field {name.decode()} has more than {limits}")


def read_line(line: bytes) -> tuple[bytes, bytes]:
    """Return the name and value of one line without CRLF. Raise MalformedFieldLines."""
    name, colon, value = line.partition(b":")
    if not colon or _TOKEN.fullmatch(name) is None or line.translate(None, _VISIBLE):
        raise MalformedFieldLines
    return name, value.strip()
