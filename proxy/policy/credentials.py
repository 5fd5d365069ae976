"""Find the credentials of a request. Missing values, empty values and placeholders identify no caller."""

import re
from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.http.fields import Fields

# Placeholders that programs write for a missing value.
_NONE = frozenset(
    b"""null undefined none nil nan void false 0 - * {} [] () [object anonymous guest nobody unknown deleted expired
    empty redacted changeme (null) (none) object] %00""".split()
) | {b""}
# An unfilled template. It is also a placeholder inside a longer value.
_TEMPLATES: Final = ((b"{{", b"}}"), (b"${", b"}"))
_PLACEHOLDER = re.compile(
    rb"<[^>]*>|%[^%]+%|[$#]?\{[\w .-]*\}|\$\([^()]*\)|\$[a-z_]\w*|\[[\w .-]*\]|your[-_ ][\w -]*|[-*._#]+", re.DOTALL
)
_SEPARATORS = re.compile(rb"[\s,;:|&\"']+")
# RFC 9110 section 11.4 and the IANA registry; the last line has common unregistered schemes.
_SCHEMES = frozenset(
    b"""basic bearer concealed digest dpop gnap hoba mutual negotiate oauth privatetoken scram-sha-1 scram-sha-256 vapid
    apikey api-key aws4-hmac-sha256 hawk jwt key ntlm session token""".split()
)
_BLANK = b" \t\"',;"
_OPAQUE = re.compile(rb"[!-~]+[ \t]+[A-Za-z0-9._~+/-]{40}")  # a scheme, and a value that cannot be a placeholder
# Parameters of an Authorization field that many callers share (RFC 7616 section 3.4, RFC 5849 section 3.5.1).
_NOT_ABOUT_CALLER = frozenset(
    b"""algorithm charset cnonce nc nonce oauth_signature_method oauth_timestamp oauth_version opaque qop realm response
    uri userhash version""".split()
)
_ABOUT_CALLER = frozenset(
    b"access_token api-key api_key apikey credential id key oauth_token session token user username".split()
)
_LONGEST_FIELD: Final = 1024  # bytes of an Authorization field that are examined
_MOST_MEMBERS: Final = 16  # members of a list that are examined
_MOST_COOKIES: Final = 64  # pairs that are examined if no cookie name is configured
_MOST_PAIRS: Final = 256  # pairs among which a named cookie is searched; browsers store fewer for a host (Chrome 180)
_MOST_PARTS: Final = 16
_LONGEST_LOOK: Final = 256  # bytes of a value that are examined; every placeholder is shorter
_SHORTEST_SECRET: Final = 16  # characters; OWASP requires 64 bits, which are 16 hexadecimal digits
_FEWEST_CHANGES: Final = 3  # between letters and digits: words and numbers have fewer
_NO_CHANGE = re.compile(rb"%[0-9A-Fa-f]{2}|(?<=[0-9])[TZ](?![A-Za-z])")  # an escaped byte, or the letters of a date
_CLASSES = bytes(
    b"9"[0] if 48 <= code < 58 else b"a"[0] if 65 <= code < 91 or 97 <= code < 123 else b"."[0] for code in range(256)
)
_AUTHORIZATION, _COOKIE = b"authorization", b"cookie"


class Credential(Enum):
    """How a request names its caller: not at all, by a cookie that may be a session id, or by a certain credential."""

    NOBODY = "nobody"
    GUESSED = "guessed"
    CERTAIN = "certain"


NOBODY: Final = Credential.NOBODY  # module constant: an Enum member look-up costs 0.1 µs in Python 3.11
GUESSED: Final = Credential.GUESSED
CERTAIN: Final = Credential.CERTAIN


class Name:
    """A place of a request that can identify its sender: a field, or one cookie."""

    __slots__ = ("cookie", "field", "guesses", "mentions", "names", "pairs")

    def __init__(self, field: bytes, cookie: bytes = b"") -> None:
        """`field` is in lower case; a non-empty `cookie` selects that cookie alone."""
        self.field = field
        self.cookie = cookie
        self.guesses = field == _COOKIE and not cookie  # the configuration does not name the session's cookie
        self.names = _judge(field, cookie)  # whether a value identifies a caller
        self.mentions = re.compile(rb";[ \t]*+" + re.escape(cookie) + b"=")  # after a ";" before the field
        self.pairs = re.compile(self.mentions.pattern + rb"([^;]*+)")

    def values(self, fields: Fields) -> list[bytes]:
        """Return the values, whether or not they identify a caller.

        If there are too many cookies to search, the whole field is the value.
        """
        found = fields.all(self.field)
        if not self.cookie or sum([line.count(b";") for line in found]) >= _MOST_PAIRS:
            return found
        return [value.strip() for line in found for value in self.pairs.findall(b";" + line)]

    def is_repeated(self, fields: Fields) -> bool:
        """Tell whether the field is there twice; of a cookie, whether it is, with a value or without."""
        if not self.cookie:
            return fields.repeats(self.field)
        return sum([len(self.mentions.findall(b";" + line)) for line in fields.all(self.field)]) > 1

    def counting(self, fields: Fields) -> list[bytes]:
        """Return the values without placeholders; all cookies if no cookie name is configured."""
        found = self.values(fields)
        return found if self.guesses else [value for value in found if self.names(value)]

    def parts(self, fields: Fields) -> Iterator[bytes]:
        """Yield every value that may identify a caller, each cookie separately, including values that `names` rejects.

        In a field with many cookies, the first ones are separate values and the rest is one value.
        """
        for value in self.values(fields):
            if self.field == _COOKIE:
                pairs = [self.cookie + b"=" + value] if self.cookie else value.split(b";", _MOST_PARTS)
                yield from (pair.strip() for pair in pairs if says(pair.partition(b"=")[2]))
            elif self.names(value):
                yield value


