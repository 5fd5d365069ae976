"""Propose routes from a trail: the requests that no route matched, with the segments that vary as names."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from proxy.config.objections import Objection
from proxy.config.routes import RouteSettings
from proxy.config.templates import METHODS, parse_template
from proxy.config.units import format_duration
from proxy.init.drafts import GUESS, Draft, Drafts, DraftSetting, NameList, kebab, with_timeout, without_repetitions
from proxy.init.path_shapes import VARIES, Path, recognised, shapes
from proxy.init.secret_parameters import may_be_credential

PASSTHROUGH = "passthrough"
_MOST_PATHS = 20_000  # different paths, in which every recognised identifier is the same
_MOST_ROUTES = 100
_FAILED = 400  # a status from here on is no success
_ROOM = 2  # times the slowest success
_STEPS_S = (5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 300, 600, 900, 1800, 3600)

_PREFLIGHT = "OPTIONS"
_DEFAULT_S = RouteSettings().total_timeout

Kind = tuple[str, Path]  # a method and a path


@dataclass(slots=True)
class Traffic:
    """The requests of a trail that were passed through, counted by method and path."""

    requests: Counter[Kind] = field(default_factory=Counter)
    succeeded: Counter[Kind] = field(default_factory=Counter)
    slowest_ms: dict[Kind, float] = field(default_factory=dict)  # until the head of a success
    preflights: int = 0
    uncounted: int = 0  # requests beyond `_MOST_PATHS` different paths

    def add(self, record: Mapping[str, object]) -> None:
        """Count a record if it is a request that was passed through."""
        method, path, status = str(record.get("method")), str(record.get("path")), record.get("status")
        if record.get("operation") != PASSTHROUGH or method not in METHODS or not path.startswith("/"):
            return
        if method == _PREFLIGHT:
            self.preflights += 1
            return
        kind = method, recognised(path)
        if kind not in self.requests and len(self.requests) >= _MOST_PATHS:
            self.uncounted += 1
            return
        self.requests[kind] += 1
        if isinstance(status, int) and status < _FAILED:
            self.succeeded[kind] += 1
            self._time(kind, _head_ms(record))

    def _time(self, kind: Kind, ms: float) -> None:
        self.slowest_ms[kind] = max(ms, self.slowest_ms.get(kind, 0.0))

    def by_shape(self) -> "Traffic":
        """Return the same requests, with paths that differ only in names counted together.

        Paths of which no request succeeded, such as those of scanners, do not decide what is a name.
        """
        succeeded = Counter[Path]()
        for kind in self.requests:
            succeeded[kind[1]] += self.succeeded[kind]
        shape_of = shapes(succeeded)
        merged = Traffic(preflights=self.preflights, uncounted=self.uncounted)
        for (method, path), count in self.requests.items():
            kind = method, shape_of[path]
            merged.requests[kind] += count
            merged.succeeded[kind] += self.succeeded[method, path]
            merged._time(kind, self.slowest_ms.get((method, path), 0.0))
        return merged


def _head_ms(record: Mapping[str, object]) -> float:
    """Return the time until a response began; 0 for a tunnel, whose record has only its whole length."""
    metadata = record.get("metadata")
    said = metadata if isinstance(metadata, Mapping) else {}
    ms = said.get("head_ms", 0.0 if said.get("endless") is True else record.get("duration_ms"))
    return float(ms) if isinstance(ms, float | int) else 0.0


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
    notes += [f"OPTIONS ({traffic.preflights} requests): CORS preflights need no route"] if traffic.preflights else []
    notes += [f"{traffic.uncounted} requests, as there are too many different paths"] if traffic.uncounted else []
    return without_repetitions(drafts[:_MOST_ROUTES], notes)


def _drafts(traffic: Traffic, names: NameList, left_out: list[str]) -> Iterator[Draft]:
    """Yield a route for each kind of request, and add the others to `left_out`."""
    for kind, count in traffic.requests.most_common():
        reason, succeeded = "none of them succeeded", traffic.succeeded[kind]  # such as those of scanners
        if succeeded:
            try:
                note = f"{GUESS}{count} requests, of which {succeeded} succeeded"
                yield with_timeout(_draft(kind, note, names, traffic.slowest_ms[kind] / 1000))
                continue
            except Objection as objection:
                reason = objection.message
        left_out.append(f"{kind[0]} /{'/'.join(kind[1])} ({count} requests): {reason}")


def _draft(kind: Kind, note: str, names: NameList, slowest_s: float) -> Draft:
    """Return a route. Raise `Objection` if no template matches."""
    method, shape = kind
    own = list[str]()
    segments = [_name(shape[:at], own) if each == VARIES else each for at, each in enumerate(shape)]
    template = parse_template(f"{method} /{'/'.join(segments)}")
    settings = (*_subject(segments), *_timeout(slowest_s))
    words = "-".join(kebab(each) for each in shape if each != VARIES)
    return Draft(names.fresh(f"{method}-{words}"), template, settings, (), "made from the path", note)


def _subject(segments: list[str]) -> Iterator[DraftSetting]:
    """Yield the first name as the subject; not one that may be a credential, because a subject is recorded."""
    for before, segment in pairwise(("", *segments)):
        if segment.startswith("{") and not may_be_credential(segment[1:-1], before):
            yield DraftSetting("subject", f"path:{segment[1:-1]}", f"{GUESS}the first segment that varies")
            return


def _timeout(slowest_s: float) -> Iterator[DraftSetting]:
    """Yield a timeout with room above the slowest success, if the default has none."""
    if slowest_s * _ROOM > _DEFAULT_S:
        room = next((step for step in _STEPS_S if step >= slowest_s * _ROOM), slowest_s * _ROOM)
        why = f"the slowest success took {slowest_s:.1f}s; the default is {format_duration(_DEFAULT_S)}"
        yield DraftSetting("total_timeout", format_duration(room), f"{GUESS}{why}")


def _name(before: Path, taken: list[str]) -> str:
    """Return `{session_id}` for the segment after `sessions`, and add the name to `taken`."""
    word = kebab(before[-1]).replace("-", "_") if before and before[-1] != VARIES else ""
    plain = f"{word.removesuffix('s')}_id" if word and not word[0].isdigit() else "id"
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    taken.append(name)
    return f"{{{name}}}"
