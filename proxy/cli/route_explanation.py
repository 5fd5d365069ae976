"""`backstay check --explain "GET /api/x"`: print its route, the other routes that match, and each setting's origin."""

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from proxy.config.document import Document
from proxy.config.effective import written
from proxy.config.load import WrittenSettings
from proxy.config.objections import ConfigError, ConfigProblem, Keys, dotted
from proxy.config.routes import PASSED_ON, PASSTHROUGH, RouteTable
from proxy.config.schema import configuration_schema
from proxy.config.settings import Settings
from proxy.config.shape import Place, place
from proxy.config.templates import METHODS
from proxy.config.units import format_duration
from proxy.policy import route_circuit, route_compiler
from proxy.policy.routing import Route, Router

_SHOWN_ABOVE = frozenset({"operation", "match"})
_OF_THE_ROUTE = frozenset({"subject", "upstream"})  # [defaults] cannot set them
_UNMATCHED: Keys = ("passthrough",)
_HEADINGS = ("setting", "value", "from")


class Setting(NamedTuple):
    """One setting of a route: its name, its value in TOML, and its origin: file, variable, option or default."""

    name: str
    value: str
    origin: str


def explain(read: WrittenSettings, request: str) -> Iterator[str]:
    """Yield the lines about one request, such as `GET /api/x`. Raise `ConfigError` if the text is not a request."""
    method, path = _request(request)
    settings, document = read
    routes, catch_all = route_compiler.routes(settings), route_compiler.passthrough(settings)
    found = Router(routes, catch_all).find(path.encode(), method).route
    at = None if found is catch_all else routes.index(found)
    own = route_circuit.own_circuits((*routes, catch_all)).get(found.operation)
    yield f"{method} {path}"
    yield f"  route     {_named(found, document, at)}"
    yield f"  upstream  {found.upstream} ({', '.join(settings.upstreams[found.upstream].url)}), circuit {found.circuit}"
    if own is not None:
        yield f"  timeouts  circuit {own}, and {found.circuit} if other routes time out too"
    yield from (f"  not       {line}" for line in _others(routes, found, catch_all, (method, path)))
    yield ""
    yield from _aligned([_HEADINGS, *_settings_of(settings, document, at)])


def _request(request: str) -> tuple[str, str]:
    text = request if " " in request else f"GET {request}"
    method, _, target = text.partition(" ")
    _, scheme, rest = ("", "", "") if target.startswith("/") else target.partition("://")
    path = f"/{rest.partition('/')[2]}" if scheme else target
    path = path.partition("?")[0].partition("#")[0]
    if not method.isalpha() or not path.startswith("/"):
        cure = 'write --explain "GET /api/sessions/val_1"'
        raise ConfigError([ConfigProblem("", f'"{request}" is not a method and a path', cure, "--explain")])
    if method not in METHODS and method.upper() in METHODS:
        message, cure = (
            f'"{method}" is not {method.upper()}: methods are case-sensitive',
            f'write --explain "{method.upper()} {path}"',
        )
        raise ConfigError([ConfigProblem("", message, cure, "--explain")])
    return method, path


def _named(route: Route, document: Document, at: int | None) -> str:
    if at is None:
        return f"{route.operation}: no route matches"
    return f'{route.operation}: "{route.method} {route.template}" ({document.where(("routes", at, "match"))})'


def _others(routes: tuple[Route, ...], found: Route, catch_all: Route, request: tuple[str, str]) -> Iterator[str]:
    """Yield each other route that matches the path too, and why it is not chosen."""
    method, path = request
    for route in routes:
        if route is found:
            continue
        router = Router([route], catch_all)
        named = f'{route.operation}: "{route.method} {route.template}"'
        if router.find(path.encode(), method).route is route:
            yield f"{named}: {_why(found, route)}"
        elif any(router.find(path.encode(), other).route is route for other in route.method.split(", ")):
            yield f"{named}: it is not for {method}"


def _why(winner: Route, loser: Route) -> str:
    """Return the first difference between two templates that match one path."""
    pairs = zip_longest(winner.template.split("/"), loser.template.split("/"), fillvalue="the end of the path")
    for won, lost in pairs:
        if won != lost and not (_is_name(won) and _is_name(lost)):
            return f"{won or 'an empty segment'} wins over {lost or 'an empty segment'}"
    return f"{winner.method} wins over {loser.method}"


def _is_name(segment: str) -> bool:
    return segment.startswith("{") and not segment.endswith("...}")


def _settings_of(settings: Settings, document: Document, at: int | None) -> Iterator[Setting]:
    if at is None:
        if not document.has((*_UNMATCHED, "total_timeout")):
            yield Setting("total_timeout", json.dumps(format_duration(settings.passthrough.total_timeout)), "built in")
        names = [name for name in PASSTHROUGH if name != "total_timeout" or document.has((*_UNMATCHED, name))]
        inherited = {"coalesce"} if settings.defaults.coalesce == "off" else set[str]()
        yield from _leaves(document, _UNMATCHED, {name: name in PASSED_ON or name in inherited for name in names})
    else:
        inherits = {name: name not in _OF_THE_ROUTE for name in RouteTable.model_fields if name not in _SHOWN_ABOVE}
        yield from _leaves(document, ("routes", at), inherits)


def _leaves(document: Document, at: Keys, inherits: Mapping[str, bool]) -> Iterator[Setting]:
    """Yield the settings of the route at `at`; of each, whether it inherits `[defaults]`."""
    defaults = configuration_schema()["$defs"]
    for name, inherited in inherits.items():
        where = place(("defaults", name) if inherited else ("routes", 0, name))
        schema = defaults["RouteTable"]["properties"][name]
        # A table with defaults of its own is shown key by key; a document or an optional table is one value.
        keys = tuple(where.fields) if where is not None and name in ("retry", "target") else ()
        if not keys or _is_off(document, at, name, inherited=inherited):
            yield _setting(document, at, (name,), _default(schema), inherited=inherited)
            continue
        table = defaults[_model(where)]["properties"]
        for key in keys:
            yield _setting(document, at, (name, key), _default(table[key]), inherited=inherited)


def _is_off(document: Document, at: Keys, name: str, *, inherited: bool) -> bool:
    found = written(document, at, (name,), inherited=inherited)
    return found is not None and found.value == "none"


def _model(where: Place | None) -> str:
    assert where is not None
    return str(where.type.__name__)


def _setting(document: Document, at: Keys, keys: Keys, default: str, *, inherited: bool) -> Setting:
    found = written(document, at, keys, inherited=inherited)
    if found is None:
        return Setting(dotted(keys), default, "default")
    return Setting(dotted(keys), json.dumps(found.value, default=str), found.where)


def _default(schema: Mapping[str, Any]) -> str:
    if "default" in schema:
        return json.dumps(schema["default"])
    return str(schema["description"]).partition("Default: ")[2].rstrip(".").replace("`", "") or "none"


def _aligned(rows: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
