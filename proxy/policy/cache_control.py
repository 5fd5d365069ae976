"""Parse Cache-Control and compute the freshness lifetime (RFC 9111 sections 4.2.1 and 5.2).

In a malformed field, treat anything that could be a directive as one.
"""

import re

from proxy.http.fields import Fields
from proxy.http.numbers import saturated
from proxy.policy.dates import unix_seconds

Directives = dict[bytes, bytes]

_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)  # RFC 9110 section 5.6.4
_COMMAS = bytes.maketrans(b"; \t", b",,,")  # these separate directives in malformed fields


def directives(fields: Fields) -> Directives:
    """Return the directives by lower-case name, with arguments; the first one if a directive is repeated."""
    found: Directives = {}
    for value in fields.all(b"cache-control"):
        for member in _members(value):
            name, _, argument = member.partition(b"=")
            if name := name.strip(b'"').lower():
                found.setdefault(name, argument.strip(b' \t"'))
    return found


def _members(value: bytes) -> list[bytes]:
    """Split a list at its commas, semicolons and spaces, except inside quotes. An unpaired quote quotes nothing."""
    parts: list[bytes] = []
    at, quote = 0, value.find(b'"')
    while quote >= 0 and (quoted := _QUOTED.match(value, quote)) is not None:
        parts += (value[at:quote].translate(_COMMAS), quoted.group().replace(b",", b" "), b",")
        at = quoted.end()
        quote = value.find(b'"', at)
    parts.append(value[at:].translate(_COMMAS))
    return b"".join(parts).split(b",")


def seconds(directives: Directives, name: bytes) -> int | None:
    """Return a directive's seconds (at most 2**31, section 1.2.2), None if it is absent, 0 if invalid (4.2.1)."""
    argument = directives.get(name)
    return None if argument is None else saturated(argument) or 0


def lifetime_s(fields: Fields, directives: Directives) -> float:
    """Return the freshness lifetime in seconds from `s-maxage`, `max-age` or Expires; 0 without any."""
    for name in (b"s-maxage", b"max-age"):
        if (lifetime := seconds(directives, name)) is not None:
            return lifetime
    expires, date = fields.get(b"expires"), fields.get(b"date")
    if expires is None or date is None:
        return 0
    until, sent = unix_seconds(expires), unix_seconds(date)
    return max(0.0, until - sent) if until is not None and sent is not None else 0
