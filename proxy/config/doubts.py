"""Warnings for valid settings that have no effect, and so are probably mistakes."""

from collections.abc import Iterator

from proxy.config.contradictions import Contradiction
from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.routes import RouteSettings, RouteTable
from proxy.config.settings import Settings
from proxy.config.templates import ANY
from proxy.http.message import SAFE_METHODS

_PLAIN = RouteSettings()


def doubts(settings: Settings, document: Document) -> Iterator[ConfigProblem]:
    """Yield a warning for each setting without effect."""
    for found in (*_unused_upstreams(settings), *_idle_settings(settings, document)):
        yield ConfigProblem(dotted(found.keys), found.message, found.cure, document.where(found.keys))


def _unused_upstreams(settings: Settings) -> Iterator[Contradiction]:
    used = {settings.passthrough.upstream, *(route.upstream for route in settings.routes)}
    for name in settings.upstreams:
        if name not in used:
            cure = f'write upstream = "{name}" into a route, or remove it'
            yield Contradiction(("upstreams", name), "no route uses it", cure)


def _idle_settings(settings: Settings, document: Document) -> Iterator[Contradiction]:
    for index, route in enumerate(settings.routes):
        at: Keys = ("routes", index)
        # only what the route's own table sets: [defaults] applies to reads and writes alike
        for key in sorted(_without_effect(route) & set(document.names(*at))):
            yield Contradiction(
                (*at, key), f"it has no effect on {route.template.method}", "remove it, or correct match"
            )
        if route.restoration is not None and route.subject is None:
            message = "without a subject the session of a request is unknown, so no restoration is recorded"
            yield Contradiction((*at, "restoration"), message, 'write subject = "path:report_id" too, or remove it')


def _without_effect(route: RouteTable) -> set[str]:
    """Return the settings that differ from the default and that no method of the route uses."""
    methods = set(route.template.methods)
    unused = set[str]()
    if methods <= SAFE_METHODS:
        unused = {"idempotency", "upstream_honours_idempotency"}
    elif not methods & (SAFE_METHODS | {ANY}):
        unused = {"reuse", "stale_if_error"}
    return {key for key in unused if getattr(route, key) != getattr(_PLAIN, key)}
