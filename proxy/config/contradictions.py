"""Rules for settings that contradict each other. A rule applies only if each setting that it reads is valid itself."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.config.addresses import Address, Tcp, parse_address, parse_upstream
from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.routes import PASSTHROUGH, RouteSettings, RouteTable
from proxy.config.settings import Listen, Settings, UpstreamTable
from proxy.config.shape import nearest, shown
from proxy.config.templates import Template, parse_request
from proxy.config.units import format_duration
from proxy.http.headers import NOT_FOR_PRINCIPAL
from proxy.http.message import NO_CONTENT

_EMPTY_DOCUMENTS: tuple[object, ...] = (
    None,
    {},
    [],
    "",
)  # equal to no content, so such a body may be dropped
_PEM = "/etc/backstay/tls.crt"  # an example
_EVERY = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound
_ANSWERS_TO = {
    "0.0.0.0": ("127.0.0.1", "localhost"),  # noqa: S104 - compared, not bound
    "::": ("::1", "localhost"),
    "127.0.0.1": ("localhost",),
    "localhost": ("127.0.0.1",),
}  # the other names of a listener of this host


class Contradiction(NamedTuple):
    """A contradiction: the key to change, relative to the checked table, the message, and the cure."""

    keys: Keys
    message: str
    cure: str


class Rule(NamedTuple):
    """A check of one table. `reads` are its keys: if one of them is invalid by itself, the rule is skipped."""

    reads: frozenset[str]
    check: Callable[..., Iterator[Contradiction]]


def _attempt_fits(table: RouteSettings) -> Iterator[Contradiction]:
    if table.attempt_timeout is not None and table.attempt_timeout > table.total_timeout:
        yield _too_long(("attempt_timeout",), table.attempt_timeout, "total_timeout", table.total_timeout)


def _smallest_attempt_fits(table: RouteSettings) -> Iterator[Contradiction]:
    if table.min_attempt > table.total_timeout:
        yield _too_long(("min_attempt",), table.min_attempt, "total_timeout", table.total_timeout)


def _delays_rise(table: RouteSettings) -> Iterator[Contradiction]:
    if table.retry.initial_delay > table.retry.max_delay:
        yield _too_long(("retry", "initial_delay"), table.retry.initial_delay, "max_delay", table.retry.max_delay)


def _targets_rise(table: RouteSettings) -> Iterator[Contradiction]:
    target = table.target
    if target is not None and target.ideal > target.acceptable:
        yield _too_long(("target", "ideal"), target.ideal, "acceptable", target.acceptable)
    elif target is not None and target.acceptable > target.slow:
        yield _too_long(("target", "acceptable"), target.acceptable, "slow", target.slow)


def _too_long(keys: Keys, seconds: float, limit: str, most: float) -> Contradiction:
    longest = format_duration(most)
    message = f"{format_duration(seconds)} is more than {limit} ({longest})"
    return Contradiction(keys, message, f'write {keys[-1]} = "{longest}" or less')


def _credentials_name_origins(table: RouteSettings) -> Iterator[Contradiction]:
    if table.cors is not None and table.cors.allow_credentials and "*" in table.cors.allow_origins:
        message = '"*" is refused by browsers where credentials are allowed'
        yield Contradiction(("cors", "allow_origins"), message, 'write allow_origins = ["https://app.example"]')


def _fallback_has_a_body_or_none(table: RouteSettings) -> Iterator[Contradiction]:
    fallback = table.fallback
    if fallback is None:
        return
    if fallback.status in NO_CONTENT and fallback.body not in _EMPTY_DOCUMENTS:
        message = f"a response with status {fallback.status} has no body"
        yield Contradiction(("fallback", "body"), message, "remove body, or write status = 200")
    elif fallback.status not in NO_CONTENT and fallback.body is None:
        yield Contradiction(("fallback", "body"), "it is missing", "write body = { }")


def _subject_is_in_path(route: RouteTable) -> Iterator[Contradiction]:
    source, _, name = (route.subject or "").partition(":")
    names = route.template.names
    if source == "path" and name not in names:
        cure = f'write subject = "path:{names[0]}"' if names else f"write {{{name}}} into match"
        yield Contradiction(("subject",), f'"{route.subject}": match has no {{{name}}}', cure)


def _subject_is_named(route: RouteTable) -> Iterator[Contradiction]:
    if route.coalesce == "subject" and route.subject is None:
        message = '"subject" coalesces by a subject, and the route names none'
        yield Contradiction(("coalesce",), message, 'write subject = "body:/reportId" too, or coalesce = "identical"')


def _bodies_may_differ(route: RouteTable) -> Iterator[Contradiction]:
    if not route.match_body and route.on_conflict is None:
        message = "callers with other bodies would share a response, and no on_conflict handles that"
        yield Contradiction(("match_body",), message, 'write on_conflict = "GET /api/sessions/{subject}" too')


def _conflict_loads(route: RouteTable) -> Iterator[Contradiction]:
    if route.on_conflict is None:
        return
    template = parse_request(route.on_conflict)
    if template.method != "GET":
        cure = f'write on_conflict = "GET {template.path}"'
        yield Contradiction(("on_conflict",), f'"{route.on_conflict}" does not load what exists', cure)
    yield from _placeholders(route, template, ("on_conflict",))


def _missing_creates(route: RouteTable) -> Iterator[Contradiction]:
    if route.on_missing is not None:
        yield from _placeholders(route, parse_request(route.on_missing.request), ("on_missing", "request"))


def _placeholders(route: RouteTable, template: Template, keys: Keys) -> Iterator[Contradiction]:
    known = (*(("subject",) if route.subject else ()), *route.template.names)
    for name in template.names:
        if name == "subject" and name not in known:
            cure = 'write subject = "body:/reportId" too'
            yield Contradiction(keys, "{subject} has no value: the route names no subject", cure)
        elif name == route.template.rest:
            message = f"{{{name}...}} is several segments, and {{{name}}} here would be one"
            yield Contradiction(keys, message, "write {subject}, or another name")
        elif name not in known:
            message = f"{{{name}}} is neither {{subject}} nor a name in match"
            yield Contradiction(keys, message, f"write {{{nearest(name, known) or 'subject'}}}")


SETTINGS_RULES = (
    Rule(frozenset({"attempt_timeout", "total_timeout"}), _attempt_fits),
    Rule(frozenset({"min_attempt", "total_timeout"}), _smallest_attempt_fits),
    Rule(frozenset({"retry"}), _delays_rise),
    Rule(frozenset({"target"}), _targets_rise),
    Rule(frozenset({"fallback"}), _fallback_has_a_body_or_none),
    Rule(frozenset({"cors"}), _credentials_name_origins),
)
ROUTE_RULES = (
    Rule(frozenset({"subject", "match"}), _subject_is_in_path),
    Rule(frozenset({"subject", "coalesce"}), _subject_is_named),
    Rule(frozenset({"match_body", "on_conflict"}), _bodies_may_differ),
    Rule(frozenset({"subject", "match", "on_conflict"}), _conflict_loads),
    Rule(frozenset({"subject", "match", "on_missing"}), _missing_creates),
)


@dataclass(frozen=True, slots=True)
class RuleReader:
    """Applies the rules to settings whose `refused` keys hold placeholders, and finds the origin of each setting."""

    settings: Settings
    document: Document
    refused: frozenset[Keys]
    around_refused: frozenset[Keys] = field(init=False)  # the refused keys and every table around them

    def __post_init__(self) -> None:
        around = frozenset(keys[:size] for keys in self.refused for size in range(len(keys) + 1))
        object.__setattr__(self, "around_refused", around)

    def problems(self) -> Iterator[ConfigProblem]:
        """Yield every contradiction."""
        yield from self._check(SETTINGS_RULES, self.settings.defaults, ("defaults",))
        for index, route in enumerate(self.settings.routes):
            at: Keys = ("routes", index)
            written = frozenset(self.document.names(*at))
            # What a route inherits was checked in [defaults].
            own = tuple(rule for rule in SETTINGS_RULES if rule.reads & written)
            yield from self._check((*own, *ROUTE_RULES), route, at)
        written = frozenset(self.document.names("passthrough"))
        rules = tuple(rule for rule in SETTINGS_RULES if rule.reads & written)
        yield from self._check(rules, self.settings.passthrough, ("passthrough",))
        for check in DOCUMENT_RULES:
            yield from (self._problem(found) for found in check(self) if not self.is_refused(found.keys))

    def is_refused(self, keys: Keys) -> bool:
        """Tell whether a value at or below `keys`, or a table around it, was invalid by itself."""
        return keys in self.around_refused or any(keys[:size] in self.refused for size in range(len(keys)))

    def _check(self, rules: tuple[Rule, ...], table: RouteSettings, at: Keys) -> Iterator[ConfigProblem]:
        for rule in rules:
            if not any(self.is_refused(self._source(at, key)) for key in rule.reads):
                yield from (self._problem(found._replace(keys=(*at, *found.keys))) for found in rule.check(table))

    def _source(self, at: Keys, key: str) -> Keys:
        """Return where a route's setting was written: in the route or in `[defaults]`."""
        inherited = not self.document.has((*at, key)) and self.document.has(("defaults", key))
        return ("defaults", key) if inherited else (*at, key)

    def _problem(self, found: Contradiction) -> ConfigProblem:
        return ConfigProblem(dotted(found.keys), found.message, found.cure, self.document.where(found.keys))


