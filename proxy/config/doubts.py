"""Warnings for valid settings that are probably mistakes: without effect, or too short for what the route does."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from proxy.config.contradictions import Contradiction
from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.principal_table import AUTHORIZING
from proxy.config.routes import RouteSettings, RouteTable
from proxy.config.settings import Settings
from proxy.config.shape import nearest
from proxy.config.templates import ANY
from proxy.config.units import format_duration
from proxy.http.message import SAFE_METHODS

_PLAIN = RouteSettings()
_SLOW = frozenset({
    "chat", "completion", "completions", "download", "events", "export", "exports", "generate", "import", "listen",
    "longpoll", "notifications", "poll", "polling", "report", "reports", "sse", "stream", "streams", "subscribe",
    "watch",
})  # fmt: skip
"""Words of a path or an operation whose responses, or their first bytes, often take long."""
_WORD = re.compile(r"[a-z0-9]++")
PATIENCE_S = 30.0
"""Seconds: a timeout from here on was meant for long requests."""


def doubts(settings: Settings, document: Document) -> Iterator[ConfigProblem]:
    """Yield a warning for each setting that cannot be meant."""
    checks = (
        _unused_upstreams(settings), _lonely_circuits(settings), _idle_settings(settings, document),
        _short_timeouts(settings, document), _principals(settings), _missing_principals(settings, document),
    )  # fmt: skip
    for found in chain.from_iterable(checks):
        yield ConfigProblem(dotted(found.keys), found.message, found.cure, document.where(found.keys))


def _unused_upstreams(settings: Settings) -> Iterator[Contradiction]:
    used = {settings.passthrough.upstream, *(route.upstream for route in settings.routes)}
    for name in settings.upstreams:
        if name not in used:
            cure = f'write upstream = "{name}" into a route, or remove it'
            yield Contradiction(("upstreams", name), "no route uses it", cure)


def _lonely_circuits(settings: Settings) -> Iterator[Contradiction]:
    """Warn of a circuit without a table that one route alone names, and whose name is almost that of another."""
    users: list[tuple[Keys, RouteSettings]] = [(("passthrough",), settings.passthrough)]
    users += [(("routes", index), route) for index, route in enumerate(settings.routes)]
    counts = Counter(route.circuit for _, route in users if route.circuit is not None)
    known = {*settings.upstreams, *settings.circuits, *(name for name, count in counts.items() if count > 1)}
    for at, route in users:
        if route.circuit is not None and route.circuit not in known and (near := nearest(route.circuit, known)):
            message = f"no other route names this circuit, and there is no [circuits.{route.circuit}]"
            cure = f'write circuit = "{near}", or [circuits.{route.circuit}] if it is meant'
            yield Contradiction((*at, "circuit"), message, cure)


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


def _short_timeouts(settings: Settings, document: Document) -> Iterator[Contradiction]:
    for index, route in enumerate(settings.routes):
        at: Keys = ("routes", index, "total_timeout")
        word = slow_word(route.template.path, route.operation)
        if word is not None and route.total_timeout < PATIENCE_S and not document.has(at):
            said = format_duration(route.total_timeout)
            message = f'the response to "{route.match}" must begin within {said}, and "{word}" may take longer'
            yield Contradiction(at, message, f'write total_timeout = "30s", or "{said}" if that is enough')


def slow_word(path: str, operation: str) -> str | None:
    """Return the first word of a template's literal segments or of an operation that says that it may take long."""
    literals = (each for each in (*path.split("/"), operation) if not each.startswith("{"))
    words = chain.from_iterable(_WORD.findall(each.lower()) for each in literals)
    return next((word for word in words if word in _SLOW), None)


def _without_effect(route: RouteTable) -> set[str]:
    """Return the settings that differ from the default and that no method of the route uses."""
    methods = set(route.template.methods)
    unused = set[str]()
    if methods <= SAFE_METHODS:
        unused = {"idempotency", "upstream_honours_idempotency"}
    elif not methods & (SAFE_METHODS | {ANY}):
        unused = {"reuse", "stale_if_error"}
    return {key for key in unused if getattr(route, key) != getattr(_PLAIN, key)}


def _principals(settings: Settings) -> Iterator[Contradiction]:
    """Yield tables that no route names, and volatile claims that decide what a caller may do."""
    users = (settings.defaults, settings.passthrough, *settings.routes)
    named = {name for user in users for name in user.principal or ()}
    for name, table in settings.principal.items():
        at: Keys = ("principal", name)
        if name not in named:
            yield Contradiction(at, "no route names it", f'write principal = ["{name}"] into [defaults], or remove it')
        for claim in table.volatile_claims:
            if claim in AUTHORIZING:
                message = f'callers that differ in "{claim}" share responses, though they may have different rights'
                yield Contradiction((*at, "volatile_claims"), message, f'remove "{claim}" from the list')


def _missing_principals(settings: Settings, document: Document) -> Iterator[Contradiction]:
    """Yield names that are probably meant for a table and name a header field instead."""
    routes: list[Keys] = [("routes", index) for index in range(len(settings.routes))]
    places: list[Keys] = [("defaults",), ("passthrough",), *routes]
    for at in places if settings.principal else ():
        entries = document.get(*at, "principal")
        for entry in entries if isinstance(entries, list) else ():
            near = nearest(entry, settings.principal)
            if near is not None and entry not in settings.principal:
                message = f'"{entry}" is a header field: there is no [principal.{entry}]'
                yield Contradiction((*at, "principal"), message, f'write "{near}", if that is meant')
