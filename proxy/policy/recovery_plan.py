"""Plan the recovery from a failed or unwanted response. This module plans; it sends nothing."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote

import orjson

from proxy.config.routes import RouteSettings
from proxy.config.templates import parse_request
from proxy.http.fields import Fields, Lines
from proxy.http.headers import NOT_INHERITED, NOT_INHERITED_PREFIXES
from proxy.http.message import (
    NO_CONTENT,
    Failure,
    Framing,
    Outcome,
    Request,
    Response,
)
from proxy.http.problems import Reason
from proxy.policy.classify import OUTAGE, Verdict, classify
from proxy.runtime.enums import FastStrEnum

Document = object  # any JSON value
_LONGEST_SEGMENT = 4096  # characters; encoding 64 KiB would take 3 ms
_PLACEHOLDER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class RequestTemplate(NamedTuple):
    """A request that the sidecar sends itself, such as `GET /api/sessions/{subject}`."""

    method: str
    path: str
    body: Document = None

    @classmethod
    def of(cls, text: str, body: Document = None) -> "RequestTemplate":
        """Return the template of a setting such as `GET /api/sessions/{subject}`."""
        template = parse_request(text)
        return cls(template.method, template.path, body)


class FallbackDocument(NamedTuple):
    """The fallback document of a route that has one."""

    status: int
    body: Document


@dataclass(frozen=True, slots=True)
class RecoveryRules:
    """The recovery that a route allows."""

    on_conflict: RequestTemplate | None
    on_missing: RequestTemplate | None
    stale_if_error_s: float | None
    fallback: FallbackDocument | None

    @classmethod
    def of(cls, settings: RouteSettings) -> "RecoveryRules":
        """Return the rules of a route, with its request templates parsed."""
        missing, fallback = settings.on_missing, settings.fallback
        return cls(
            None if settings.on_conflict is None else RequestTemplate.of(settings.on_conflict),
            None if missing is None else RequestTemplate.of(missing.request, missing.body),
            settings.stale_if_error,
            None if fallback is None else FallbackDocument(fallback.status, fallback.body),
        )

    def without_fallback(self) -> "RecoveryRules":
        """Return the rules for a client that cannot read the fallback document."""
        return RecoveryRules(self.on_conflict, self.on_missing, self.stale_if_error_s, None)


class RecoveryKind(FastStrEnum):
    """How a response was recovered; the value is used in the record and the metric."""

    EXISTING = "existing_session"
    CREATED = "created"
    PREFLIGHT = "preflight"
    STALE = "stale"
    FALLBACK = "fallback"


class Result(NamedTuple):
    """The result of a flight for all its callers: the outcome, and how it was recovered."""

    outcome: Outcome
    recovery: RecoveryKind | None = None
    received_status: int | None = None  # of the response that was replaced
    error: Reason | None = None  # the failure that was replaced
    ttl_s: int | None = None  # of a cached response
    replayed: bool = False  # the stored response to an earlier request with the same idempotency key


def unrecovered(outcome: Outcome) -> Result:
    """Return `Result(outcome)` in half the time: the constructor of a NamedTuple is a Python function."""
    return tuple.__new__(Result, (outcome, None, None, None, None, False))


class LoadExisting(NamedTuple):
    """Load the existing resource from upstream."""

    method: str
    target: bytes


class Create(NamedTuple):
    """Create the missing resource upstream."""

    method: str
    target: bytes
    body: bytes


class LoadAgain(NamedTuple):
    """Repeat the client's request: the resource was created meanwhile."""


class UseStale(NamedTuple):
    """Use a cached response of the same principal."""


class AnswerInstead(NamedTuple):
    """Respond with this result."""

    result: Result

    @property
    def kind(self) -> RecoveryKind:
        """Return how it was recovered."""
        assert self.result.recovery is not None
        return self.result.recovery

    def readable(self, cors: Lines) -> Result:
        """Return the result with the CORS lines that a document of the sidecar needs."""
        response = self.result.outcome
        if self.kind is not RecoveryKind.FALLBACK or not cors or not isinstance(response, Response):
            return self.result
        return self.result._replace(outcome=response._replace(fields=Fields(response.fields.lines + cors)))


class Honest(NamedTuple):
    """Respond with the outcome itself."""


HONEST = Honest()
Plan = LoadExisting | Create | LoadAgain | UseStale | AnswerInstead | Honest


def plan(rules: RecoveryRules, outcome: Outcome, names: Mapping[str, str], subject: str | None) -> Plan:
    """Return the next step to recover from `outcome`."""
    verdict = classify(outcome)
    if verdict is Verdict.CONFLICT and rules.on_conflict is not None:
        target = fill_path(rules.on_conflict.path, names, subject)
        if target is not None:
            return LoadExisting(rules.on_conflict.method, target)
    if verdict is Verdict.MISSING and rules.on_missing is not None:
        target = fill_path(rules.on_missing.path, names, subject)
        if target is not None and _is_text(_values(names, subject)):
            document = filled(rules.on_missing.body, names, subject)
            return Create(rules.on_missing.method, target, orjson.dumps(document))
    if verdict in OUTAGE:
        if rules.stale_if_error_s is not None and not _is_unwanted(outcome):
            return UseStale()
        return last_resort(rules, outcome, names, subject)
    return HONEST


def _is_unwanted(outcome: Outcome) -> bool:
    """Tell whether no substitute is allowed: the client left, sent a bad request, or may not be served unrecorded."""
    no_substitute = (Reason.CANCELLED, Reason.REQUEST_ERROR, Reason.UNRECORDED)
    return isinstance(outcome, Failure) and outcome.reason in no_substitute


