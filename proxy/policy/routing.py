"""Find the route of a request by method and path. The body is read only if a route's `subject` is in it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson

from proxy.config.routes import Retry, RouteSettings
from proxy.config.templates import ANY
from proxy.http.message import Request
from proxy.policy.latency_target import Target
from proxy.policy.recovery_plan import RecoveryRules
from proxy.policy.token_rules import PrincipalRules

EVERY: Final = "*"  # the template of the catch-all route


class Coalesce(Enum):
    """Which requests have the same request key."""

    OFF = "off"
    IDENTICAL = "identical"
    SUBJECT = "subject"


class Idempotency(Enum):
    """How idempotency keys are handled."""

    OFF = "off"
    INJECT = "inject"
    REPLAY = "replay"


class SubjectRule(NamedTuple):
    """Where a route's subject is: `body:/pointer`, `path:name`, `query:name` or `header:Name`."""

    source: str
    name: str


@dataclass(frozen=True, slots=True)
class Route:
    """One operation and its settings.

    The other attributes are those settings that every request reads, or that a policy needs in another form: a look-up
    in `settings` takes longer. They have no defaults: `proxy.config.routes` has them. Times are in seconds, sizes in
    bytes.
    """

    settings: RouteSettings
    operation: str
    method: str  # `GET`, `GET, POST` or `ANY`
    template: str
    upstream: str
    circuit: str
    subject: SubjectRule | None
    coalesce: Coalesce | None  # None: identical for safe methods, off for unsafe ones
    no_cache_leads: bool
    honour_no_store: bool
    ignored_directives: frozenset[bytes]
    idempotency: Idempotency
    quoted_key: bool
    honours_idempotency: bool
    rejected_means_unprocessed: bool
    resend: bool  # False: retry only a request that was not sent (the catch-all route)
    total_timeout_s: float
    attempt_timeout_s: float | None
    min_attempt_s: float
    retry: Retry
    recovery: RecoveryRules
    replay_limit: int
    max_body: int | None
    client_idle_s: float  # of the client leg: the route's setting, else the listener's
    reuse_s: float | None
    target: Target | None
    restoration: str | None
    explain: bool
    host: bytes | None  # None: Host is forwarded unchanged
    max_flights: int
    max_followers: int
    store_required: bool
    verified: tuple[PrincipalRules, ...]  # the `[principal.NAME]` tables that its `principal` names, in its order
    keeps: bool = field(init=False)  # responses are cached, for reuse or an outage

    def __post_init__(self) -> None:
        object.__setattr__(self, "keeps", self.reuse_s is not None or self.recovery.stale_if_error_s is not None)


class Match:
    """A route and its path parameters, percent-decoded."""

    __slots__ = ("names", "route")

    def __init__(self, route: Route, names: Mapping[str, str]) -> None:
        self.route = route
        self.names = names


class _Leaf(NamedTuple):
    """A route, the names in its template, and whether the last name is the rest of the path."""

    route: Route
    names: tuple[str, ...]
    rest: bool


class _Node:
    """One path segment of the tree: literal children, a child for any segment, and the routes of a rest."""

    __slots__ = ("literals", "rests", "routes", "wildcard")

    def __init__(self) -> None:
        self.literals: dict[bytes, _Node] = {}
        self.wildcard: _Node | None = None
        self.routes: dict[str, _Leaf] = {}  # by method
        self.rests: dict[str, _Leaf] = {}


_NO_NAMES: Mapping[str, str] = {}


class Router:
    """Match a request in time linear in its path, regardless of the number of routes.

    At each segment a literal wins over a `{name}`, and a `{name}` over a `{rest...}`. Segments are compared as raw
    bytes: an unusually encoded path matches the catch-all.
    """

    def __init__(self, routes: Sequence[Route], catch_all: Route) -> None:
        self.routes = (*routes, catch_all)
        self._root = _Node()
        self._has_choices = False  # at some segment more than one continuation can match
        self._catch_all = Match(catch_all, _NO_NAMES)
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node, names, rest = self._root, [], False
        for segment in route.template.encode().split(b"/")[1:]:
            before = node
            if segment.endswith(b"...}"):
                names.append(segment[1:-4].decode())
                rest = True
            elif segment.startswith(b"{"):
                names.append(segment[1:-1].decode())
                node.wildcard = node.wildcard or _Node()
                node = node.wildcard
            else:
                node = node.literals.setdefault(segment, _Node())
            self._has_choices |= rest or (before.wildcard is not None and bool(before.literals))
        leaves, leaf = node.rests if rest else node.routes, _Leaf(route, tuple(names), rest)
        for method in route.method.split(", "):
            leaves[method] = leaf

    def scope(self, request: Request) -> bytes:
        """Return what a preflight requests: method and operation, or path without a route; b"" for other requests."""
        wanted = request.fields.get(b"access-control-request-method") if request.method == "OPTIONS" else None
        if wanted is None:
            return b""
        route = self.find(request.path, wanted.decode("latin-1")).route
        where = request.path if route is self._catch_all.route else route.operation.encode()
        return wanted + b" " + where

    def match(self, request: Request) -> Match:
        """Return the request's route, or the catch-all."""
        return self.find(request.path, request.method)

    def find(self, path: bytes, method: str) -> Match:
        """Return the route of an undecoded path and a method, or the catch-all."""
        segments = path.split(b"/")
        values: list[bytes] = []
        found = _straight(self._root, segments, values, method)
        if found is None and self._has_choices:
            values.clear()
            found = _walk(self._root, segments, 1, values, method)
        if found is None:
            return self._catch_all
        route, names, rest = found
        if not names:
            return Match(route, _NO_NAMES)
        if rest:  # not decoded: a decoded %2F would look like a slash between segments
            raw = values.pop().decode("utf-8", "surrogateescape")
            return Match(route, {**dict(zip(names, map(_decoded, values), strict=False)), names[-1]: raw})
        if len(names) == 1:
            return Match(route, {names[0]: _decoded(values[0])})
        return Match(route, dict(zip(names, map(_decoded, values), strict=True)))


