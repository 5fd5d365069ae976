"""`BACKSTAY_` variables, and the seed document's own names."""

import pytest

from proxy.config.settings import Settings
from tests.unit.config.conftest import Load, Problems

FILE = """
[upstreams.my-backend]
url = "http://file:1"
[[routes]]
operation = "session-load"
match = "GET /s/{id}"
[[routes]]
operation = "history"
match = "GET /h/{id}"
restoration = "history"
total_timeout = "9s"
"""


def value(settings: Settings, path: str) -> object:
    """Follow a path such as `routes.0.retry` through the settings."""
    found: object = settings
    for part in path.split("."):
        found = (
            found[int(part)]
            if isinstance(found, tuple)
            else found[part]
            if isinstance(found, dict)
            else getattr(found, part)
        )
    return found


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("BACKSTAY_DRY_RUN", "true", "dry_run", True),
        ("BACKSTAY_LISTEN__MAX_FIELDS", "3", "listen.max_fields", 3),
        ("BACKSTAY_LISTEN__DRAIN_DELAY", "2s", "listen.drain_delay", 2.0),
        ("BACKSTAY_LISTEN__MAX_HEAD", "65537", "listen.max_head", 65537),
        ("BACKSTAY_ADMIN__TOKEN", "123", "admin.token", "123"),
        ("BACKSTAY_ADMIN__TOKEN_FILE", "true", "admin.token_file", "true"),
        ("BACKSTAY_AUDIT__QUERY_PARAMETERS", '["page"]', "audit.query_parameters", ("page",)),
        ("BACKSTAY_UPSTREAMS__MY_BACKEND__URL", "http://env:1", "upstreams.my-backend.url", ("http://env:1",)),
        ("BACKSTAY_UPSTREAMS__MY_BACKEND__URL", '["http://x"]', "upstreams.my-backend.url", ("http://x",)),
        ("BACKSTAY_UPSTREAMS__NEW__URL", "http://new:1", "upstreams.new.url", ("http://new:1",)),
        ("BACKSTAY_UPSTREAMS__MY_BACKEND__BREAKER__JITTER", "0.5", "upstreams.my-backend.breaker.jitter", 0.5),
        ("BACKSTAY_DEFAULTS__RETRY", '{"jitter": false}', "routes.0.retry.jitter", False),
        ("BACKSTAY_DEFAULTS__REUSE", "none", "routes.0.reuse", None),
        ("BACKSTAY_ROUTES__1__REUSE", "2s", "routes.1.reuse", 2.0),
        ("BACKSTAY_ROUTES__SESSION_LOAD__TARGET__IDEAL", "1ms", "routes.0.target.ideal", 0.001),
        ("BACKSTAY_ROUTES__2", '{"operation": "x", "match": "GET /x"}', "routes.2.operation", "x"),
    ],
)
def test_a_variable_sets_what_its_path_names(
    loaded: Load, variable: str, text: str, path: str, expected: object
) -> None:
    """Text, true, numbers, units and JSON are read as the setting wants them; names match with `_` for `-`."""
    assert value(loaded(FILE, {variable: text}), path) == expected


@pytest.mark.parametrize(
    ("variable", "cure"),
    [
        ("BACKSTAY_LISTEN_ADDRESS", "write BACKSTAY_LISTEN__ADDRESS"),
        ("BACKSTAY_LISTEN__ADRESS", "write BACKSTAY_LISTEN__ADDRESS"),
        ("BACKSTAY_DRYRUN", "write BACKSTAY_DRY_RUN"),
        ("BACKSTAY_UPSTREAMS__MY_BACKEND__URI", "write BACKSTAY_UPSTREAMS__MY_BACKEND__URL"),
        ("BACKSTAY_ROUTES__HISTORI__REUSE", "write BACKSTAY_ROUTES__HISTORY__REUSE"),
        ("BACKSTAY_DRY_RUN__", "write BACKSTAY_DRY_RUN"),
        ("BACKSTAY_QQ", "remove it"),
    ],
)
def test_a_variable_that_names_nothing_is_told_what_is_near(problems: Problems, variable: str, cure: str) -> None:
    """A typing error in a variable's name is not silently ignored."""
    assert problems(FILE, {variable: "1"}) == [f"{variable}: there is no such setting; {cure}"]