def last_resort(
    rules: RecoveryRules, outcome: Outcome, names: Mapping[str, str], subject: str | None
) -> AnswerInstead | Honest:
    """Return the route's fallback, if any; not for a client that left or whose request was refused."""
    if rules.fallback is None or _is_unwanted(outcome):
        return HONEST
    return AnswerInstead(recovered(outcome, _document(rules.fallback, names, subject), RecoveryKind.FALLBACK))


def _document(fallback: FallbackDocument, names: Mapping[str, str], subject: str | None) -> Response:
    """Return the fallback as a response: JSON, or without content if the status has none (RFC 9110 section 6.4.1)."""
    status = fallback.status
    if status in NO_CONTENT:
        lines: Lines = ((b"Content-Length", b"0"),) if status == 205 else ()
        return Response(status, b"", Fields(lines), b"", Framing.NONE)
    body = orjson.dumps(filled(fallback.body, names, subject))
    lines = ((b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)))
    return Response(status, b"", Fields(lines), body, Framing.LENGTH)


def after_load(
    rules: RecoveryRules, before: Outcome, found: Outcome, names: Mapping[str, str], subject: str | None
) -> AnswerInstead | Honest:
    """Return the loaded resource, or else the fallback."""
    if isinstance(found, Response) and 200 <= found.status < 300:
        return AnswerInstead(recovered(before, found, RecoveryKind.EXISTING))
    return last_resort(rules, before, names, subject)


def after_create(before: Outcome, created: Outcome) -> AnswerInstead | LoadAgain | Honest:
    """Return the created resource, or plan to load it if it existed already or came without a body."""
    if not isinstance(created, Response):
        return HONEST
    if created.status == 409:
        return LoadAgain()
    if not 200 <= created.status < 300:
        return HONEST
    if created.body == b"":  # 204, or a 201 with only a Location
        return LoadAgain()
    document = created._replace(status=200, reason=b"OK", fields=created.fields.without((b"location",)))
    return AnswerInstead(recovered(before, document, RecoveryKind.CREATED))


def after_load_again(before: Outcome, found: Outcome) -> AnswerInstead | Honest:
    """Return the response to the repeated request."""
    good = isinstance(found, Response) and 200 <= found.status < 300
    return (
        AnswerInstead(recovered(before, found, RecoveryKind.CREATED))
        if good and isinstance(found, Response)
        else HONEST
    )


def preflight(outcome: Outcome, known: Response | None) -> AnswerInstead | None:
    """Return, in an outage, a known response to the preflight: the upstream's last one, or the configured one."""
    if known is None or classify(outcome) not in OUTAGE or _is_unwanted(outcome):
        return None
    return AnswerInstead(recovered(outcome, known, RecoveryKind.PREFLIGHT))


def uses(plan: Plan, found: Outcome) -> bool:
    """Tell whether the plan uses the body of the outcome that was found."""
    if not isinstance(plan, AnswerInstead) or not isinstance(found, Response):
        return False
    response = plan.result.outcome
    return isinstance(response, Response) and response.body is found.body


def recovered(before: Outcome, response: Response, kind: RecoveryKind) -> Result:
    """Return a success with its reason: the received status or the failure."""
    if isinstance(before, Response):
        return Result(response, kind, received_status=before.status)
    return Result(response, kind, error=before.reason)


def own_request(request: Request, method: str, target: bytes, body: bytes = b"", key: bytes | None = None) -> Request:
    """Return a request of the sidecar for the same principal, without fields about the original content."""
    lines = tuple(
        line
        for line in request.fields.lines
        if (name := line[0].lower()) not in NOT_INHERITED and not name.startswith(NOT_INHERITED_PREFIXES)
    )
    framing = Framing.NONE
    if body:
        framing = Framing.LENGTH
        lines += ((b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body)))
    if key is not None:
        lines += ((b"Idempotency-Key", key),)
    return Request(method, target, Fields(lines), request.peer, body, framing, request.authority, client=request.client)


def fill_path(template: str, names: Mapping[str, str], subject: str | None) -> bytes | None:
    """Fill a path's placeholders, each percent-encoded as one segment.

    Return None if one is empty, `.`, `..` or too long for any backend.
    """
    values = _values(names, subject)
    wanted = [values.get(name, "") for name in _PLACEHOLDER.findall(template)]
    if any(value in ("", ".", "..") or len(value) > _LONGEST_SEGMENT for value in wanted):
        return None
    return _PLACEHOLDER.sub(lambda m: quote(values[m[1]], safe="", errors="surrogateescape"), template).encode("ascii")


def filled(document: object, names: Mapping[str, str], subject: str | None) -> object:
    """Return a document with the placeholders in its strings filled."""
    return _filled(document, {name: _text(value) for name, value in _values(names, subject).items()})


def _values(names: Mapping[str, str], subject: str | None) -> dict[str, str]:
    return {**names, **({"subject": subject} if subject else {})}


def _text(value: str) -> str:
    """Return a value that JSON can represent: invalid UTF-8 of a path becomes U+FFFD."""
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _is_text(values: Mapping[str, str]) -> bool:
    """Tell whether JSON can represent the values exactly: nothing is created under a changed name."""
    return all(_text(value) == value for value in values.values())


def _filled(document: object, values: Mapping[str, str]) -> object:
    """Fill placeholders in a document's strings; the JSON encoder escapes them."""
    if isinstance(document, str):
        return _PLACEHOLDER.sub(lambda m: values.get(m[1], m[0]), document)
    if isinstance(document, Mapping):
        return {key: _filled(value, values) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [_filled(value, values) for value in document]
    return document
