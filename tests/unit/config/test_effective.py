"""The settings in effect: values as in TOML, the origin of each, and no secret."""

import pytest

from proxy.config.effective import EffectiveSetting, Origin, effective
from proxy.config.load import load
from proxy.config.objections import dotted
from proxy.config.settings import Settings
from tests.unit.config.conftest import Load
from tests.unit.config.test_example import EXAMPLE

FILE = """
[upstreams.a]
url = "http://file:1"
[defaults]
total_timeout = "1500ms"
[[routes]]
operation = "session-load"
match = "GET /s/{id}"
retry = { max_delay = "1s" }
reuse = "2s"
[[routes]]
operation = "other"
match = "POST /s"
target = "none"
[passthrough]
circuit = "night"
"""


def by_key(settings: Settings) -> dict[str, EffectiveSetting]:
    """Return the settings by their dotted keys."""
    return {dotted(each.keys): each for each in effective(settings)}


@pytest.mark.parametrize(
    ("key", "value", "origin", "where"),
    [
        ("dry_run", False, Origin.DEFAULT, ""),
        ("listen.address", "127.0.0.1:1", Origin.OPTION, "--listen"),
        ("listen.max_head", "64KiB", Origin.DEFAULT, ""),
        ("admin.token_file", "none", Origin.DEFAULT, ""),
        ("log.level", "error", Origin.ENVIRONMENT, "BACKSTAY_LOG__LEVEL"),
        ("upstreams.a.url", ["http://file:1"], Origin.FILE, "config.toml:3"),
        ("upstreams.a.breaker.failure_threshold", 7, Origin.SEED, "CIRCUIT_BREAKER_FAILURE_THRESHOLD"),
        ("defaults.total_timeout", "1500ms", Origin.FILE, "config.toml:5"),
        ("routes[0].total_timeout", "1500ms", Origin.FILE, "config.toml:5 [defaults]"),
        ("routes[0].retry.max_delay", "1s", Origin.FILE, "config.toml:9"),
        ("routes[0].retry.max_retries", 4, Origin.SEED, "RETRY_MAX_ATTEMPTS [defaults]"),
        ("routes[0].retry.jitter", False, Origin.ENVIRONMENT, "BACKSTAY_DEFAULTS__RETRY__JITTER [defaults]"),
        ("routes[0].target.ideal", "300ms", Origin.SEED, "PERFORMANCE_TARGET_SESSION_MS"),
        ("routes[0].target.acceptable", "1s", Origin.DEFAULT, ""),
        ("routes[0].reuse", "3s", Origin.ENVIRONMENT, "BACKSTAY_ROUTES__SESSION_LOAD__REUSE"),
        ("routes[1].target", "none", Origin.FILE, "config.toml:14"),
        ("routes[1].upstream", "a", Origin.DEFAULT, ""),
        ("routes[1].coalesce", None, Origin.DEFAULT, ""),
        ("passthrough.total_timeout", "30s", Origin.DEFAULT, ""),
        ("passthrough.retry.max_retries", 4, Origin.SEED, "RETRY_MAX_ATTEMPTS [defaults]"),
        ("passthrough.circuit", "night", Origin.FILE, "config.toml:16"),
    ],
)
def test_each_value_is_as_in_the_file_with_its_origin(
    loaded: Load, key: str, value: object, origin: Origin, where: str
) -> None:
    """A route's own value, then `[defaults]`, then the default; key by key within a table. Some for `[passthrough]`."""
    environ = {
        "BACKSTAY_LOG__LEVEL": "error", "BACKSTAY_DEFAULTS__RETRY__JITTER": "false", "RETRY_MAX_ATTEMPTS": "4",
        "BACKSTAY_ROUTES__SESSION_LOAD__REUSE": "3s", "CIRCUIT_BREAKER_FAILURE_THRESHOLD": "7",
        "PERFORMANCE_TARGET_SESSION_MS": "300",
    }  # fmt: skip
    found = by_key(loaded(FILE, environ, {"listen.address": "127.0.0.1:1"}))[key]
    assert (found.value, found.origin, found.where) == (value, origin, where)


def test_no_routes_come_from_nowhere(loaded: Load) -> None:
    """`[defaults]` has settings of routes, not the routes."""
    found = by_key(loaded('[upstreams.a]\nurl = "http://a"\n[defaults]\nreuse = "2s"\n', {}, {}))["routes"]
    assert (found.value, found.origin, found.where) == ([], Origin.DEFAULT, "")


SECRETS = """
[admin]
token = "zz-token"
[store]
url = "redis://user:zz-pa@ss/w rd@cache:6379/0?password=zz-query&db=1"
[upstreams.a]
url = "http://file:1"
[[routes]]
operation = "x"
match = "POST /s"
subject = "body:/id"
on_conflict = "GET /s/{subject}?api_key=zz-conflict&page=2"
on_missing.request = "PUT /s/{subject}?token=zz-missing"
on_missing.body = { token = "zz-body", list = [{ password = "zz-deep" }] }
fallback = { body = { secret = { inner = "zz-inner" }, link = "https://u:zz-link@h/", open = "shown" } }
"""


def test_no_secret_is_shown(loaded: Load) -> None:
    """Tokens, passwords in URLs, credentials in queries, and members of documents whose names say so, at any depth."""
    shown = by_key(loaded(SECRETS))
    assert "zz-" not in repr(list(shown.values()))
    assert shown["admin.token"].value == "***"
    assert shown["store.url"].value == "redis://***@cache:6379/0?password=***&db=1"
    assert shown["routes[0].on_conflict"].value == "GET /s/{subject}?api_key=***&page=2"
    assert shown["routes[0].fallback.body"].value == {"secret": "***", "link": "https://***@h/", "open": "shown"}


def test_a_secret_of_the_environment_is_hidden_too(loaded: Load) -> None:
    """The origin is the variable's name."""
    found = by_key(loaded(FILE, {"BACKSTAY_ADMIN__TOKEN": "zz"}))["admin.token"]
    assert (found.value, found.where) == ("***", "BACKSTAY_ADMIN__TOKEN")


def test_what_is_dumped_is_a_configuration_of_equal_settings() -> None:
    """Every value has the form of the file: the example and its dump are equal."""
    settings = load(EXAMPLE, {}, {})
    dumped = settings.model_dump(mode="json")
    for route in (dumped["defaults"], *dumped["routes"]):
        if route["coalesce"] is None:  # has no word of its own
            del route["coalesce"]
    again = Settings.model_validate(dumped)
    assert again.model_dump() == settings.model_dump()
    assert again.routes == settings.routes


def test_an_origin_may_be_in_another_document(loaded: Load) -> None:
    """After a reload, what only a restart changes still has the origin that it had at the start."""
    began = loaded(FILE, {}, {"listen.address": "127.0.0.1:1"})
    now = loaded('[log]\nlevel = "error"' + FILE, {}).model_copy(update={"listen": began.listen})
    shown = effective(now, lambda keys: (began if keys[0] == "listen" else now).document)
    found = {dotted(each.keys): each for each in shown}
    assert found.keys() == by_key(now).keys()
    assert (found["listen.address"].value, found["listen.address"].where) == ("127.0.0.1:1", "--listen")
    assert (found["log.level"].value, found["log.level"].where) == ("error", "config.toml:2")
