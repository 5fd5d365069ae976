"""Find the credentials of a request. Missing and empty values and placeholders identify no one."""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterator
from typing import Final

from proxy.http.fields import Fields

# Placeholders that programs write for a missing value.
_NONE = frozenset(
    b"""null undefined none nil nan void false 0 - * {} [] () [object anonymous guest nobody unknown deleted expired
    empty (null) (none) <null> object] %00""".split()
) | {b""}
# RFC 9110 section 11.4 and the IANA registry; the last line has common unregistered schemes.
_SCHEMES = frozenset(
    b"""basic bearer concealed digest dpop gnap hoba mutual negotiate oauth privatetoken scram-sha-1 scram-sha-256 vapid
    apikey api-key aws4-hmac-sha256 hawk jwt key ntlm session token""".split()
)
_BLANK = b" \t\"'"
_LONGEST_NONE: Final = 64  # bytes; every placeholder is shorter
_MOST_COOKIES: Final = 64  # pairs that are examined if no cookie name is configured
_MOST_PAIRS: Final = 256  # pairs among which a named cookie is searched; browsers store fewer for a host (Chrome 180)
_MOST_PARTS: Final = 16
_LONGEST_LOOK: Final = 256  # bytes of a value that are examined
_SHORTEST_SECRET: Final = 16  # characters; OWASP requires 64 bits, which are 16 hexadecimal digits
_FEWEST_CHANGES: Final = 3  # from a letter to a digit or back: words and numbers have fewer
_NO_CHANGE = re.compile(rb"%[0-9A-Fa-f]{2}|(?<=[0-9])[TZ](?![A-Za-z])")  # an escaped byte, or the letters of a date
_CLASSES = bytes(
    b"9"[0] if 48 <= code < 58 else b"a"[0] if 65 <= code < 91 or 97 <= code < 123 else b"."[0] for code in range(256)
)
_AUTHORIZATION, _COOKIE = b"authorization", b"cookie"


class Name:
    """A place of a request that can identify its sender: a field, or one cookie."""

    __slots__ = ("cookie", "field", "names", "pairs")

    def __init__(self, field: bytes, cookie: bytes = b"") -> None:
        """Take a lower-case field name, and the name of a cookie if only that one counts."""
        self.field = field
        self.cookie = cookie
        self.names = _judge(field, cookie)  # whether a value identifies a caller
        self.pairs = re.compile(rb";[ \t]*+" + re.escape(cookie) + rb"=([^;]*+)")  # in a field with ";" before it

    def values(self, fields: Fields) -> list[bytes]:
        """Return the values, whether or not they identify a caller.

        If there are too many cookies to search, the whole field is the value.
        """
        found = fields.all(self.field)
        if not self.cookie or sum([line.count(b";") for line in found]) >= _MOST_PAIRS:
            return found
        return [value.strip() for line in found for value in self.pairs.findall(b";" + line)]

    def counting(self, fields: Fields) -> list[bytes]:
        """Return the values without placeholders; all cookies if no cookie name is configured."""
        found = self.values(fields)
        return found if self.field == _COOKIE and not self.cookie else [value for value in found if self.names(value)]

    def parts(self, fields: Fields) -> Iterator[bytes]:
        """Yield every value that may identify a caller, each cookie by itself: more than `names` accepts.

        In a field with many cookies, the first ones are separate values and the rest is one value.
        """
        for value in self.values(fields):
            if self.field == _COOKIE:
                pairs = [self.cookie + b"=" + value] if self.cookie else value.split(b";", _MOST_PARTS)
                yield from (pair.strip() for pair in pairs if says(pair.partition(b"=")[2]))
            elif self.names(value):
                yield value


def _judge(field: bytes, cookie: bytes) -> Callable[[bytes], bool]:
    if field == _AUTHORIZATION:
        return authorizes
    return holds_a_secret if field == _COOKIE and not cookie else says


def named(principal: tuple[str, ...]) -> tuple[Name, ...]:
    """Return the places in a route's `principal`: fields, and cookies as `cookie:NAME`."""
    pairs = (entry.partition(":") for entry in principal)
    return tuple(Name(field.lower().encode(), cookie.encode()) for field, _, cookie in pairs)


def shown(fields: Fields, names: tuple[Name, ...]) -> bool:
    """Tell whether one of these places identifies a caller."""
    for name in names:
        if name.field in fields:
            for value in name.values(fields) if name.cookie else fields.all(name.field):
                if name.names(value):
                    return True
    return False


def says(value: bytes) -> bool:
    """Tell whether a value is not a placeholder."""
    return len(value) > _LONGEST_NONE or value.strip(_BLANK).lower() not in _NONE


def authorizes(value: bytes) -> bool:
    """Tell whether an Authorization field has a credential: more than a scheme and a placeholder."""
    if len(value) > _LONGEST_NONE:
        return True
    words = value.lower().split()
    if len(words) < 2:
        return bool(words) and words[0] not in _SCHEMES and words[0].strip(_BLANK) not in _NONE
    if words[0] == b"basic":
        return _holds_a_pair(value.split()[-1])
    word = words[-1].strip(_BLANK)
    return (word[6:].strip(_BLANK) if word[:6] == b"token=" else word) not in _NONE


def _holds_a_pair(word: bytes) -> bool:
    """Tell whether a Basic credential has a user or a password (RFC 7617)."""
    try:
        user, _, password = b64decode(word, validate=True).partition(b":")
    except Error:
        return says(word)
    return says(user) or says(password)


def holds_a_secret(cookies: bytes) -> bool:
    """Tell whether a value in a Cookie field could be a session id, which cannot be guessed.

    A preference (`lang=en`, `theme=dark`) is common to many users. A session id is long and alternates letters and
    digits. Mistaking one for a preference is harmless: the address is used then.
    """
    for pair in cookies.split(b";", _MOST_COOKIES)[:_MOST_COOKIES]:
        if len(pair) > _SHORTEST_SECRET and _is_secret(pair.partition(b"=")[2].strip(b' "')[:_LONGEST_LOOK]):
            return True
    return False


def _is_secret(value: bytes) -> bool:
    if len(value) < _SHORTEST_SECRET:
        return False
    classes = _NO_CHANGE.sub(b".", value).translate(_CLASSES)
    return classes.count(b"a9") + classes.count(b"9a") >= _FEWEST_CHANGES


USUAL = (Name(_AUTHORIZATION), Name(_COOKIE))  # if a route does not set `principal`
