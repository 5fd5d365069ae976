"""Which responses are cached, for which callers, and how long they may be reused (reuse, stale_if_error).

docs/caching.md has the table of rules, with the section of RFC 9111 that each follows or departs from.
"""

from enum import Enum
from hashlib import blake2b
from math import ceil
from typing import Final, NamedTuple

from proxy.http.fields import Fields
from proxy.http.message import Outcome, Request, Response
from proxy.http.numbers import LARGEST, saturated
from proxy.policy import conditional
from proxy.policy.cache_control import Directives, directives, lifetime_s, seconds
from proxy.policy.dates import unix_seconds
from proxy.policy.recovery_plan import RecoveryKind, Result, recovered
from proxy.policy.routing import Route

MOST_VARIED: Final = 32  # names in Vary; a response that names more is not cached

_GONE = frozenset({403, 404, 410})  # the backend now denies the resource: an older response must not replace this
_RELOADS = frozenset({b"no-cache", b"no-store"})
_REVALIDATE = (b"must-revalidate", b"proxy-revalidate", b"s-maxage")  # RFC 9111 sections 5.2.2.2, .8 and .10


class Keep(Enum):
    """The action for a new response: store it, leave the cached one, or drop the cached one."""

    STORE = "store"
    LEAVE = "leave"
    DROP = "drop"


class CachedResponse(NamedTuple):
    """A response with its arrival (wall time) and the invalidation stamp from when its request was sent.

    `varied` is a digest of the request's values of the fields that Vary names. Erasure finds the response by
    its `subject`, which is None if the store keeps only the subject's digest.
    """

    response: Response
    arrived: float
    stamp: int
    varied: bytes = b""
    subject: str | None = None

    def age_s(self, wall: float) -> int:
        """Return the age in whole seconds, including the age at its arrival (RFC 9111 section 4.2.3)."""
        return min(int(max(0.0, wall - self.arrived)) + received_age_s(self.response.fields), LARGEST)

    def aged(self, wall: float) -> Response:
        """Return the response with its current Age."""
        return self.response._replace(fields=self.response.fields.with_line(b"Age", b"%d" % self.age_s(wall)))

    def fits(self, request: Request) -> bool:
        """Tell whether the request has the same values in all fields that Vary names (RFC 9111 section 4.1)."""
        return self.varied == varied(self.response, request)


def received_age_s(fields: Fields) -> int:
    """Return the upstream's Age in seconds, 0 if it is invalid; the first member of a list (RFC 9111 section 5.1)."""
    if b"age" not in fields:
        return 0
    members = fields.tokens(b"age")
    return saturated(members[0]) or 0 if members else 0


def with_age(response: Response, answer: Response, wall: float) -> Response:
    """Return a response with its age at arrival, if that is more than the upstream's Age.

    `answer` is the response itself, or the 304 that refreshed it. Its Date shows how long before its arrival it was
    generated (`apparent_age` in RFC 9111 section 4.2.3).
    """
    date = answer.fields.get(b"date")
    sent = None if date is None else unix_seconds(date)
    age_s = 0 if sent is None else int(min(max(0.0, wall - sent), LARGEST))
    if age_s <= received_age_s(response.fields):
        return response
    return response._replace(fields=response.fields.with_line(b"Age", b"%d" % age_s))


def varied(response: Response, request: Request) -> bytes:
    """Return a digest of the request's values of the fields that Vary names; b"" without Vary."""
    if b"vary" not in response.fields:
        return b""
    digest = blake2b(digest_size=16)
    for name in sorted(set(response.fields.tokens(b"vary"))):
        for part in (name, *request.forwarded_values(name)):
            digest.update(b"%d:" % len(part))
            digest.update(part)
        digest.update(b";")
    return digest.digest()


def may_read(route: Route, request: Request) -> bool:
    """Tell whether a cached response may be used for the request. A reload forbids it."""
    if route.reuse_s is None or not request.safe:
        return False
    given = directives(request.fields)
    return _RELOADS.isdisjoint(given) and seconds(given, b"max-age") != 0 and b"pragma" not in request.fields


