"""The shared objects that are built from the settings, and those that a reload changes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.policy.breaker import CircuitBreaker, CircuitMode, CircuitState, Permit
from proxy.policy.classify import Verdict
from proxy.policy.retry import RetryBudget
from tests.wire.kit import exposition

Write = Callable[..., Settings]
TWO_UPSTREAMS = """
[audit]
path = "{folder}/audit.jsonl"
[upstreams.a]
url = "http://127.0.0.1:1"
[upstreams.b]
url = "http://127.0.0.1:2"
"""
ROUTE = """
[[routes]]
operation = "{name}"
match = "GET /{name}"
upstream = "{upstream}"
{more}
"""


def own(share: float) -> str:
    """Return a route's setting of a budget of its own."""
    return f"retry = {{ budget = {share} }}"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a function that gives settings: what `[defaults.retry]` says, and each route's upstream and own text."""

    def written(defaults: str = "", **routes: tuple[str, str]) -> Settings:
        text = TWO_UPSTREAMS.format(folder=tmp_path) + f"[defaults.retry]\n{defaults}\n"
        for name, (upstream, more) in routes.items():
            text += ROUTE.format(name=name, upstream=upstream, more=more)
        file = tmp_path / "config.toml"
        file.write_text(text, encoding="utf-8")
        return load(file, environ={})

    return written


def budgets(sidecar: Sidecar) -> Mapping[str, RetryBudget]:
    """Return each route's retry budget."""
    return {name: wiring.budget for name, wiring in sidecar._ports.wiring.items()}


async def test_a_budget_belongs_to_what_it_is_configured_on(write: Write) -> None:
    """A route's own budget is its own, whatever its number; the others of an upstream share that of [defaults]."""
    settings = write(
        "budget = 0.3", one=("a", own(0.0)), two=("a", own(1.0)), same=("a", own(0.3)), plain=("a", ""),
        other=("a", "retry = { max_retries = 1 }"), beside=("b", ""),
    )  # fmt: skip
    found = budgets(Sidecar(settings))
    assert {name: budget.share for name, budget in found.items()} == {
        "one": 0.0, "two": 1.0, "same": 0.3, "plain": 0.3, "other": 0.3, "beside": 0.3, "passthrough": 0.3,
    }  # fmt: skip
    assert found["plain"] is found["other"] is found["passthrough"]
    assert len({id(budget) for budget in found.values()}) == 5


async def test_a_reload_changes_a_budget_and_keeps_its_savings(write: Write) -> None:
    """The share is the new one at once, of a route's own budget and of the one that is shared; the object stays."""
    sidecar = Sidecar(write("budget = 0.3", one=("a", own(1.0)), plain=("a", "")))
    before = budgets(sidecar)
    await sidecar.reload(lambda: write("budget = 0.1", one=("a", own(0.5)), plain=("a", "")))
    after = budgets(sidecar)
    assert after["one"] is before["one"]
    assert after["plain"] is before["plain"]
    assert (after["one"].share, after["plain"].share) == (0.5, 0.1)


async def test_a_reload_gives_and_takes_a_budget_of_ones_own(write: Write) -> None:
    """A route that says its own budget leaves the shared one, and comes back to it when it says it no more."""
    sidecar = Sidecar(write("budget = 0.3", one=("a", ""), plain=("a", "")))
    shared = budgets(sidecar)["plain"]
    await sidecar.reload(lambda: write("budget = 0.3", one=("a", own(0.0)), plain=("a", "")))
    assert budgets(sidecar)["one"].share == 0.0
    assert budgets(sidecar)["plain"] is shared
    await sidecar.reload(lambda: write("budget = 0.3", one=("a", ""), plain=("a", "")))
    assert budgets(sidecar)["one"] is shared


async def test_each_upstream_has_connections_of_its_own(write: Write) -> None:
    """Two upstreams of one address are two pools, whose limits and certificates are their own; a reload keeps both."""
    settings = write()
    tables = {
        name: table.model_copy(update={"url": ("http://127.0.0.1:1",) * 2})
        for name, table in settings.upstreams.items()
    }
    alike = settings.model_copy(update={"upstreams": tables})
    sidecar = Sidecar(alike)
    before = dict(sidecar._assembly.pools)
    assert [name for name, _ in before] == ["a", "b"]
    assert len({id(pool) for pool in before.values()}) == 2
    await sidecar.reload(lambda: alike)
    assert sidecar._assembly.pools == before
    tables["a"] = tables["a"].model_copy(update={"max_connections": 1})
    await sidecar.reload(lambda: alike.model_copy(update={"upstreams": tables}))
    changed = [name for (name, _), pool in sidecar._assembly.pools.items() if pool not in before.values()]
    assert changed == ["a"]


def at(settings: Settings, **urls: tuple[str, ...]) -> Settings:
    """Return the settings with other addresses of upstreams."""
    tables = {
        name: table.model_copy(update={"url": urls.get(name, table.url)}) for name, table in settings.upstreams.items()
    }
    return settings.model_copy(update={"upstreams": tables})


def fail(breaker: CircuitBreaker) -> None:
    """Report as many failures as open a circuit."""
    for _ in range(breaker.rules.failure_threshold):
        permit = breaker.admit(0.0)
        assert isinstance(permit, Permit)
        breaker.report(permit, Verdict.NETWORK, 0.0)


OLD, NEW, THIRD = "http://127.0.0.1:1", "http://127.0.0.1:8", "http://127.0.0.1:9"
OWN_CIRCUIT = 'circuit = "own"'


