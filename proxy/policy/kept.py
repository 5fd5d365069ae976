"""Which answers are kept, and for how long they may be read again (reuse, stale_if_error)."""

from math import ceil
from typing import NamedTuple

from proxy.message import Outcome, Request, Response
from proxy.policy.recovery import Kind, Result, told
from proxy.policy.routing import Route


class Kept(NamedTuple):
    """An answer with the wall time at which it arrived and the seal stamp under which its question was asked."""

    response: Response
    arrived: float
    stamp: int

    def age_s(self, wall: float) -> int:
        """Return its age in whole seconds, the upstream's own Age included (RFC 9111 section 4.2.3)."""
        before = self.response.fields.get(b"age") or b"0"
        return int(max(0.0, wall - self.arrived)) + (int(before) if before.isdigit() and len(before) < 10 else 0)

    def aged(self, wall: float) -> Response:
        """Return the answer with its true Age."""
        return self.response._replace(fields=self.response.fields.with_line(b"Age", b"%d" % self.age_s(wall)))


_RELOADS = frozenset({b"no-cache", b"no-store", b"max-age=0"})  # the last is what browsers send


def may_read(route: Route, request: Request) -> bool:
    """Tell whether a kept answer may serve the request: a reload asks past it (C10)."""
    if route.reuse_s is None or not request.safe:
        return False
    directives = set(request.fields.tokens(b"cache-control"))
    return directives.isdisjoint(_RELOADS) and b"pragma" not in request.fields


def to_keep(route: Route, request: Request, result: Result) -> Response | None:
    """Return the answer if it is to be kept: whole, successful, no cookie and, where the route asks, not `no-store`."""
    answer = result.outcome
    if not route.keeps or not request.safe or result.recovery is not None or not isinstance(answer, Response):
        return None
    if not answer.whole or not 200 <= answer.status < 300 or b"set-cookie" in answer.fields:
        return None
    forbidden = route.honour_no_store and b"no-store" in answer.fields.tokens(b"cache-control")
    return None if forbidden else answer


def ends_session(outcome: Outcome) -> bool:
    """Tell whether the upstream no longer knows who asks: what was kept for this principal goes (C4)."""
    return isinstance(outcome, Response) and outcome.status == 401


def keep_for(route: Route) -> float:
    """Return how long an answer is kept, in seconds: as long as any rule of the route may read it."""
    return max(route.reuse_s or 0.0, route.recovery.stale_if_error_s or 0.0)


def stale(route: Route, kept: Kept, before: Outcome, wall: float) -> Result | None:
    """Return the kept answer in the place of an outage's (S3), with its true Age, or None where it is too old."""
    elapsed, limit_s = wall - kept.arrived, route.recovery.stale_if_error_s or 0.0
    if not 0 <= elapsed < limit_s:
        return None
    return told(before, kept.aged(wall), Kind.STALE)._replace(ttl_s=-ceil(elapsed - (route.reuse_s or 0.0)))


def reread(route: Route, kept: Kept, wall: float) -> Result | None:
    """Return the kept answer with its true Age and the seconds it has left, or None where its time is over."""
    elapsed, reuse_s = wall - kept.arrived, route.reuse_s or 0.0
    if not 0 <= elapsed < reuse_s:
        return None
    return Result(kept.aged(wall), ttl_s=int(reuse_s - elapsed))
