"""The seed document's eleven variables: which settings each sets, and in which unit its text is.

`BACKSTAY_SEED_ENV=0` ignores all of them: another program may use variables of the same names.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from proxy.config.document import Document
from proxy.config.objections import ConfigProblem, Keys, dotted
from proxy.config.shape import shown
from proxy.config.units import parse_milliseconds

SWITCH = "BACKSTAY_SEED_ENV"
_ON = frozenset({"", "1", "true", "yes", "on"})
_OFF = frozenset({"0", "false", "no", "off"})
_LONGEST_NUMBER = 18  # digits; Python refuses thousands of digits
_NAMED = 5  # settings that one log line names; a target is set for each route


class Seed(NamedTuple):
    """One variable: what it sets, in which unit, the keys in a document, and how its text is parsed."""

    sets: str
    unit: str
    keys: Callable[[Document], Iterator[Keys]]
    read: Callable[[str], object]


class SeedEffect(NamedTuple):
    """A variable that took effect, and the settings that it set, such as `defaults.max_flights = 50`."""

    variable: str
    changed: tuple[str, ...]


def seed_is_read(environ: Mapping[str, str]) -> bool:
    """Tell whether the variables are read. An unknown word does not switch them off: `lay_seed` reports it."""
    return environ.get(SWITCH, "").strip().lower() not in _OFF


def lay_seed(document: Document, environ: Mapping[str, str]) -> Iterator[ConfigProblem]:
    """Apply the variables over the file, but under `BACKSTAY_` variables and options.

    Yield a problem if the switch is neither on nor off.
    """
    word = environ.get(SWITCH, "").strip()
    if word.lower() not in _ON | _OFF:
        message = f"{shown(word)} is neither 0 nor 1"
        yield ConfigProblem("", message, f"write {SWITCH}=0 to ignore the variables of the seed document", SWITCH)
    if not seed_is_read(environ):
        return
    for name, seed in SEED.items():
        if text := environ.get(name, "").strip():
            for keys in tuple(seed.keys(document)):
                document.lay_under(keys, seed.read(text), name)


def seed_effects(document: Document) -> Iterator[SeedEffect]:
    """Yield each variable that set something in a document, for the log."""
    for name in SEED:
        keys = document.laid_by(name)
        changed = tuple(f"{dotted(each)} = {shown(document.get(*each))}" for each in keys[:_NAMED])
        if keys:
            more = (f"and {len(keys) - _NAMED} more",) if len(keys) > _NAMED else ()
            yield SeedEffect(name, changed + more)


def _at(*keys: str) -> Callable[[Document], Iterator[Keys]]:
    return lambda _: iter((keys,))


def _breakers(key: str) -> Callable[[Document], Iterator[Keys]]:
    return lambda document: (("upstreams", name, "breaker", key) for name in document.names("upstreams"))


def _targets(concerned: Callable[[dict[str, Any]], bool]) -> Callable[[Document], Iterator[Keys]]:
    """Return the keys of the ideal target of the concerned routes that set no target themselves."""

    def keys(document: Document) -> Iterator[Keys]:
        for index, route in enumerate(document.items("routes")):
            if isinstance(route, dict) and "target" not in route and concerned(route):
                yield "routes", index, "target", "ideal"

    return keys


def _is_session(route: dict[str, Any]) -> bool:
    return str(route.get("operation")).startswith("session-")


def _is_restoration(route: dict[str, Any]) -> bool:
    return str(route.get("restoration", "none")) != "none"


def _whole(text: str) -> object:
    return int(text) if text.isdecimal() and len(text) <= _LONGEST_NUMBER else text


def _setting(*keys: str, unit: str = "ms", read: Callable[[str], object] = parse_milliseconds) -> Seed:
    return Seed(f"`{dotted(keys)}`", unit, _at(*keys), read)


def _breaker(key: str, unit: str, read: Callable[[str], object]) -> Seed:
    return Seed(f"`upstreams.NAME.breaker.{key}` of every upstream", unit, _breakers(key), read)


_TARGET = "`target.ideal` of each route that sets no target itself and"
SEED: dict[str, Seed] = {
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": _breaker("failure_threshold", "number", _whole),
    "CIRCUIT_BREAKER_RESET_TIMEOUT": _breaker("reset_timeout", "ms", parse_milliseconds),
    "RETRY_MAX_ATTEMPTS": _setting("defaults", "retry", "max_retries", unit="number", read=_whole),
    "RETRY_INITIAL_DELAY": _setting("defaults", "retry", "initial_delay"),
    "RETRY_MAX_DELAY": _setting("defaults", "retry", "max_delay"),
    "PERFORMANCE_TARGET_SESSION_MS": Seed(
        f"{_TARGET} whose `operation` begins with `session-`", "ms", _targets(_is_session), parse_milliseconds
    ),
    "PERFORMANCE_TARGET_RESTORATION_MS": Seed(
        f"{_TARGET} has a `restoration`", "ms", _targets(_is_restoration), parse_milliseconds
    ),
    "PERFORMANCE_MAX_TOTAL_MS": _setting("defaults", "total_timeout"),
    "REQUEST_DEDUP_CACHE_SIZE": _setting("defaults", "max_flights", unit="number", read=_whole),
    "AUDIT_TRAIL_MAX_ENTRIES": _setting("audit", "max_entries", unit="number", read=_whole),
    "AUDIT_TRAIL_EXPORT_FORMAT": _setting("audit", "export_format", unit="`json` or `csv`", read=str),
}