def judge(route: Route, request: Request, result: Result, *, anonymous: bool) -> Keep:
    """Return what to do with a response and with the cached one for the same key.

    A response is cached if it is complete and successful, sets no cookie, and its fields do not forbid every reuse.
    """
    response = result.outcome
    if not route.keeps or not request.safe or result.recovery is not None or not isinstance(response, Response):
        return Keep.LEAVE
    if response.status in _GONE:
        return Keep.DROP
    if not response.whole or not 200 <= response.status < 300 or b"set-cookie" in response.fields:
        return Keep.LEAVE
    if response.status == 206 or b"range" in request.fields or b"no-store" in directives(request.fields):
        return Keep.LEAVE
    return Keep.STORE if _storable(route, response, anonymous=anonymous) else Keep.DROP


def merged(cached: CachedResponse | None, result: Result) -> Result:
    """Return a 304's result as the cached response with updated fields; return any other result unchanged."""
    response = result.outcome
    if cached is None or not isinstance(response, Response) or response.status != 304:
        return result
    fresh = conditional.refreshed(cached.response, response)
    return result if fresh is None else result._replace(outcome=fresh)


def _storable(route: Route, response: Response, *, anonymous: bool) -> bool:
    names = response.fields.tokens(b"vary") if b"vary" in response.fields else ()
    if b"*" in names or len(names) > MOST_VARIED:
        return False
    given = directives(response.fields)
    if route.honour_no_store and b"no-store" in given:
        return False
    if anonymous and b"private" in given and b"private" not in route.ignored_directives:
        return False  # several users may share an address
    return not _forbidden(route, response, 0)


def _forbidden(route: Route, response: Response, age_s: int) -> bool:
    """Tell whether the backend forbids reuse at this age without validation (RFC 9111 section 4.2.4)."""
    if b"cache-control" not in response.fields:
        return False
    given: Directives = {
        name: argument for name, argument in directives(response.fields).items() if name not in route.ignored_directives
    }
    if b"no-cache" in given:
        return True
    return any(name in given for name in _REVALIDATE) and age_s >= lifetime_s(response.fields, given)


def ends_session(outcome: Outcome) -> bool:
    """Tell whether the upstream rejects the caller's credentials: the principal's cached responses are dropped."""
    return isinstance(outcome, Response) and outcome.status == 401


def keep_for(route: Route) -> float:
    """Return how many seconds a response is cached: the longest time that any rule of the route may use it."""
    return max(route.reuse_s or 0.0, route.recovery.stale_if_error_s or 0.0)


def stale(route: Route, request: Request, cached: CachedResponse, before: Outcome, wall: float) -> Result | None:
    """Return the cached response, with its current Age, in place of an outage, or None if it is not allowed.

    A client with a current copy gets the 304 that it requested.
    """
    elapsed, limit_s = wall - cached.arrived, route.recovery.stale_if_error_s or 0.0
    if not 0 <= elapsed < limit_s or _forbidden(route, cached.response, cached.age_s(wall)):
        return None
    response = _response_for(request, cached.aged(wall))
    return recovered(before, response, RecoveryKind.STALE)._replace(ttl_s=-ceil(elapsed - (route.reuse_s or 0.0)))


def reread(route: Route, request: Request, cached: CachedResponse, wall: float) -> Result | None:
    """Return the cached response with its current Age and remaining seconds, or None if it has expired.

    A client with a current copy gets the 304 that it requested.
    """
    elapsed, reuse_s, age_s = wall - cached.arrived, route.reuse_s or 0.0, cached.age_s(wall)
    if not 0 <= elapsed < reuse_s or _forbidden(route, cached.response, age_s):
        return None
    if b"cache-control" in request.fields and not _young_enough(request, age_s, reuse_s - elapsed):
        return None
    return Result(_response_for(request, cached.aged(wall)), ttl_s=int(reuse_s - elapsed))


def _young_enough(request: Request, age_s: int, left_s: float) -> bool:
    """Tell whether the age satisfies the request (RFC 9111 sections 5.2.1.1 and 5.2.1.3)."""
    given = directives(request.fields)
    oldest, least = seconds(given, b"max-age"), saturated(given.get(b"min-fresh", b""))
    return (oldest is None or age_s <= oldest) and (least is None or left_s >= least)


def _response_for(request: Request, response: Response) -> Response:
    return conditional.not_modified(response) if conditional.unchanged(request, response) else response
