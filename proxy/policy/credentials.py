"""What of a request names somebody. Missing and empty values, and the words that stand for none, name nobody."""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterator
from typing import Final

from proxy.http.fields import Fields

# What programs write in the place of a value that they do not have.
_NONE = frozenset(
    b"""null undefined none nil nan void false 0 - * {} [] () [object anonymous guest nobody unknown deleted expired
    empty (null) (none) <null> object] %00""".split()
) | {b""}
# RFC 9110 section 11.4 and the IANA registry; the last line is what is common and not registered.
_SCHEMES = frozenset(
    b"""basic bearer concealed digest dpop gnap hoba mutual negotiate oauth privatetoken scram-sha-1 scram-sha-256 vapid
    apikey api-key aws4-hmac-sha256 hawk jwt key ntlm session token""".split()
)
_BLANK = b" \t\"'"
_LONGEST_NONE: Final = 64  # bytes; no way of saying that there is no credential is longer
_MOST_COOKIES: Final = 64  # pairs that are looked at where no cookie is named
_MOST_PAIRS: Final = 256  # that a cookie is looked for among; browsers keep fewer for a host (Chrome 180)
_MOST_PARTS: Final = 16
_LONGEST_LOOK: Final = 256  # bytes of a value; its beginning tells what it is
_SHORTEST_SECRET: Final = 16  # characters; OWASP wants 64 bits, which are 16 hexadecimal digits
_FEWEST_CHANGES: Final = 3  # from a letter to a digit or back: words and numbers have fewer
_NO_CHANGE = re.compile(rb"%[0-9A-Fa-f]{2}|(?<=[0-9])[TZ](?![A-Za-z])")  # an escaped byte, and the letters of a date
_CLASSES = bytes(
    b"9"[0] if 48 <= code < 58 else b"a"[0] if 65 <= code < 91 or 97 <= code < 123 else b"."[0] for code in range(256)
)
_AUTHORIZATION, _COOKIE = b"authorization", b"cookie"


class Name:
    """One of the places where a request can say who sends it: a field, or one cookie."""

    __slots__ = ("cookie", "field", "names", "pairs")

    def __init__(self, field: bytes, cookie: bytes = b"") -> None:
        """Take a lower-case field name, and the name of a cookie where only that one counts."""
        self.field = field
        self.cookie = cookie
        self.names = _judge(field, cookie)  # tells whether a value there names somebody
        self.pairs = re.compile(rb";[ \t]*+" + re.escape(cookie) + rb"=([^;]*+)")  # in a field with ";" before it

    def values(self, fields: Fields) -> list[bytes]:
        """Return what stands there, with or without a meaning.

        Where there are too many cookies to look for one among them, the whole field stands for it.
        """
        found = fields.all(self.field)
        if not self.cookie or sum([line.count(b";") for line in found]) >= _MOST_PAIRS:
            return found
        return [value.strip() for line in found for value in self.pairs.findall(b";" + line)]

    def counting(self, fields: Fields) -> list[bytes]:
        """Return what stands there, without words for none; of cookies that nobody chose among, all."""
        found = self.values(fields)
        return found if self.field == _COOKIE and not self.cookie else [value for value in found if self.names(value)]

    def parts(self, fields: Fields) -> Iterator[bytes]:
        """Yield everything that may name somebody there, each cookie by itself: more than `names` goes by.

        Of a field with many cookies the first are told apart, and what is left is one part.
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
    """Tell whether somebody is named in any of these places."""
    for name in names:
        if name.field in fields:
            for value in name.values(fields) if name.cookie else fields.all(name.field):
                if name.names(value):
                    return True
    return False


def says(value: bytes) -> bool:
    """Tell whether a value is more than a word for none."""
    return len(value) > _LONGEST_NONE or value.strip(_BLANK).lower() not in _NONE


def authorizes(value: bytes) -> bool:
    """Tell whether an Authorization field holds a credential: more than a scheme and a word for none."""
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
    """Tell whether a user or a password stands in a Basic credential (RFC 7617)."""
    try:
        user, _, password = b64decode(word, validate=True).partition(b":")
    except Error:
        return says(word)
    return says(user) or says(password)


def holds_a_secret(cookies: bytes) -> bool:
    """Tell whether one of a Cookie field's values could name a session: nobody else could guess it.

    A preference (`lang=en`, `theme=dark`) is common to many. A session's name is long, and letters and digits
    alternate in it. To take one for a preference is harmless: the address counts then, too.
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


USUAL = (Name(_AUTHORIZATION), Name(_COOKIE))  # where a route does not say what names its callers
