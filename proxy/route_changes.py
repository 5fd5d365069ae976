"""Track route changes across reloads: responses cached for an earlier version of a route are not used."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from proxy.policy.routing import Route

Backends = Mapping[str, tuple[str, ...]]  # by upstream: its addresses, and how its connections are secured


class RouteVersion(NamedTuple):
    """The prefix of a route's cache keys, its upstream, and the wall time of its last change."""

    cached_under: bytes
    upstream: str
    since: float


class RouteChanges:
    """Remember each route from one reload to the next."""

    def __init__(self) -> None:
        self._known: dict[str, RouteVersion] = {}

    def take(self, routes: Iterable[Route], backends: Backends, callers: object, wall: float) -> list[RouteVersion]:
        """Set the current routes (wall time in seconds); return the versions that have ended.

        `callers` has the settings outside the routes that distinguish callers. Responses cached before the first call
        may be used: another process may have cached them.
        """
        before, since = self._known, wall if self._known else 0.0
        self._known = {}
        for route in routes:
            known, cached_under = before.get(route.operation), _cached_under(route, backends[route.upstream], callers)
            lasts = known is not None and known.cached_under == cached_under
            self._known[route.operation] = (
                known if known and lasts else RouteVersion(cached_under, route.upstream, since)
            )
        return [known for name, known in before.items() if self._known.get(name) is not known]

    def of(self, operation: str) -> RouteVersion:
        """Return the current version of a route."""
        return self._known[operation]


def _cached_under(route: Route, backend: tuple[str, ...], callers: object) -> bytes:
    """Return a digest of the settings that determine a route's responses, which are cached, and for which callers.

    Replicas with the same configuration have the same digest. The digest excludes how long a response may be used:
    that is checked at each use.
    """
    settings = route.settings
    neutral = {name.lower().encode() for name in settings.neutral_headers}
    definition = (
        route.operation, route.method, route.template, route.upstream, backend, route.host, route.subject,
        str(route.coalesce), settings.match_body, settings.principal, sorted(neutral), callers,
    )  # fmt: skip
    caching = (
        route.reuse_s is not None, route.recovery.stale_if_error_s is not None, route.honour_no_store,
        sorted(route.ignored_directives),
    )  # fmt: skip
    verified = tuple(rules.who for rules in route.verified)
    told = (definition, caching, verified) if verified else (definition, caching)
    return blake2b(repr(told).encode(), digest_size=8).digest()
