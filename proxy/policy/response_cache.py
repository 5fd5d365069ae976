"""Which answers are kept, for whom, and for how long they may be read again (reuse, stale_if_error).

docs/caching.md is the table of it, with the section of RFC 9111 that each rule follows or departs from.
"""

from enum import Enum
from hashlib import blake2b
from math import ceil
from typing import Final, NamedTuple

from proxy.http.message import Outcome, Request, Response
from proxy.policy import conditional
from proxy.policy.cache_control import Directives, directives, lifetime_s, seconds
from proxy.policy.recovery_plan import RecoveryKind, Result, told
from proxy.policy.routing import Route

MOST_VARIED: Final = 32  # names in Vary; an answer that names more is not kept

_GONE = frozenset({403, 404, 410})  # the backend says so now: an older answer of its own is no substitute
_RELOADS = frozenset({b"no-cache", b"no-store"})
_REVALIDATE = (b"must-revalidate", b"proxy-revalidate", b"s-maxage")  # RFC 9111 sections 5.2.2.2, .8 and .10


class Keep(Enum):
    """What becomes of a new answer: it is stored, or what is kept is left, or dropped because it is true no more."""

    STORE = "store"
    LEAVE = "leave"
    DROP = "drop"


class CachedResponse(NamedTuple):
    """An answer with the wall time at which it arrived and the seal stamp under which its question was asked.

    `varied` is a digest of what the question said in the fields that the answer's Vary names.
    """

    response: Response
    arrived: float
    stamp: int
    varied: bytes = b""

    def age_s(self, wall: float) -> int:
        """Return its age in whole seconds, the upstream's own Age included (RFC 9111 section 4.2.3)."""
        before = self.response.fields.get(b"age") or b"0"
        return int(max(0.0, wall - self.arrived)) + (int(before) if before.isdigit() and len(before) < 10 else 0)

    def aged(self, wall: float) -> Response:
        """Return the answer with its true Age."""
        return self.response._replace(fields=self.response.fields.with_line(b"Age", b"%d" % self.age_s(wall)))

    def fits(self, request: Request) -> bool:
        """Tell whether the request says the same as the answer's own in every field that Vary names (section 4.1)."""
        return self.varied == varied(self.response, request)


def varied(response: Response, request: Request) -> bytes:
    """Return a digest of what the request says in the fields that the answer varies by; b"" where it does not vary."""
    if b"vary" not in response.fields:
        return b""
    digest = blake2b(digest_size=16)
    for name in sorted(set(response.fields.tokens(b"vary"))):
        for part in (name, *request.said(name)):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        digest.update(b";")
    return digest.digest()


def may_read(route: Route, request: Request) -> bool:
    """Tell whether a kept answer may serve the request: a reload asks past it."""
    if route.reuse_s is None or not request.safe:
        return False
    said = directives(request.fields)
    return _RELOADS.isdisjoint(said) and seconds(said, b"max-age") != 0 and b"pragma" not in request.fields


def judge(route: Route, request: Request, result: Result, *, anonymous: bool) -> Keep:
    """Return what becomes of an answer, and of the one that is kept for the same question.

    Kept is what is whole and successful, sets no cookie, and is not forbidden every use by its own fields.
    """
    answer = result.outcome
    if not route.keeps or not request.safe or result.recovery is not None or not isinstance(answer, Response):
        return Keep.LEAVE
    if answer.status in _GONE:
        return Keep.DROP
    if not answer.whole or not 200 <= answer.status < 300 or b"set-cookie" in answer.fields:
        return Keep.LEAVE
    if answer.status == 206 or b"range" in request.fields or b"no-store" in directives(request.fields):
        return Keep.LEAVE
    return Keep.STORE if _storable(route, answer, anonymous=anonymous) else Keep.DROP


def merged(kept: CachedResponse | None, result: Result) -> Result:
    """Return a 304's result as the kept answer that it is about, with its new fields; any other as it is."""
    answer = result.outcome
    if kept is None or not isinstance(answer, Response) or answer.status != 304:
        return result
    fresh = conditional.refreshed(kept.response, answer)
    return result if fresh is None else result._replace(outcome=fresh)


def _storable(route: Route, answer: Response, *, anonymous: bool) -> bool:
    names = answer.fields.tokens(b"vary") if b"vary" in answer.fields else ()
    if b"*" in names or len(names) > MOST_VARIED:
        return False
    said = directives(answer.fields)
    if route.honour_no_store and b"no-store" in said:
        return False
    if anonymous and b"private" in said and b"private" not in route.ignored_directives:
        return False  # several people may share an address
    return not _forbidden(route, answer, 0)


def _forbidden(route: Route, answer: Response, age_s: int) -> bool:
    """Tell whether the backend forbids that the answer is given at this age without asking it (RFC 9111 4.2.4)."""
    if b"cache-control" not in answer.fields:
        return False
    said: Directives = {
        name: argument for name, argument in directives(answer.fields).items() if name not in route.ignored_directives
    }
    if b"no-cache" in said:
        return True
    return any(name in said for name in _REVALIDATE) and age_s >= lifetime_s(answer.fields, said)


def ends_session(outcome: Outcome) -> bool:
    """Tell whether the upstream no longer knows who asks: what was kept for this principal goes."""
    return isinstance(outcome, Response) and outcome.status == 401


def keep_for(route: Route) -> float:
    """Return how long an answer is kept, in seconds: as long as any rule of the route may read it."""
    return max(route.reuse_s or 0.0, route.recovery.stale_if_error_s or 0.0)


def stale(route: Route, request: Request, kept: CachedResponse, before: Outcome, wall: float) -> Result | None:
    """Return the kept answer in the place of an outage's, with its true Age, or None where it may not stand.

    A client that has it already gets the 304 that it asked for.
    """
    elapsed, limit_s = wall - kept.arrived, route.recovery.stale_if_error_s or 0.0
    if not 0 <= elapsed < limit_s or _forbidden(route, kept.response, kept.age_s(wall)):
        return None
    answer = _answer(request, kept.aged(wall))
    return told(before, answer, RecoveryKind.STALE)._replace(ttl_s=-ceil(elapsed - (route.reuse_s or 0.0)))


def reread(route: Route, request: Request, kept: CachedResponse, wall: float) -> Result | None:
    """Return the kept answer with its true Age and the seconds it has left, or None where its time is over.

    A client that has it already gets the 304 that it asked for.
    """
    elapsed, reuse_s, age_s = wall - kept.arrived, route.reuse_s or 0.0, kept.age_s(wall)
    if not 0 <= elapsed < reuse_s or _forbidden(route, kept.response, age_s):
        return None
    if b"cache-control" in request.fields and not _young_enough(request, age_s, reuse_s - elapsed):
        return None
    return Result(_answer(request, kept.aged(wall)), ttl_s=int(reuse_s - elapsed))


def _young_enough(request: Request, age_s: int, left_s: float) -> bool:
    """Tell whether the answer is as young as the request wants it (RFC 9111 sections 5.2.1.1 and 5.2.1.3)."""
    said = directives(request.fields)
    oldest, least = seconds(said, b"max-age"), seconds(said, b"min-fresh")
    return (oldest is None or age_s <= oldest) and (least is None or left_s >= least)


def _answer(request: Request, response: Response) -> Response:
    return conditional.not_modified(response) if conditional.unchanged(request, response) else response
