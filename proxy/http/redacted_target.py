"""Replace the secrets of a request's target by rule, so that it can be recorded, logged and traced.

One regular expression recognises a path or parameter names that cannot contain a secret. They are returned unchanged.
Every other text takes time that is linear in its length.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

from proxy.http.credential_names import names_credential

MAX_TEXT: Final = 512  # characters of any text from a client
MAX_VALUE: Final = 256  # characters of one query value or header field
_JUDGED: Final = MAX_TEXT + 64  # characters: those that can be shown, and enough after them to recognise a secret

# `%(?:25)*+` is a percent sign, encoded any number of times.
_UNSUSPECTED: Final = re.compile(r"(?:/(?!gh|sk|xox|glpat-|dop_|ya29)[a-z0-9_.~\-]{0,39}+)*+")  # a whole path
_SHORT: Final = re.compile(r"[A-Za-z0-9_.~,:()'!$*+\-]{0,19}+")  # too short for a token, except with two prefixes
_ORDINARY: Final = re.compile(rb"(?:(?!eyJ|ya29)[A-Za-z0-9_\-]{1,19}+=[^=&][^&]*+(?:&(?!\Z)|\Z))*+")  # a whole query
_VALUE: Final = re.compile(rb"=[^&]++")
_ENCODED_QUERY: Final = re.compile("%(?:25)*+3[Ff].*", re.DOTALL)
_BEFORE_AT: Final = re.compile("(.*)(?=@|%(?:25)*+40)", re.DOTALL)
_COLON: Final = re.compile(":|%(?:25)*+3[Aa]")
_SEMICOLON: Final = re.compile("(;|%(?:25)*+3[Bb])")
_AMPERSAND: Final = re.compile("(&|%(?:25)*+26)")
_EQUALS: Final = re.compile("=|%(?:25)*+3[Dd]")
_WORD: Final = re.compile(rb"(?:(?:[A-Z]?[a-z]++|[_.\-])*+|[A-Z_]*+)[0-9]{0,3}")  # page, pageSize, page_2, PAGE

# Parts of a text that can each be a token. Any other character separates them, such as "," ":" "(" "'".
_PIECE: Final = re.compile(r"[A-Za-z0-9_.~+=%$!*^\-]++")
_DIGIT: Final = re.compile("[0-9]")
_HEX: Final = re.compile("[0-9a-f]+")
_CHECKSUM: Final = re.compile("(?:md5|sha[0-9]{1,3}):[0-9a-f]+")  # a labelled digest is not a secret
_KNOWN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:eyJ[A-Za-z0-9_\-]{5}|ya29\.[A-Za-z0-9_\-]{3})"  # JSON in base64, and Google's access tokens
    r"|(?<![A-Za-z0-9_.~\-])(?:"
    r"(?=[A-Za-z0-9_.~+=%\-]{20})(?:gh[opusr]_|github_pat_|sk[_-]|xox|AKIA|glpat-|dop_v1_)"
    r"|(?:npm|hf)_(?=[A-Za-z0-9]{16})[a-z0-9]{0,32}+[A-Z])"
)


def redacted_path(path: bytes, shown_parameters: frozenset[bytes] = frozenset()) -> str:
    """Return at most MAX_TEXT characters of a path with `*` for its secrets.

    Secrets are: the text after an encoded "?"; values of path parameters (`;jsessionid=`) and of query parameters in
    the path; user and password before "@"; and segments with a token. `shown_parameters` keep their values.
    """
    text = path.decode("latin-1")
    if _UNSUSPECTED.fullmatch(text) is None:
        segments = _ENCODED_QUERY.sub("%3F*", text, 1).split("/", MAX_TEXT)
        text = "/".join(_fitting(_segment(segment, shown_parameters) for segment in segments))
    return text[:MAX_TEXT]


def redacted_query(query: bytes, shown_parameters: frozenset[bytes] = frozenset()) -> str:
    """Return a query with `*` for each value whose name is not in `shown_parameters`, and for names that are tokens."""
    if not shown_parameters and _ORDINARY.fullmatch(query) is not None:
        return _VALUE.sub(b"=*", query).decode("latin-1")
    parts = query.split(b"&", MAX_TEXT)[:MAX_TEXT]  # more parts never fit
    return "&".join([_parameter(part, shown_parameters) for part in parts])


def _segment(segment: str, shown_parameters: frozenset[bytes]) -> str:
    """Return one segment of a path with its secrets replaced."""
    if _is_plain(segment):
        return segment
    name, *rest = _SEMICOLON.split(_without_user(segment), MAX_TEXT)[: 2 * MAX_TEXT]
    shown = [_pairs(name)]
    for sign, part in zip(rest[::2], rest[1::2], strict=False):  # omits a separator whose part was cut off
        shown += (sign, _parameter(part.encode("latin-1"), shown_parameters))
    return "".join(shown)


def _without_user(segment: str) -> str:
    """Replace user and password before the last "@" (RFC 3986 section 3.2.1)."""
    if "@" not in segment and "40" not in segment:
        return segment
    user = _BEFORE_AT.match(segment)
    if user is None or _COLON.search(user[0]) is None:
        return segment
    return "*" + segment[user.end() :]


def _pairs(name: str) -> str:
    """Return a segment's name, without the values of query parameters in it, which a missing "?" puts there."""
    parts = _AMPERSAND.split(name, MAX_TEXT)[: 2 * MAX_TEXT]
    if len(parts) == 1:
        return _pair(name, misplaced=False)
    return "".join([part if at % 2 else _pair(part, misplaced=True) for at, part in enumerate(parts)])


