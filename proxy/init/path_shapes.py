"""The shapes of the paths that a trail has: which segments are literals, and which vary and become names."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

VARIES: Final = "*"  # stands for a segment that is a name
DEEPEST: Final = 16  # segments
_MANY = 10  # words at one place; with more, most of them are names
_GOOD_SHARE = 0.2  # of the requests at one place: a word with more stays a literal, such as `me` in `/users/me`
# Recognised identifiers: numbers, `val_1`, longer words with a digit in them, and what was redacted or encoded.
_IDENTIFIER = re.compile(r"\d+|[A-Za-z]+[_-]\d+|(?=\D*\d)[\w.~-]{6,}|[^*%@:]*[*%@:].*|.{41,}", re.ASCII | re.DOTALL)
_VERSION = re.compile(r"v\d+(?:\.\d+)*(?:(?:alpha|beta)\d*)?", re.ASCII)
_PREFIX = re.compile(rf"api|rest|{_VERSION.pattern}", re.ASCII)
"""A segment before the first one that says something: `/api/v1/sessions` begins with `sessions`."""
_WORD = re.compile(r"\.?[A-Za-z]+(?:[-_.][A-Za-z]+)*", re.ASCII)

Path = tuple[str, ...]


def recognised(path: str) -> Path:
    """Return the segments of a request target, with `VARIES` for each that is an identifier by itself."""
    segments = path.partition("?")[0].split("/", DEEPEST)[1:]
    return tuple(VARIES if _is_identifier(each) else each for each in segments)


def _is_identifier(segment: str) -> bool:
    return _IDENTIFIER.fullmatch(segment) is not None and _VERSION.fullmatch(segment) is None


def shapes(paths: Mapping[Path, int]) -> dict[Path, Path]:
    """Return the shape of each path, given the number of its requests that succeeded, which may be 0.

    Where more than ten words follow one prefix, a word becomes a name, unless something says that it is a literal.
    """
    found = {path: path for path in paths}
    for depth in range(DEEPEST):
        words: dict[Path, Counter[str]] = {}
        for path, shape in found.items():
            if len(shape) > depth and shape[depth] not in (VARIES, ""):
                words.setdefault(shape[:depth], Counter())[shape[depth]] += paths[path]
        collections = {shape[: depth + 1] for shape in found.values() if shape[depth + 1 : depth + 2] == (VARIES,)}
        names = {(*prefix, word) for prefix, counted in words.items() for word in _names(prefix, counted, collections)}
        for path, shape in found.items():
            if shape[: depth + 1] in names:
                found[path] = (*shape[:depth], VARIES, *shape[depth + 1 :])
    return found


def _names(prefix: Path, words: Counter[str], collections: set[Path]) -> Iterator[str]:
    """Yield the words after a prefix that are names.

    The first segment of an API says what the request is for, so its words are literals if most of them look like words.
    Further on, a word stays a literal if a good share of the requests has it. So does a collection, which a name
    follows as in `/admin/users/7`, unless the place has many: `/alice/7` and `/bob/7` are names before names.
    """
    seen = [word for word, count in words.items() if count]
    if len(seen) <= _MANY:
        return
    if all(_PREFIX.fullmatch(each) for each in prefix) and 2 * sum(map(_looks_like_a_word, seen)) > len(seen):
        return
    collected = {word for word in words if (*prefix, word) in collections}
    literal = collected if len(collected) <= _MANY else set[str]()
    enough = _GOOD_SHARE * words.total()
    yield from (word for word, count in words.items() if word not in literal and count < enough)


def _looks_like_a_word(segment: str) -> bool:
    return _WORD.fullmatch(segment) is not None