def _one_token(reader: RuleReader) -> Iterator[Contradiction]:
    admin = reader.settings.admin
    if admin.token and admin.token_file is not None:
        yield Contradiction(("admin", "token_file"), "token is set too, and only one can apply", "remove token")


def _room_beside_viewers(reader: RuleReader) -> Iterator[Contradiction]:
    admin = reader.settings.admin
    if admin.max_viewers >= admin.max_connections:
        message = f"{admin.max_viewers} viewers leave probes none of the {admin.max_connections} connections"
        yield Contradiction(
            ("admin", "max_viewers"), message, f"write max_connections = {2 * admin.max_viewers} or more"
        )


def _listener_speaks_tls(reader: RuleReader) -> Iterator[Contradiction]:
    listen = reader.settings.listen
    if listen.tls_certificate is None and not reader.is_refused(("listen", "tls_certificate")):
        for name in _named(listen, "tls_key", "tls_client_ca"):
            message = "without tls_certificate the listener does not use TLS, so every client is accepted in plain text"
            yield Contradiction(("listen", name), message, f'write tls_certificate = "{_PEM}" too, or remove {name}')


def _upstreams_speak_tls(reader: RuleReader) -> Iterator[Contradiction]:
    for name, upstream in reader.settings.upstreams.items():
        at: Keys = ("upstreams", name)
        plain = next((url for url in upstream.url if not url.startswith("https:")), "")
        for key in _named(upstream, "tls_ca", "tls_certificate", "tls_key") if plain else ():
            secure = plain.replace("http://", "https://", 1)
            cure = f'write url = "{secure}"' if secure != plain else f"remove {key}"
            yield Contradiction((*at, key), f"connections to {plain} are not encrypted and do not use it", cure)
        if not plain and upstream.tls_certificate is None:
            for key in _named(upstream, "tls_key"):
                message = "the key has no effect without its certificate"
                yield Contradiction((*at, key), message, f'write tls_certificate = "{_PEM}" too, or remove {key}')


