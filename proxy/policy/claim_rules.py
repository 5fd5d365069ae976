"""Decide who may send a request under a claim, and what the other callers get. A store remembers the claims.

free -> pending -> settled (stored for `keep_s`), or free again: the result is not stored, or nothing was sent
                -> orphaned: the replica that sent it is dead, and its outcome is unknown
"""

from hashlib import blake2b
from typing import NamedTuple

from proxy.http.fields import Lines, encoded
from proxy.http.message import (
    Failure,
    Lost,
    Request,
    Response,
    response_in,
)
from proxy.http.problems import Reason, Refusal
from proxy.policy.bounded import ANYBODY, Holder
from proxy.policy.idempotency import IdempotencyKey
from proxy.policy.recovery_plan import RecoveryKind, Result
from proxy.policy.routing import Route

# Statuses that an equal request may not get next time: they depend on the caller, on existence or on time.
_NOT_FINAL = frozenset({401, 403, 404, 407, 408, 421, 423, 425, 429})
REPLAY_S = 86_400.0  # seconds for which a final response is replayed (24 h)


class Claim(NamedTuple):
    """A claim on a client's key, or on a flight's request key for all replicas.

    `name` is a digest, so that a store does not reveal keys; `fingerprint` identifies the request; `key` is the
    Idempotency-Key for the upstream. A final response is kept for `keep_s` seconds, a flight's not at all; an orphaned
    claim is remembered for `orphaned_s`. `holder` is charged for the entry. A response is erased by its `subject`.
    """

    name: str
    fingerprint: str
    key: str
    keep_s: float
    orphaned_s: float
    holder: Holder = ANYBODY
    subject: str | None = None


class Acquired(NamedTuple):
    """This process may send the request; `token` proves its ownership."""

    token: str


class HeldByOther(NamedTuple):
    """Another caller is sending the request; its lease lasts `lease_s` more seconds."""

    fingerprint: str
    key: str
    token: str
    lease_s: float = 0.0


class Orphaned(NamedTuple):
    """The owner's lease expired before it settled the claim."""

    fingerprint: str
    key: str
    token: str


class Settled(NamedTuple):
    """The request was sent. `result` is None if the response could not be stored or shared; `subject`, if not known."""

    fingerprint: str
    key: str
    result: Result | None
    ttl_s: float
    subject: str | None = None


class StoreUnavailable(NamedTuple):
    """The store is unavailable."""


ClaimState = Acquired | HeldByOther | Orphaned | Settled | StoreUnavailable


class Ask(NamedTuple):
    """Send the request, with the key of an earlier attempt if there was one."""

    adopted: str = ""


class Wait(NamedTuple):
    """Wait for the claim's owner."""

    held: HeldByOther


class TakeOver(NamedTuple):
    """Send the request in place of a dead owner."""

    orphan: Orphaned


class RespondWith(NamedTuple):
    """Respond with this result."""

    result: Result


class Misuse(NamedTuple):
    """Refuse: the key belongs to another request."""


ClaimAction = Ask | Wait | TakeOver | RespondWith | Misuse

UNKNOWN = Result(
    Failure(
        Reason.RESPONSE_TIMEOUT,
        sent=True,
        detail="outcome unknown: the request was sent before, and the response is lost; check the result first",
    )
)

TOO_LARGE = Result(
    Failure(
        Reason.NOT_STORED,
        sent=True,
        detail="the request was executed before with this Idempotency-Key, and its response was too large to store "
        "(replay_answer_limit); load the result",
    )
)
NO_ROOM = Result(
    Failure(
        Reason.NOT_STORED,
        sent=True,
        detail="the request was executed before with this Idempotency-Key, and there was no memory for its response "
        "(listen.max_memory); load the result",
    )
)
BROKE_OFF = Result(
    Failure(
        Reason.RESPONSE_INCOMPLETE,
        sent=True,
        detail="the request was executed before with this Idempotency-Key, and its response broke off; load the result",
    )
)
ERASED = Result(
    Failure(
        Reason.NOT_STORED,
        sent=True,
        detail="the request was executed before with this Idempotency-Key, and its response was erased; "
        "load the result",
    )
)
_NOT_AGAIN = (TOO_LARGE.outcome, NO_ROOM.outcome, BROKE_OFF.outcome, ERASED.outcome)
_LOST = {Lost.TOO_LARGE: TOO_LARGE, Lost.BROKEN: BROKE_OFF}


def store_gone() -> Refusal:
    """Return the failure for an unavailable store that the route requires."""
    detail = "the store that this route requires cannot be reached; try again shortly"
    return Refusal(503, "store", detail, closes=False, error=Reason.UNRECORDED)


