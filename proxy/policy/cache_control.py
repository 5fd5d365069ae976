"""Parse Cache-Control and compute the freshness lifetime (RFC 9111 sections 4.2.1 and 5.2)."""

from proxy.http.fields import Fields
from proxy.http.numbers import saturated
from proxy.policy.dates import unix_seconds

Directives = dict[bytes, bytes]


def directives(fields: Fields) -> Directives:
    """Return the directives by lower-case name, with arguments; of a repeated directive the first."""
    found: Directives = {}
    for value in fields.all(b"cache-control"):
        for member in _members(value):
            name, _, argument = member.partition(b"=")
            if name := name.strip().lower():
                found.setdefault(name, argument.strip(b' \t"'))
    return found


def _members(value: bytes) -> list[bytes]:
    """Split a list at its commas, except inside quotes."""
    quoted = value.split(b'"')
    if len(quoted) > 1:
        value = b'"'.join([part.replace(b",", b" ") if number % 2 else part for number, part in enumerate(quoted)])
    return value.split(b",")


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
