"""The shared objects that are built from the settings, and those that a reload changes."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from proxy.app import Sidecar
from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.policy.retry import RetryBudget

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