def many_routes(count: int) -> str:
    """Return FILE with so many routes more."""
    return FILE + "".join(f'[[routes]]\noperation = "op-{n}"\nmatch = "GET /o/{n}"\n' for n in range(count))


def test_of_many_routes_the_nearest_is_told(problems: Problems) -> None:
    """Every setting of 500 routes as a candidate took most of a second for each wrong variable."""
    assert problems(
        many_routes(500), {"BACKSTAY_ROUTES__HISTORI__REUSE": "1", "BACKSTAY_ROUTE__OP_77__REUSE": "1"}
    ) == [
        "BACKSTAY_ROUTE__OP_77__REUSE: there is no such setting; write BACKSTAY_ROUTES__OP_77__REUSE",
        "BACKSTAY_ROUTES__HISTORI__REUSE: there is no such setting; write BACKSTAY_ROUTES__HISTORY__REUSE",
    ]


def test_of_very_many_wrong_variables_the_first_are_told(problems: Problems) -> None:
    told = problems(FILE, {f"BACKSTAY_LISTEN__ADRESS{n}": "1" for n in range(1000)})
    assert len(told) == 101
    assert told[0].endswith("there is no such setting; write BACKSTAY_LISTEN__ADDRESS")
    assert told[99].endswith("there is no such setting; remove it")
    assert told[100] == "there are more problems; correct these first"


def test_a_name_that_a_variable_gave_is_found_by_the_next_one(loaded: Load) -> None:
    """A route that was renamed, an upstream and a route that are new; the old name is gone."""
    environ = {
        "BACKSTAY_ROUTES__0__OPERATION": "renamed",
        "BACKSTAY_ROUTES__RENAMED__REUSE": "3s",
        "BACKSTAY_ROUTES__2": '{"operation": "added", "match": "GET /added"}',
        "BACKSTAY_ROUTES__ADDED__TOTAL_TIMEOUT": "4s",
        "BACKSTAY_UPSTREAMS__NEW__URL": "http://new:1",
        "BACKSTAY_UPSTREAMS__NEW__MAX_IDLE": "7",
    }
    settings = loaded(FILE, environ)
    assert [route.operation for route in settings.routes] == ["renamed", "history", "added"]
    assert (settings.routes[0].reuse, settings.routes[2].total_timeout) == (3.0, 4.0)
    assert settings.upstreams["new"].max_idle == 7


def test_routes_can_be_added_one_variable_each(loaded: Load) -> None:
    """Ten variables more are ten routes more, in the order of their numbers."""
    added = {f"BACKSTAY_ROUTES__{n}": f'{{"operation": "r{n}", "match": "GET /{n}"}}' for n in range(2, 12)}
    operations = [route.operation for route in loaded(FILE, added).routes]
    assert operations == ["session-load", "history", *(f"r{n}" for n in range(2, 12))]


def test_a_wrong_value_names_its_variable(problems: Problems) -> None:
    """The message says where to change it, and which setting it is."""
    assert problems(FILE, {"BACKSTAY_LISTEN__VIA": "yes"}) == [
        'BACKSTAY_LISTEN__VIA: listen.via: "yes" is not true or false; write via = true'
    ]


def test_kubernetes_service_links_are_not_settings(loaded: Load) -> None:
    """A Service called backstay must not keep its own pods from starting."""
    links = ("SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR", "ADMIN_SERVICE_PORT")
    assert loaded(FILE, {f"BACKSTAY_{name}": "tcp://10.0.0.1:80" for name in links}) == loaded(FILE)


def test_what_an_installation_was_told_is_no_setting(loaded: Load) -> None:
    """Who exported it for pip runs the sidecar in the same shell."""
    assert loaded(FILE, {"BACKSTAY_COMPILE": "1"}) == loaded(FILE)