def _straight(node: _Node, segments: list[bytes], values: list[bytes], method: str) -> _Leaf | None:
    """Descend by the best match at each segment: if it reaches a route, no other path leads to a better one."""
    for segment in segments[1:]:
        after = node.literals.get(segment)
        if after is None:
            after = node.wildcard
            if after is None or not segment:
                return None
            values.append(segment)
        node = after
    return _of_method(node.routes, method)


def _of_method(leaves: dict[str, _Leaf], method: str) -> _Leaf | None:
    return leaves.get(method) or leaves.get(ANY)


def _walk(node: _Node, segments: list[bytes], depth: int, values: list[bytes], method: str) -> _Leaf | None:
    if depth == len(segments):
        return _of_method(node.routes, method)
    segment = segments[depth]
    literal = node.literals.get(segment)
    if literal is not None and (found := _walk(literal, segments, depth + 1, values, method)):
        return found
    if node.wildcard is not None and segment:
        values.append(segment)
        if found := _walk(node.wildcard, segments, depth + 1, values, method):
            return found
        values.pop()
    found = _of_method(node.rests, method) if node.rests else None
    if found is not None:
        values.append(b"/".join(segments[depth:]))
    return found


_PERCENT = b"%"[0]  # `bytes in bytes` tries it as a number first and raises an exception internally


def _decoded(value: bytes) -> str:
    if value.isalnum():
        return value.decode("ascii")
    raw = unquote_to_bytes(value) if _PERCENT in value else value
    return raw.decode("utf-8", "surrogateescape")


class Subject:
    """The subject of a request, or None with the reason, which is recorded."""

    __slots__ = ("missing", "value")

    def __init__(self, value: str | None, missing: str | None = None) -> None:
        self.value = value
        self.missing = missing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subject) and (self.value, self.missing) == (other.value, other.missing)

    def __repr__(self) -> str:
        return f"<Subject {self.value!r}>" if self.missing is None else f"<Subject missing: {self.missing}>"


NO_SUBJECT: Final = Subject(None)
MOST_PARAMETERS = 256  # most query parameters that are searched for a subject; 16 KiB of them would take 4 ms


def subject_of(match: Match, request: Request) -> Subject:
    """Return the subject that the route names. A request without one is forwarded normally."""
    rule = match.route.subject
    if rule is None:
        return NO_SUBJECT
    if rule.source == "path":
        return _present(match.names[rule.name], rule)  # a rest may be empty
    if rule.source == "header":
        value = request.fields.get(rule.name.lower().encode())
        return _present(value.decode("latin-1") if value else None, rule)
    if rule.source == "query":
        return _in_query(request.query, rule)
    return _in_body(request.body, rule)


def _in_query(query: bytes, rule: SubjectRule) -> Subject:
    try:
        pairs = parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return Subject(None, f"the query has more than {MOST_PARAMETERS} parameters")
    return _present(dict(pairs).get(rule.name), rule)


def _in_body(body: object, rule: SubjectRule) -> Subject:
    if not isinstance(body, bytes):
        return Subject(None, "the body is over the replay limit")
    try:
        value = _at(rule.name, _document(body))
        if isinstance(value, float) and abs(value) >= _EXACT:
            value = _at(rule.name, _with_digits(body))
    except (ValueError, RecursionError):
        return Subject(None, "the body is not JSON")
    if value is _MISSING:
        return _present(None, rule)
    text = value if isinstance(value, str) else _number(value)
    if text is None:
        return Subject(None, f"{rule.source}:{rule.name} is neither a string nor a number")
    return _present(text, rule)


_MISSING: Final = object()
_DIGITS = re.compile(rb"[0-9]+")
_MOST_DIGITS = 300  # of a number that is parsed as one; orjson rejects longer ones


def _document(body: bytes) -> object:
    """Return a JSON document. Raise ValueError if it is none."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if max(map(len, _DIGITS.findall(body)), default=0) < _MOST_DIGITS:
            raise
        return _with_digits(body)


def _with_digits(body: bytes) -> object:
    """Return a JSON document with each integer as its digits, however many. Raise ValueError if it is none."""
    return json.loads(body.decode(), parse_int=str, parse_constant=_refuse)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")  # RFC 8259 section 6


def _at(pointer: str, value: object) -> object:
    """Return what a JSON pointer (RFC 6901) finds, `_MISSING` if there is nothing."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return _MISSING
    return value


_EXACT = 2.0**53  # above it a float is ambiguous, and a subject must be unique; an integer has its digits


def _number(value: object) -> str | None:
    if isinstance(value, float):
        return repr(value) if -_EXACT < value < _EXACT else None
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else None


def _present(value: str | None, rule: SubjectRule) -> Subject:
    if not value:
        return Subject(None, f"{rule.source}:{rule.name} is missing")
    return Subject(value)
