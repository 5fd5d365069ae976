"""What Cache-Control says, and for how long it lets an answer be fresh (RFC 9111 sections 4.2.1 and 5.2)."""

from proxy.http.fields import Fields
from proxy.policy.dates import unix_seconds

Directives = dict[bytes, bytes]


def directives(fields: Fields) -> Directives:
    """Return the directives by lower-case name, with their arguments; of one that is repeated, the first."""
    found: Directives = {}
    for value in fields.all(b"cache-control"):
        for member in _members(value):
            name, _, argument = member.partition(b"=")
            if name := name.strip().lower():
                found.setdefault(name, argument.strip(b' \t"'))
    return found


def _members(value: bytes) -> list[bytes]:
    """Split a list at its commas, but for those inside quotes."""
    quoted = value.split(b'"')
    if len(quoted) > 1:
        value = b'"'.join([part.replace(b",", b" ") if number % 2 else part for number, part in enumerate(quoted)])
    return value.split(b",")


def seconds(said: Directives, name: bytes) -> int | None:
    """Return a directive's seconds, None where it is not there, 0 where they are no number (section 4.2.1)."""
    argument = said.get(name)
    if argument is None:
        return None
    return int(argument) if argument.isdigit() and len(argument) < 11 else 0


def lifetime_s(fields: Fields, said: Directives) -> float:
    """Return for how long the backend calls its answer fresh: `s-maxage`, `max-age` or Expires; 0 without any."""
    for name in (b"s-maxage", b"max-age"):
        if (told := seconds(said, name)) is not None:
            return told
    expires, date = fields.get(b"expires"), fields.get(b"date")
    if expires is None or date is None:
        return 0
    until, sent = unix_seconds(expires), unix_seconds(date)
    return max(0.0, until - sent) if until is not None and sent is not None else 0