@pytest.mark.parametrize(
    ("variable", "text", "path", "expected"),
    [
        ("CIRCUIT_BREAKER_FAILURE_THRESHOLD", "7", "upstreams.my-backend.breaker.failure_threshold", 7),
        ("CIRCUIT_BREAKER_RESET_TIMEOUT", "20000", "upstreams.my-backend.breaker.reset_timeout", 20.0),
        ("RETRY_MAX_ATTEMPTS", "4", "routes.0.retry.max_retries", 4),
        ("RETRY_INITIAL_DELAY", "200", "defaults.retry.initial_delay", 0.2),
        ("RETRY_MAX_DELAY", "1s", "defaults.retry.max_delay", 1.0),
        ("PERFORMANCE_TARGET_SESSION_MS", "300", "routes.0.target.ideal", 0.3),
        ("PERFORMANCE_TARGET_SESSION_MS", "300", "routes.1.target.ideal", 0.5),
        ("PERFORMANCE_TARGET_RESTORATION_MS", "1500", "routes.1.target.ideal", 1.5),
        ("PERFORMANCE_TARGET_RESTORATION_MS", "1500", "routes.0.target.ideal", 0.5),
        ("PERFORMANCE_MAX_TOTAL_MS", "1000", "routes.0.total_timeout", 1.0),
        ("PERFORMANCE_MAX_TOTAL_MS", "1000", "routes.1.total_timeout", 9.0),
        ("REQUEST_DEDUP_CACHE_SIZE", "100", "defaults.max_flights", 100),
        ("AUDIT_TRAIL_MAX_ENTRIES", "50", "audit.max_entries", 50),
        ("AUDIT_TRAIL_EXPORT_FORMAT", "csv", "audit.export_format", "csv"),
        ("AUDIT_TRAIL_EXPORT_FORMAT", "", "audit.export_format", "json"),
    ],
)
def test_the_seed_documents_names_are_honoured(
    loaded: Load, variable: str, text: str, path: str, expected: object
) -> None:
    """Bare numbers are milliseconds, attempts are retries, and a route's own setting wins."""
    assert value(loaded(FILE, {variable: text}), path) == expected


def test_a_route_with_a_target_of_its_own_keeps_it(loaded: Load) -> None:
    """The seed's target is a default for routes that say nothing."""
    own = loaded(FILE + 'target = { acceptable = "1s" }', {"PERFORMANCE_TARGET_RESTORATION_MS": "900"})
    assert value(own, "routes.1.target.ideal") == 0.5


def test_the_seeds_names_beat_the_file_and_yield_to_backstays(loaded: Load) -> None:
    """The most specific name wins, also for an upstream that only the environment knows."""
    environ = {"CIRCUIT_BREAKER_FAILURE_THRESHOLD": "7", "BACKSTAY_UPSTREAMS__NEW__URL": "http://n"}
    settings = loaded(FILE.replace("[[", "breaker.failure_threshold = 3\n[[", 1), environ)
    assert {name: each.breaker.failure_threshold for name, each in settings.upstreams.items()} == {
        "my-backend": 7,
        "new": 7,
    }
    environ["BACKSTAY_UPSTREAMS__NEW__BREAKER__FAILURE_THRESHOLD"] = "9"
    assert value(loaded(FILE, environ), "upstreams.new.breaker.failure_threshold") == 9


def test_a_wrong_seed_variable_is_named(problems: Problems) -> None:
    """It says the variable and the setting that it stands for."""
    assert problems(FILE, {"RETRY_MAX_ATTEMPTS": "three"}) == [
        'RETRY_MAX_ATTEMPTS: defaults.retry.max_retries: "three" is not a whole number; write max_retries = 3'
    ]


def test_space_around_a_variable_is_removed(loaded: Load) -> None:
    """`echo` ends what it writes with a newline, and editors end a file so."""
    settings = loaded(FILE, {"BACKSTAY_AUDIT__PATH": " trail.jsonl\n", "BACKSTAY_ADMIN__TOKEN": "secret\n"})
    assert (settings.audit.path, settings.admin.token) == ("trail.jsonl", "secret")