def _named(table: Listen | UpstreamTable, *names: str) -> tuple[str, ...]:
    return tuple(name for name in names if getattr(table, name) is not None)


def _two_listeners(reader: RuleReader) -> Iterator[Contradiction]:
    listen, admin = reader.settings.listen.address, reader.settings.admin.address
    if reader.is_refused(("listen", "address")):
        return
    if _conflict(parse_address(listen), parse_address(admin)):
        cure = f'write address = "{_another(admin)}"'
        yield Contradiction(("admin", "address"), f'"{admin}" and listen.address "{listen}" are the same address', cure)


def _no_loop(reader: RuleReader) -> Iterator[Contradiction]:
    """Refuse an upstream that is a listener of the sidecar: it would forward each request to itself without end."""
    settings = reader.settings
    own = {"listen.address": settings.listen.address, "admin.address": settings.admin.address}
    for name, upstream in settings.upstreams.items():
        keys: Keys = ("upstreams", name, "url")
        for url in upstream.url if not reader.is_refused(keys) else ():
            for key, address in own.items():
                if _reaches(parse_upstream(url), parse_address(address)):
                    message = f'"{url}" is the sidecar itself ({key} is "{address}")'
                    yield Contradiction(keys, message, "write the backend's own address")


def _conflict(one: Address, other: Address) -> bool:
    """Tell whether two listeners cannot both be opened, judged by their text."""
    if not isinstance(one, Tcp) or not isinstance(other, Tcp):
        return one == other
    if one.port != other.port or not one.port:  # port 0 is any free one
        return False
    hosts = {one.host, other.host}
    return len(hosts) == 1 or (bool(hosts & _EVERY) and (":" in one.host) == (":" in other.host))


def _reaches(upstream: Address, listening: Address) -> bool:
    """Tell whether a connection to `upstream` reaches the listener, judged by the text."""
    if not isinstance(upstream, Tcp) or not isinstance(listening, Tcp) or not listening.port:
        return upstream == listening
    answers = {listening.host, *_ANSWERS_TO.get(listening.host, ())}
    return upstream.port == listening.port and upstream.host in answers


def _another(address: str) -> str:
    """Return a different address of the same kind."""
    if address.startswith("unix:"):
        return f"{address}-admin"
    host, _, port = address.rpartition(":")
    return f"{host}:{9901 if port != '9901' else 9902}"


