"""The switch of the seed document's variables, and what the log says of them."""

import pytest

from proxy.config.seed import SEED, SWITCH, SeedEffect, seed_effects
from tests.unit.config.conftest import Load, Problems

FILE = """
[upstreams.a]
url = "http://file:1"
[[routes]]
operation = "session-load"
match = "GET /s/{id}"
[[routes]]
operation = "history"
match = "GET /h/{id}"
restoration = "history"
"""
ALL = {
    "CIRCUIT_BREAKER_FAILURE_THRESHOLD": "7", "CIRCUIT_BREAKER_RESET_TIMEOUT": "20000", "RETRY_MAX_ATTEMPTS": "4",
    "RETRY_INITIAL_DELAY": "200", "RETRY_MAX_DELAY": "1s", "PERFORMANCE_TARGET_SESSION_MS": "300",
    "PERFORMANCE_TARGET_RESTORATION_MS": "900", "PERFORMANCE_MAX_TOTAL_MS": "1000", "REQUEST_DEDUP_CACHE_SIZE": "100",
    "AUDIT_TRAIL_MAX_ENTRIES": "50", "AUDIT_TRAIL_EXPORT_FORMAT": "csv",
}  # fmt: skip


def test_each_variable_that_took_effect_is_named_with_what_it_set(loaded: Load) -> None:
    """All eleven do, in the order of the seed document."""
    effects = list(seed_effects(loaded(FILE, ALL).document))
    assert [each.variable for each in effects] == list(SEED) == list(ALL)
    assert effects[1].changed == ('upstreams.a.breaker.reset_timeout = "20000ms"',)
    assert effects[5].changed == ('routes[0].target.ideal = "300ms"',)


def test_a_variable_that_sets_nothing_is_not_named(loaded: Load) -> None:
    """Empty, overruled by a `BACKSTAY_` variable, or without a route that it concerns."""
    environ = {
        "RETRY_MAX_DELAY": " ", "RETRY_MAX_ATTEMPTS": "4", "BACKSTAY_DEFAULTS__RETRY__MAX_RETRIES": "2",
        "PERFORMANCE_TARGET_SESSION_MS": "300",
    }  # fmt: skip
    assert list(seed_effects(loaded(FILE.replace("session-load", "load"), environ).document)) == []


def test_a_variable_for_many_routes_has_a_short_line(loaded: Load) -> None:
    """The first five settings are named, and the number of the others."""
    routes = "".join(f'[[routes]]\noperation = "session-{n}"\nmatch = "GET /{n}"\n' for n in range(9))
    (effect,) = seed_effects(loaded(FILE + routes, {"PERFORMANCE_TARGET_SESSION_MS": "300"}).document)
    assert isinstance(effect, SeedEffect)
    assert (len(effect.changed), effect.changed[-1]) == (6, "and 5 more")


@pytest.mark.parametrize("word", ["0", "false", " OFF ", "no"])
def test_the_switch_ignores_all(loaded: Load, word: str) -> None:
    """Nothing of them is read, not even for errors."""
    assert loaded(FILE, {**ALL, "RETRY_MAX_ATTEMPTS": "three", SWITCH: word}) == loaded(FILE)


@pytest.mark.parametrize("word", ["", "1", "true"])
def test_the_switch_may_be_on(loaded: Load, word: str) -> None:
    """That is the default, and the switch is no setting."""
    assert loaded(FILE, {**ALL, SWITCH: word}).defaults.retry.max_retries == 4


def test_another_word_is_refused(problems: Problems) -> None:
    """A typing error does not leave the variables on silently."""
    assert problems(FILE, {SWITCH: "of"}) == [
        f'{SWITCH}: "of" is neither 0 nor 1; write {SWITCH}=0 to ignore the variables of the seed document'
    ]
