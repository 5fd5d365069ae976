"""Write a commented configuration: the settings that most deployments look at, and routes."""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from proxy.config.schema import configuration_schema
from proxy.init.drafts import GUESS, Draft, Drafts, DraftSetting
from proxy.init.profiles import BREAKER, DEFAULTS, PROFILES, RETRY, TARGET, Profile, Table
from proxy.text import escaped

_WIDTH = 38  # characters before the note of a line
_UPSTREAM: Table = ("upstreams", "backend")
# The tables and settings in the order of the file. `config.example.toml` has all.
_SHOWN: Mapping[Table, tuple[str, ...]] = {
    ("listen",): ("address", "trusted_proxies", "tls_certificate", "tls_key", "drain_delay", "drain_timeout"),
    ("admin",): ("address", "token_file"),
    ("audit",): ("path", "durability", "rotate_size", "keep_size", "clients"),
    ("store",): ("url",),
    ("log",): ("level", "format"),
    _UPSTREAM: ("url", "connect_timeout", "max_connections"),
    BREAKER: ("failure_threshold", "reset_timeout", "success_threshold"),
    DEFAULTS: ("total_timeout", "principal", "idle_timeout", "max_body"),
    RETRY: ("max_retries", "initial_delay", "max_delay"),
    TARGET: ("ideal", "acceptable", "slow"),
}
_MODELS: Mapping[Table, str] = {
    ("listen",): "Listen",
    ("admin",): "Admin",
    ("audit",): "Audit",
    ("store",): "StoreTable",
    ("log",): "Log",
    _UPSTREAM: "UpstreamTable",
    BREAKER: "Breaker",
    DEFAULTS: "RouteSettings",
    RETRY: "Retry",
    TARGET: "TargetTable",
}
_WRITTEN = frozenset({(("listen",), "address"), (("admin",), "address"), (("audit",), "path"), (_UPSTREAM, "url")})
_NO_DEFAULT: Mapping[tuple[Table, str], str] = {(TARGET, "acceptable"): "1s", (TARGET, "slow"): "2s"}
_HEAD = """\
# Backstay in front of a session backend. A commented setting shows its default; durations and sizes have a unit.
# `backstay check FILE` names every mistake and lists the routes, `backstay run FILE` starts the sidecar.
"""
_ROUTES = """\
# A route names the requests of one operation and what is done for them. The order does not matter.
# What no route matches is passed through to the first upstream.
"""
_MARKED = f"""\
# Read each line with "{GUESS.strip()}": it is likely, and nothing states it. Remove or correct what is wrong.
"""
_EXAMPLE = """
# [[routes]]
# operation = "session-load"
# match = "GET /api/sessions/{session_id}"
# subject = "path:session_id"
"""


class UpstreamLine(NamedTuple):
    """The backend's URL, and the address that a document names in its place, if any."""

    url: str
    documented: str = ""


def configuration(backend: UpstreamLine, drafts: Drafts, profile: Profile | None) -> str:
    """Return the text of a configuration."""
    changed = {} if profile is None else PROFILES[profile]
    parts = [_HEAD, *(_table(table, keys, changed, profile, backend) for table, keys in _SHOWN.items()), _ROUTES]
    routes = [*map(_route, drafts.routes)] or [_EXAMPLE.lstrip("\n")]
    if drafts.routes:
        parts[-1] += _MARKED
    if drafts.left_out:
        parts[-1] += "".join(_comment(f"Without a route: {each}") for each in drafts.left_out)
    return "\n".join([*parts, *routes])


def guesses(text: str) -> int:
    """Return the number of lines that are marked as guesses."""
    return text.count(f"# {GUESS}")


def _table(
    table: Table,
    keys: tuple[str, ...],
    changed: Mapping[tuple[Table, str], object],
    profile: object,
    backend: UpstreamLine,
) -> str:
    lines = [f"[{'.'.join(table)}]\n"]
    for key, schema in _fields(table, keys):
        if (table, key) in changed:
            setting = DraftSetting(key, changed[table, key], f"profile {profile}; default {schema['default']}")
        elif (table, key) == (_UPSTREAM, "url"):
            known = f"{GUESS}the document says {backend.documented}" if backend.documented else schema["description"]
            setting = DraftSetting(key, backend.url, known)
        else:
            setting = DraftSetting(key, schema["default"], schema["description"], off=(table, key) not in _WRITTEN)
        lines.append(_line(setting))
    return "".join(lines)


def _fields(table: Table, keys: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield settings with their schemas, each with a default in TOML."""
    model = _definitions()[_MODELS[table]]
    for key in keys:
        default = _NO_DEFAULT.get((table, key))
        yield key, {**({"default": default} if default else {}), **model["properties"][key]}


@cache
def _definitions() -> dict[str, Any]:
    definitions: dict[str, Any] = configuration_schema()["$defs"]
    return definitions


def _route(draft: Draft) -> str:
    notes = "".join(_comment(note) for note in draft.notes)
    return f"{notes}[[routes]]\n{''.join(map(_line, draft.lines))}"


def _line(setting: DraftSetting) -> str:
    note = f"  # {escaped(setting.note)}" if setting.note else ""
    return f"{setting.text.ljust(_WIDTH if note else 0)}{note}\n"


def _comment(text: str) -> str:
    return f"# {escaped(text)}\n"
