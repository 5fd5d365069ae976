"""Propose routes from a trail: the requests that no route matched, with the segments that vary as names."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from proxy.config.objections import Objection
from proxy.config.templates import METHODS, parse_template
from proxy.init.drafts import GUESS, Draft, Drafts, DraftSetting, NameList, kebab, without_repetitions

PASSTHROUGH = "passthrough"
_MANY = 10  # words at one place; with more, the segment is a name
_MOST_PATHS = 20_000  # different paths, in which every recognised identifier is the same
_MOST_ROUTES = 100
_DEEPEST = 16  # segments
_FAILED = 400  # a status from here on is no success
# Recognised identifiers: numbers, `val_1`, longer words with a digit in them, and what was redacted or encoded.
_IDENTIFIER = re.compile(r"\d+|[A-Za-z]+[_-]\d+|(?=\D*\d)[\w.~-]{6,}|[^*%@:]*[*%@:].*|.{41,}", re.ASCII | re.DOTALL)
_VERSION = re.compile(r"v\d+(?:\.\d+)*(?:(?:alpha|beta)\d*)?", re.ASCII)
_VARIES = "*"  # stands for a segment that is a name

Path = tuple[str, ...]
Kind = tuple[str, Path]  # a method and a path


@dataclass(slots=True)
class Traffic:
    """The requests of a trail that were passed through, counted by method and path."""

    requests: Counter[Kind] = field(default_factory=Counter)
    succeeded: Counter[Kind] = field(default_factory=Counter)
    uncounted: int = 0  # requests beyond `_MOST_PATHS` different paths

    def add(self, record: Mapping[str, object]) -> None:
        """Count a record if it is a request that was passed through."""
        method, path, status = str(record.get("method")), str(record.get("path")), record.get("status")
        if record.get("operation") != PASSTHROUGH or method not in METHODS or not path.startswith("/"):
            return
        kind = method, tuple(_VARIES if _is_identifier(each) else each for each in _segments(path))
        if kind not in self.requests and len(self.requests) >= _MOST_PATHS:
            self.uncounted += 1
            return
        self.requests[kind] += 1
        self.succeeded[kind] += isinstance(status, int) and status < _FAILED

    def by_shape(self) -> "Traffic":
        """Return the same requests, with paths that differ only in names counted together."""
        shapes = _shapes({path for _, path in self.requests})
        merged = Traffic(uncounted=self.uncounted)
        for (method, path), count in self.requests.items():
            merged.requests[method, shapes[path]] += count
            merged.succeeded[method, shapes[path]] += self.succeeded[method, path]
        return merged


def proposed(records: Iterable[Mapping[str, object]]) -> Drafts:
    """Return a route for each kind of request that was passed through, the most frequent first, at most 100."""
    traffic = Traffic()
    for record in records:
        traffic.add(record)
    names, left_out = NameList(), list[str]()
    drafts = list(_drafts(traffic.by_shape(), names, left_out))
    more = len(drafts) - _MOST_ROUTES
    notes = left_out[:_MOST_ROUTES]
    notes += [f"{more} more kinds of requests, which are less frequent"] if more > 0 else []
    notes += [f"{traffic.uncounted} requests, as there are too many different paths"] if traffic.uncounted else []
    return without_repetitions(drafts[:_MOST_ROUTES], notes)


def _drafts(traffic: Traffic, names: NameList, left_out: list[str]) -> Iterator[Draft]:
    """Yield a route for each kind of request, and add the others to `left_out`."""
    for kind, count in traffic.requests.most_common():
        reason, succeeded = "none of them succeeded", traffic.succeeded[kind]  # such as those of scanners
        if succeeded:
            try:
                yield _draft(kind, f"{GUESS}{count} requests, of which {succeeded} succeeded", names)
                continue
            except Objection as objection:
                reason = objection.message
        left_out.append(f"{kind[0]} /{'/'.join(kind[1])} ({count} requests): {reason}")


def _draft(kind: Kind, note: str, names: NameList) -> Draft:
    """Return a route. Raise `Objection` if no template matches."""
    method, shape = kind
    own = list[str]()
    segments = [_name(shape[:at], own) if each == _VARIES else each for at, each in enumerate(shape)]
    template = parse_template(f"{method} /{'/'.join(segments)}")
    settings = (DraftSetting("subject", f"path:{own[0]}", f"{GUESS}the first segment that varies"),) if own else ()
    words = "-".join(kebab(each) for each in shape if each != _VARIES)
    return Draft(names.fresh(f"{method}-{words}"), template, settings, (), "made from the path", note)


def _name(before: Path, taken: list[str]) -> str:
    """Return `{session_id}` for the segment after `sessions`, and add the name to `taken`."""
    word = kebab(before[-1]).replace("-", "_") if before and before[-1] != _VARIES else ""
    plain = f"{word.removesuffix('s')}_id" if word and not word[0].isdigit() else "id"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.append(name)
    return f"{{{name}}}"


def _segments(path: str) -> list[str]:
    return path.partition("?")[0].split("/", _DEEPEST)[1:]


def _is_identifier(segment: str) -> bool:
    return _IDENTIFIER.fullmatch(segment) is not None and _VERSION.fullmatch(segment) is None


def _shapes(paths: set[Path]) -> dict[Path, Path]:
    """Return the shape of each path: where more than `_MANY` words follow one prefix, the segment is a name."""
    shapes = {path: path for path in paths}
    for depth in range(_DEEPEST):
        words: dict[Path, set[str]] = {}
        for shape in shapes.values():
            if len(shape) > depth:
                words.setdefault(shape[:depth], set()).add(shape[depth])
        many = {prefix for prefix, found in words.items() if len(found - {_VARIES, ""}) > _MANY}
        for path, shape in shapes.items():
            if shape[:depth] in many and len(shape) > depth and shape[depth]:
                shapes[path] = (*shape[:depth], _VARIES, *shape[depth + 1 :])
    return shapes
