"""Since when each route has been what it is: what was kept for another route of its name is not given out."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from proxy.policy.routing import Route

Urls = Mapping[str, tuple[str, ...]]  # by upstream


class Tenure(NamedTuple):
    """What the keys of a route's kept answers begin with, whom it asks, and the wall time since which it does."""

    cached_under: bytes
    upstream: str
    since: float


class RouteChanges:
    """Remember what each route asks, from one reload to the next."""

    def __init__(self) -> None:
        self._known: dict[str, Tenure] = {}

    def take(self, routes: Iterable[Route], urls: Urls, wall: float) -> list[Tenure]:
        """Take the routes that there are from now on (wall time in seconds); return what has ended.

        What was kept before the first call may be read: another process may have kept it.
        """
        before, since = self._known, wall if self._known else 0.0
        self._known = {}
        for route in routes:
            known, cached_under = before.get(route.operation), _cached_under(route, urls[route.upstream])
            lasts = known is not None and known.cached_under == cached_under
            self._known[route.operation] = known if known and lasts else Tenure(cached_under, route.upstream, since)
        return [known for name, known in before.items() if self._known.get(name) is not known]

    def of(self, operation: str) -> Tenure:
        """Return the present tenure of a route."""
        return self._known[operation]


def _cached_under(route: Route, urls: tuple[str, ...]) -> bytes:
    """Return a name of what makes a route's answers: whom it asks for what, and how it tells callers apart.

    Every replica with the same configuration has the same one.
    """
    asks = (
        route.operation, route.method, route.template, route.upstream, urls, route.host, route.subject,
        str(route.coalesce), route.match_body, route.principal, sorted(route.neutral_fields),
    )  # fmt: skip
    return blake2b(repr(asks).encode(), digest_size=8).digest()