@pytest.mark.parametrize(
    ("before", "after", "stays"),
    [
        ((OLD,), (NEW,), False),
        ((OLD, THIRD), (NEW,), False),
        ((OLD,), ("https://127.0.0.1:1",), False),
        ((OLD,), (NEW, OLD), True),
        ((OLD, NEW), (NEW,), True),
        ((OLD,), (OLD + "/",), True),
    ],
)
async def test_a_circuit_belongs_to_its_upstreams_addresses(
    write: Write, before: tuple[str, ...], after: tuple[str, ...], stays: bool
) -> None:
    """Its own and those of its routes: a backend was refused for the failures of the one before it."""
    settings = write(one=("a", OWN_CIRCUIT), two=("b", ""))
    sidecar = Sidecar(at(settings, a=before))
    breakers = dict(sidecar._assembly.breakers)
    assert set(breakers) == {"a", "b", "own"}
    for breaker in breakers.values():
        fail(breaker)
    await sidecar.reload(lambda: at(settings, a=after))
    now = sidecar._assembly.breakers
    assert {name: now[name] is breaker for name, breaker in breakers.items()} == {"a": stays, "own": stays, "b": True}
    assert now["a"].state is now["own"].state is (CircuitState.OPEN if stays else CircuitState.CLOSED)
    assert sidecar._ports.wiring["one"].breaker is now["own"]


async def test_a_circuit_of_a_route_that_moves_to_another_upstream_begins_anew(write: Write) -> None:
    """It has the addresses of all its routes: it stays while one of them stays."""
    sidecar = Sidecar(write(one=("a", OWN_CIRCUIT), two=("a", OWN_CIRCUIT)))
    first = sidecar._assembly.breakers["own"]
    await sidecar.reload(lambda: write(one=("b", OWN_CIRCUIT), two=("a", OWN_CIRCUIT)))
    assert sidecar._assembly.breakers["own"] is first
    await sidecar.reload(lambda: write(one=("b", OWN_CIRCUIT), two=("b", OWN_CIRCUIT)))
    await sidecar.reload(lambda: write(one=("a", OWN_CIRCUIT), two=("a", OWN_CIRCUIT)))
    assert sidecar._assembly.breakers["own"] is not first


@pytest.mark.parametrize("mode", [CircuitMode.FORCED_OPEN, CircuitMode.FORCED_CLOSED])
async def test_an_operators_override_outlives_the_addresses(write: Write, mode: CircuitMode) -> None:
    """It is a command about the circuit, and no failure of the backend."""
    settings = write()
    sidecar = Sidecar(settings)
    sidecar._assembly.breakers["a"].force(mode, 0.0)
    await sidecar.reload(lambda: at(settings, a=(NEW,)))
    assert sidecar._assembly.breakers["a"].mode is mode


async def test_what_the_old_backend_still_does_opens_nothing_and_is_not_told(write: Write) -> None:
    """Running requests report to the breaker that they began with; the new one's beginning is a transition."""
    settings = write()
    sidecar = Sidecar(settings)

    def told(to: str) -> bool:
        return f'backstay_circuit_transitions_total{{circuit="a",to="{to}"}} 1.0' in exposition(sidecar)

    old = sidecar._assembly.breakers["a"]
    fail(old)
    assert told("open")
    await sidecar.reload(lambda: at(settings, a=(NEW,)))
    assert told("closed")
    old.reset(0.0)
    fail(old)
    assert told("open")
    assert told("closed")
    assert sidecar._assembly.breakers["a"].state is CircuitState.CLOSED


async def test_a_probe_of_the_old_backend_holds_no_place_of_the_new_one(write: Write) -> None:
    """The place belongs to the breaker, not to its name."""
    settings = write()
    sidecar = Sidecar(settings)
    old, probes = sidecar._assembly.breakers["a"], sidecar._assembly.probes
    assert probes.take(old, list)
    await sidecar.reload(lambda: at(settings, a=(NEW,)))
    new = sidecar._assembly.breakers["a"]
    assert probes.take(new, list)
    probes.give_back(old)
    assert not probes.take(new, list)


async def test_savings_of_a_retry_budget_belong_to_the_addresses(write: Write) -> None:
    """Where some address stays, they stay; so do those of other upstreams."""
    settings = write(one=("a", own(0.5)), plain=("a", ""), beside=("b", ""))
    sidecar = Sidecar(settings)
    before = budgets(sidecar)
    await sidecar.reload(lambda: at(settings, a=(OLD, NEW)))
    assert all(budget is before[name] for name, budget in budgets(sidecar).items())
    await sidecar.reload(lambda: at(settings, a=(THIRD,)))
    same = {name: budget is before[name] for name, budget in budgets(sidecar).items()}
    assert same == {"one": False, "plain": False, "passthrough": False, "beside": True}


async def test_the_judgement_of_an_address_stays_with_it(write: Write) -> None:
    """Another address beside it, or another order, made it forgotten; one that has gone is forgotten."""
    settings = write()
    sidecar = Sidecar(at(settings, a=(OLD, NEW)))
    known = sidecar._assembly._balancers["a"][1].health
    await sidecar.reload(lambda: at(settings, a=(THIRD, NEW, OLD)))
    now = sidecar._assembly._balancers["a"][1].health
    assert now[1:] == (known[1], known[0])
    assert now[0] not in known
    await sidecar.reload(lambda: at(settings, a=(OLD,)))
    assert "a" not in sidecar._assembly._balancers
