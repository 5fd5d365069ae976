"""Completed settings: routes from `[defaults]`, the pass-through, and every circuit."""

from proxy.config.settings import Breaker
from tests.unit.config.conftest import Load

FILE = """
[upstreams.sessions]
url = ["http://a:1", "unix:/run/b.sock"]
breaker = { failure_threshold = 9 }
[upstreams.other]
url = "http://other"
[defaults]
total_timeout = "5s"
coalesce = "off"
neutral_headers = ["x-noise"]
idempotency = "inject"
max_body = "1MiB"
reuse = "1s"
[defaults.retry]
max_retries = 7
jitter = false
[defaults.fallback]
body = { one = 1 }
"""
ROUTE = '[[routes]]\noperation = "a"\nmatch = "GET /a/{id}"\n'


def test_a_route_inherits_table_by_table(loaded: Load) -> None:
    """What a route says wins; the rest of a table, such as retry, comes from the defaults."""
    (route,) = loaded(FILE + ROUTE + "retry = { max_retries = 1 }").routes
    assert (route.retry.max_retries, route.retry.jitter, route.retry.initial_delay) == (1, False, 0.1)
    assert (route.total_timeout, route.upstream, route.subject) == (5, "sessions", None)


def test_a_document_is_replaced_and_not_merged(loaded: Load) -> None:
    """A route's fallback body is the whole body."""
    (route,) = loaded(FILE + ROUTE + "fallback = { status = 203, body = { two = 2 } }").routes
    assert route.fallback is not None
    assert (route.fallback.status, route.fallback.body) == (203, {"two": 2})


def test_none_undoes_a_default(loaded: Load) -> None:
    """A route can be without what the defaults say."""
    (route,) = loaded(FILE + ROUTE + 'fallback = "none"\nreuse = "none"\ntarget = "none"\nmax_body = "none"').routes
    assert (route.fallback, route.reuse, route.target, route.max_body) == (None, None, None, None)


def test_later_targets_follow_an_ideal_above_them(loaded: Load) -> None:
    """Setting only the ideal never contradicts the other limits' defaults."""
    (route,) = loaded(FILE + ROUTE + 'target = { ideal = "3s" }').routes
    assert route.target is not None
    assert (route.target.ideal, route.target.acceptable, route.target.slow) == (3, 3, 3)


def test_the_passthrough_takes_from_the_defaults_only_what_is_plain(loaded: Load) -> None:
    """30 s and no keys, fallbacks or kept answers; but the limits, the identity and a coalescing switched off."""
    passthrough = loaded(FILE).passthrough
    assert (passthrough.operation, passthrough.upstream, passthrough.total_timeout) == ("passthrough", "sessions", 30)
    assert (passthrough.idempotency, passthrough.fallback, passthrough.reuse) == ("off", None, None)
    assert (passthrough.coalesce, passthrough.neutral_headers, passthrough.max_body) == ("off", ("x-noise",), 1 << 20)


def test_the_passthrough_coalesces_by_method_whatever_kind_routes_do(loaded: Load) -> None:
    """A default of `identical` would reach unsafe methods too, so the pass-through does not take it."""
    assert loaded(FILE.replace('"off"', '"identical"')).passthrough.coalesce is None


def test_the_passthrough_says_its_own(loaded: Load) -> None:
    """What its table says wins over `[defaults]`, key by key; the timeout of `[defaults]` is none of its own."""
    table = """[passthrough]
total_timeout = "90s"
circuit = "rest"
target = "none"
max_body = "2MiB"
retry = { max_retries = 1 }
[circuits.rest]
max_probes = 1
"""
    settings = loaded(FILE + table)
    rest = settings.passthrough
    assert (rest.total_timeout, rest.circuit, rest.target, rest.max_body) == (90, "rest", None, 2 << 20)
    assert (rest.retry.max_retries, rest.retry.jitter, rest.neutral_headers) == (1, False, ("x-noise",))
    assert (rest.idempotency, rest.fallback, rest.reuse, rest.upstream) == ("off", None, None, "sessions")
    assert settings.breakers["rest"].max_probes == 1


def test_a_variable_sets_the_passthrough(loaded: Load) -> None:
    """As it sets any table, also in a file without the table, and for a sidecar without a route."""
    settings = loaded(
        FILE, {"BACKSTAY_PASSTHROUGH__TOTAL_TIMEOUT": "2m", "BACKSTAY_PASSTHROUGH__COALESCE": "identical"}
    )
    assert (settings.passthrough.total_timeout, settings.passthrough.coalesce) == (120, "identical")
    assert not settings.has_own_budget("passthrough")
    assert loaded(FILE + "[passthrough.retry]\nbudget = 0.1").has_own_budget("passthrough")


def test_a_circuit_without_a_table_is_as_its_upstreams(loaded: Load) -> None:
    """Every upstream has a circuit, and every one that a route names is another."""
    named = ROUTE + 'circuit = "own"\n' + ROUTE.replace('"a"', '"b"').replace("/a/", "/b/") + 'circuit = "bare"\n'
    breakers = loaded(FILE + named + "[circuits.own]\nmax_probes = 1").breakers
    assert breakers == {
        "sessions": Breaker(failure_threshold=9),
        "other": Breaker(),
        "own": Breaker(max_probes=1),
        "bare": Breaker(failure_threshold=9),
    }


EQUAL = """
[upstreams.a]
url = "http://a:1"
[defaults]
total_timeout = "3s"
attempt_timeout = "3s"
min_attempt = "3s"
retry = { initial_delay = "1s", max_delay = "1s" }
target = { ideal = "1s", acceptable = "1s", slow = "1s" }
"""


def test_limits_that_are_equal_contradict_nothing(loaded: Load) -> None:
    """Each "more than" is one: an attempt may take all of the time, and waits and targets may be alike."""
    defaults = loaded(EQUAL).defaults
    assert defaults.attempt_timeout == defaults.min_attempt == defaults.total_timeout == 3.0
    assert defaults.retry.initial_delay == defaults.retry.max_delay == 1.0