STORE_GONE = Result(Failure(Reason.UNRECORDED, sent=False, detail=store_gone().detail))


def of_key(
    route: Route, request: Request, principal: bytes, key: IdempotencyKey, holder: Holder = ANYBODY,
    subject: str | None = None,
) -> Claim:  # fmt: skip
    """Return the claim of a client's key, from principal, route and key."""
    body = request.body if isinstance(request.body, bytes) else request.fields.get(b"content-length", b"")
    fingerprint = _digest(request.method.encode(), request.target, body, *_trailers(request))
    name = _digest(b"key", route.operation.encode(), principal, key.value)
    return Claim(name, fingerprint, _text(key), REPLAY_S, REPLAY_S, holder, subject)


def of_flight(route: Route, request_key: bytes, key: IdempotencyKey | None, subject: str | None = None) -> Claim:
    """Return the claim that represents a flight to other replicas."""
    return Claim(_digest(b"flight", request_key), "", _text(key), 0.0, 2 * route.total_timeout_s, subject=subject)


def judge(claim: Claim, state: ClaimState, route: Route) -> ClaimAction:
    """Return the action for this request from the claim's state."""
    if isinstance(state, StoreUnavailable):
        return store_unavailable(route)
    if isinstance(state, Acquired):
        return Ask()
    if state.fingerprint != claim.fingerprint:
        return Misuse()
    if isinstance(state, HeldByOther):
        return Wait(state)
    if isinstance(state, Settled):
        if state.result is None or is_lost(state.result):
            return Ask(state.key) if repeatable(route, state.key) else RespondWith(state.result or UNKNOWN)
        return RespondWith(state.result)
    return TakeOver(state) if repeatable(route, state.key) else RespondWith(UNKNOWN)


def store_unavailable(route: Route) -> ClaimAction:
    """Return the action if the store is unavailable."""
    return RespondWith(STORE_GONE) if route.store_required else Ask()


def store_lost(route: Route, held: HeldByOther) -> ClaimAction:
    """Return the action if the store became unavailable while another caller sent the request."""
    return RespondWith(STORE_GONE) if route.store_required else _instead(route, held.key)


def repeatable(route: Route, key: str) -> bool:
    """Tell whether a possibly executed request may be sent again: with the same key, or if a 409 reveals it."""
    return (route.honours_idempotency and bool(key)) or route.recovery.on_conflict is not None


def to_keep(claim: Claim, result: Result) -> bool:
    """Tell whether a key stays used: the backend's response is final, even if its body is incomplete."""
    response = response_in(result.outcome)
    if not claim.keep_s or response is None or result.recovery is RecoveryKind.FALLBACK:
        return False
    return 200 <= response.status < 500 and response.status not in _NOT_FINAL


def stored(result: Result, limit: int) -> Result:
    """Return what is kept of a finished response: the response, or why it cannot be replayed."""
    response = result.outcome
    if isinstance(response, Failure):
        return result if response.partial is None else BROKE_OFF
    return TOO_LARGE if isinstance(response.body, bytes) and len(response.body) > limit else result


def collected(result: Result, body: bytes | Lost, trailers: Lines) -> Result:
    """Return what is kept of a streamed response: the complete response, or why it cannot be replayed."""
    if isinstance(body, Lost):
        return _LOST[body]
    response = result.outcome
    assert isinstance(response, Response)
    return result._replace(outcome=response._replace(body=body, trailers=trailers))


def may_wait(claim: Claim, result: Result) -> bool:
    """Tell whether callers may wait for the end of a streamed response: it is expected to end.

    Callers on other replicas do not wait for an event stream.
    """
    response = result.outcome
    if not isinstance(response, Response) or response.status == 101:
        return False
    return claim.keep_s > 0 or not response.fields.get(b"content-type", b"").lower().startswith(b"text/event-stream")


def is_lost(result: Result) -> bool:
    """Tell whether the request was executed, but its response cannot be replayed."""
    return isinstance(result.outcome, Failure) and result.outcome in _NOT_AGAIN


def replayed(settled: Result, ttl_s: float) -> Result:
    """Return a stored response as a replay."""
    return settled._replace(replayed=True, ttl_s=int(ttl_s))


def _instead(route: Route, key: str) -> ClaimAction:
    return Ask(key) if repeatable(route, key) else RespondWith(UNKNOWN)


def _text(key: IdempotencyKey | None) -> str:
    return "" if key is None else key.value.decode("latin-1")


def _trailers(request: Request) -> tuple[bytes, ...]:
    return (encoded(request.trailers),) if request.trailers else ()


def _digest(*parts: bytes) -> str:
    digest = blake2b(digest_size=20)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