def _judge(field: bytes, cookie: bytes) -> Callable[[bytes], bool]:
    if field != _COOKIE:
        return authorizes
    return says if cookie else holds_a_secret


def named(principal: tuple[str, ...]) -> tuple[Name, ...]:
    """Return the places in a route's `principal`: fields, and cookies as `cookie:NAME`."""
    pairs = (entry.partition(":") for entry in principal)
    return tuple(Name(field.lower().encode(), cookie.encode()) for field, _, cookie in pairs)


def naming(fields: Fields, names: tuple[Name, ...]) -> Credential:
    """Tell how these places identify a caller: the most certain one decides."""
    found = NOBODY
    for name in names:
        if name.field in fields and (found is NOBODY or not name.guesses):
            for value in name.values(fields) if name.cookie else fields.all(name.field):
                if name.names(value):
                    if not name.guesses:
                        return CERTAIN
                    found = GUESSED
                    break
    return found


def says(value: bytes) -> bool:
    """Tell whether a value is neither empty nor a placeholder, nor a list of these."""
    if len(value) > _LONGEST_LOOK:
        return True
    word = value.strip(_BLANK).lower()
    if word in _NONE:
        return False
    if word.isalnum():  # the usual case: no placeholder and no list
        return True
    if word.find(b"%") >= 0 and _PLACEHOLDER.fullmatch(word) is None:
        word = unquote_to_bytes(word).strip(_BLANK)
    if _PLACEHOLDER.fullmatch(word) is not None:
        return False
    for begin, end in _TEMPLATES:
        at = word.find(begin)
        if at >= 0 and word.find(end, at + 2) >= 0:
            return False
    return any(part not in _NONE for part in _SEPARATORS.split(word))


def authorizes(value: bytes) -> bool:
    """Tell whether a field such as Authorization has a credential: more than schemes and placeholders.

    Two fields combined into one line are a list (RFC 9110 section 5.3). Only the beginning of a long field is examined.
    """
    if value[:5].lower() != b"basic" and _OPAQUE.match(value) is not None:
        return True
    if not says(value):
        return False
    members = _without_quotes(value[:_LONGEST_FIELD]).split(b",", _MOST_MEMBERS)[:_MOST_MEMBERS]
    return any(_member_authorizes(member) for member in members)


def _without_quotes(value: bytes) -> bytes:
    """Return a value without quotes. A quoted comma or space is not a separator: replace it with a colon."""
    parts = value.split(b'"')
    return b"".join([b":".join(_SEPARATORS.split(part)) if at % 2 else part for at, part in enumerate(parts)])


def _member_authorizes(member: bytes) -> bool:
    """Tell whether a member of the list has a credential: a scheme and a word, or a word alone."""
    words = member.split()
    rest = [word for word in words[min(1, len(words) - 1) :] if word.strip(_BLANK).lower() not in _SCHEMES]
    if not rest:
        return False
    if len(words) > len(rest) and words[-len(rest) - 1].lower() == b"basic":
        return _holds_a_pair(rest[-1])
    return says(b" ".join([_argument(word) for word in rest]))


def _argument(word: bytes) -> bytes:
    """Return the argument of a parameter (`token="x"`), b"" if it identifies no caller; any other word unchanged."""
    name, sign, argument = word.partition(b"=")
    lower = name.lower()
    if not sign:
        return word
    if lower in _NOT_ABOUT_CALLER:
        return b""
    if lower in _ABOUT_CALLER:
        return argument
    return argument if argument.strip(b"=") else name  # "=" at the end of base64 is padding


def _holds_a_pair(word: bytes) -> bool:
    """Tell whether a Basic credential has a user or a password (RFC 7617), with or without base64's padding."""
    bare = word.strip(_BLANK).rstrip(b"=")
    try:
        user, _, password = b64decode(bare + b"=" * (-len(bare) % 4), validate=True).partition(b":")
    except Error:
        return says(bare)
    return says(user) or says(password)


def holds_a_secret(cookies: bytes) -> bool:
    """Tell whether a value in a Cookie field could be a session id.

    A preference (`lang=en`, `theme=dark`) is common to many users. A session id is long and alternates letters and
    digits. The name of a release or an experiment does so too, and is common to many users. So the result is a guess,
    and the client's address also identifies the caller.
    """
    for pair in cookies.split(b";", _MOST_COOKIES)[:_MOST_COOKIES]:
        if len(pair) > _SHORTEST_SECRET and _is_secret(pair.partition(b"=")[2].strip(b' "')[:_LONGEST_LOOK]):
            return True
    return False


def _is_secret(value: bytes) -> bool:
    if len(value) < _SHORTEST_SECRET:
        return False
    classes = _NO_CHANGE.sub(b".", value).translate(_CLASSES)
    return classes.count(b"a9") + classes.count(b"9a") >= _FEWEST_CHANGES and says(value)


def sets_known_cookies(request: Fields, response: Fields) -> bool:
    """Tell whether the response sets only cookies that the request carried with a value.

    Cookie names are case-sensitive (RFC 6265 section 5.3).
    """
    lines = request.all(_COOKIE)
    if sum([line.count(b";") for line in lines]) >= _MOST_PAIRS:
        return False
    pairs = [pair.partition(b"=") for line in lines for pair in line.split(b";")]
    known = {name.strip() for name, _, value in pairs if says(value)}
    return all(_name_set(line) in known for line in response.all(b"set-cookie"))


def _name_set(line: bytes) -> bytes:
    """Return the name in a Set-Cookie line."""
    return line.partition(b";")[0].partition(b"=")[0].strip()


USUAL = (Name(_AUTHORIZATION), Name(_COOKIE))  # if a route does not set `principal`
