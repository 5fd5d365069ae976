"""Field lines off the wire (RFC 9112 section 5), strictly: what is not certainly one thing is refused.

By our own hand, because a proxy keeps raw lines and asks by lower-case name: one look-up of a name that was seen before
checks and lowers it at once. llhttp costs the same and is stricter nowhere: it stays as the tests' second opinion.
"""

import re
from typing import Final

from proxy.errors import MalformedFieldLines, TooManyFieldLines
from proxy.http.fields import Fields
from proxy.http.headers import COMMON_SPELLINGS, LIMITED_LISTS

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VISIBLE: Final = bytes({*range(32, 127), *range(128, 256), ord("\t")})  # what a value may hold
# Valid names only.
_lower: Final = {name: name.lower() for spelt in COMMON_SPELLINGS for name in (spelt, spelt.lower())}
_MEMORY = 4096  # names that are kept at the most; whoever sends more new ones only pays for his own
_MEMORABLE = 64  # bytes of a name
_MOST_MEMBERS = 128  # of a limited list; in a block that is not long there cannot be many
_LONGEST_LIST = 8192  # bytes of its lines; Apache refuses a longer line of any field, and so does nginx
_LONG_BLOCK: Final = 4096  # bytes


def _learn(name: bytes) -> bytes:
    """Return a new name's lower-case form."""
    if _TOKEN.fullmatch(name) is None:
        raise MalformedFieldLines
    lower = name.lower()
    if len(_lower) < _MEMORY and len(name) <= _MEMORABLE:
        _lower[name] = lower
    return lower


def read_lines(block: bytes, most: int | None = None) -> Fields:
    """Return the fields in `block`, of which every line ends in CRLF. White space around values is not kept.

    Raise TooManyLines for more than `most`, and MalformedLines, which names a list with too many members.
    """
    raw = block.split(b"\r\n")
    if most is not None and len(raw) > most + 1:
        raise TooManyFieldLines
    if block.translate(None, _VISIBLE) != b"\r\n" * (len(raw) - 1):  # a control, or a CR or LF that ends no line
        raise MalformedFieldLines
    del raw[-1]  # what follows the last CRLF
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
        said = fields.all(name)
        if sum([value.count(b",") for value in said]) >= _MOST_MEMBERS or sum(map(len, said)) > _LONGEST_LIST:
            limits = f"{_MOST_MEMBERS} members or {_LONGEST_LIST} bytes"
            raise MalformedFieldLines(f"the field {name.decode()} has more than {limits}")


def read_line(line: bytes) -> tuple[bytes, bytes]:
    """Return the name and value of one line, which comes without its CRLF. Raise MalformedLines."""
    name, colon, value = line.partition(b":")
    if not colon or _TOKEN.fullmatch(name) is None or line.translate(None, _VISIBLE):
        raise MalformedFieldLines
    return name, value.strip()