def _some_upstream(reader: RuleReader) -> Iterator[Contradiction]:
    if not reader.settings.upstreams:
        cure = 'write [upstreams.sessions] with url = "http://127.0.0.1:8000", or give --upstream URL'
        yield Contradiction(("upstreams",), "there is no upstream", cure)


def _known_upstreams(reader: RuleReader) -> Iterator[Contradiction]:
    names = reader.document.names("upstreams")
    for index, route in enumerate(reader.settings.routes):
        if names and route.upstream not in names:
            near = nearest(route.upstream, names) or names[0]
            message = f"{shown(route.upstream)} is not one of {', '.join(names)}"
            yield Contradiction(("routes", index, "upstream"), message, f'write upstream = "{near}"')


def _distinct_operations(reader: RuleReader) -> Iterator[Contradiction]:
    seen = {"passthrough": "the operation of unmatched requests"}
    for index, route in enumerate(reader.settings.routes):
        keys: Keys = ("routes", index, "operation")
        if not reader.is_refused(keys):
            if route.operation in seen:
                yield Contradiction(
                    keys, f'"{route.operation}" is already {seen[route.operation]}', "write another name"
                )
            seen.setdefault(route.operation, f"the operation of routes[{index}]")


def _distinct_matches(reader: RuleReader) -> Iterator[Contradiction]:
    seen: dict[str, int] = {}
    for index, route in enumerate(reader.settings.routes):
        keys: Keys = ("routes", index, "match")
        if not reader.is_refused(keys):
            first = min(seen.setdefault(shape, index) for shape in route.template.shapes)
            if first != index:
                message = f'"{route.match}" matches the same requests as routes[{first}]'
                yield Contradiction(keys, message, "remove one of the two")


def _plain_passthrough(reader: RuleReader) -> Iterator[Contradiction]:
    for key in reader.document.names("passthrough"):
        if key in RouteTable.model_fields and key not in PASSTHROUGH:
            message = "it does not apply to requests that no route matches"
            yield Contradiction(("passthrough", key), message, "write it into [[routes]], or remove it")


def _key_has_a_folder(reader: RuleReader) -> Iterator[Contradiction]:
    store = reader.settings.store
    if store.key_file is not None and not store.url.startswith("sqlite:"):
        message = "it encrypts the files of a folder, and store.url names none"
        cure = 'write url = "sqlite:///var/lib/backstay", or remove it'
        yield Contradiction(("store", "key_file"), message, cure)


def _used_circuits(reader: RuleReader) -> Iterator[Contradiction]:
    users: tuple[RouteSettings, ...] = (reader.settings.passthrough, *reader.settings.routes)
    named = {route.circuit for route in users if route.circuit is not None}
    for name in reader.settings.circuits:
        if name in reader.settings.upstreams:
            cure = f"write [upstreams.{name}.breaker]"
            yield Contradiction(("circuits", name), "it is an upstream's own circuit", cure)
        elif name not in named:
            near = nearest(name, named)
            yield Contradiction(
                ("circuits", name), "no route names it", f"write [circuits.{near}]" if near else "remove it"
            )


def _keys_have_one_source(reader: RuleReader) -> Iterator[Contradiction]:
    """Require one source of each issuer's keys, and refuse names of tables that are fields too."""
    for name, table in reader.settings.principal.items():
        at: Keys = ("principal", name)
        if name.lower().encode() in NOT_FOR_PRINCIPAL:
            yield Contradiction(at, f'"{name}" is a header field that principal may name', "write [principal.user]")
        if reader.is_refused((*at, "jwks")) or reader.is_refused((*at, "jwks_file")):
            continue
        if table.jwks is None and table.jwks_file is None:
            cure = 'write jwks = "https://id.example/.well-known/jwks.json", or jwks_file = "/etc/backstay/jwks.json"'
            yield Contradiction((*at, "jwks"), "without keys no token can be verified", cure)
        elif table.jwks is not None and table.jwks_file is not None:
            yield Contradiction((*at, "jwks_file"), "jwks is set too, and only one can apply", "remove one of them")
        if table.tls_ca is not None and not (table.jwks or "").startswith("https:"):
            yield Contradiction(
                (*at, "tls_ca"), "no keys are read over TLS", 'write jwks = "https://...", or remove it'
            )


DOCUMENT_RULES: tuple[Callable[[RuleReader], Iterator[Contradiction]], ...] = (
    _listener_speaks_tls,
    _upstreams_speak_tls,
    _two_listeners,
    _no_loop,
    _one_token,
    _room_beside_viewers,
    _some_upstream,
    _known_upstreams,
    _distinct_operations,
    _distinct_matches,
    _plain_passthrough,
    _used_circuits,
    _keys_have_one_source,
    _key_has_a_folder,
)