def _pair(part: str, *, misplaced: bool) -> str:
    equals = _EQUALS.search(part)
    if equals is not None and (misplaced or names_credential(_decoded(part[: equals.start()]))):
        return _without_token(part[: equals.start()]) + equals[0] + "*"
    return _without_token(part)


def _parameter(part: bytes, shown_parameters: frozenset[bytes]) -> str:
    """Return one parameter, redacted. A part without "=" is treated as a value, and so is padded base64."""
    name, equals, value = part.partition(b"=")
    if name in shown_parameters:
        return part[:MAX_VALUE].decode("latin-1")
    if not equals or _is_padding(name, value):
        return "*"
    return _without_token(name[:MAX_VALUE].decode("latin-1")) + "=*"


def _is_padding(name: bytes, value: bytes) -> bool:
    """Tell whether a parameter's "=" is the padding of base64; a name without a value may be a plain word."""
    if value:
        return not value.strip(b"=")
    return _WORD.fullmatch(name) is None


def _is_plain(text: str) -> bool:
    return _SHORT.fullmatch(text) is not None and "eyJ" not in text and "ya29." not in text


def _without_token(text: str) -> str:
    """Return `*` if the part of `text` that can be shown has a token, encoded or not; otherwise return `text`."""
    if _is_plain(text):
        return text
    text = text[:_JUDGED]
    return "*" if _holds_token(text) or ("%" in text and _holds_token(_decoded(text))) else text


def _decoded(text: str) -> str:
    """Return the text after up to three percent-decodings."""
    for _ in range(3):
        if "%" not in text:
            break
        text = unquote_to_bytes(text.encode("latin-1")).decode("latin-1")
    return text


def _holds_token(text: str) -> bool:
    """Tell whether a part of the text looks like a secret: a known prefix, a random string, or a long digest."""
    if _KNOWN.search(text) is not None:
        return True
    return any(map(_is_random, _PIECE.findall(_CHECKSUM.sub("", text))))


def _is_random(piece: str) -> bool:
    if len(piece) < 32 or _DIGIT.search(piece) is None:
        return False
    if piece.lower() == piece:
        return len(piece) >= 40 and _HEX.fullmatch(piece) is not None
    return piece.upper() != piece


def _fitting(parts: Iterable[str]) -> Iterator[str]:
    """Yield parts until they fill MAX_TEXT characters, with one character between parts."""
    room = MAX_TEXT
    for part in parts:
        yield part
        room -= len(part) + 1
        if room <= 0:
            return
