"""`config.example.toml` names every setting with its true default."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from proxy.config.load import load
from proxy.config.principal_table import PrincipalTable
from proxy.config.routes import (
    PASSTHROUGH,
    Cors,
    FallbackTable,
    OnMissing,
    Passthrough,
    Retry,
    RouteSettings,
    RouteTable,
    TargetTable,
)
from proxy.config.settings import (
    Admin,
    Audit,
    Breaker,
    Listen,
    Log,
    Settings,
    StoreTable,
    UpstreamTable,
)

EXAMPLE = Path(__file__).parents[3] / "config.example.toml"
TEXT = EXAMPLE.read_text(encoding="utf-8")
# The one default that has no word: it depends on the method.
UNSAID = {"coalesce"}


def shown() -> dict[str, Any]:
    """Return the example with every commented default and table taken out of its comment."""
    return tomllib.loads(re.sub(r"^# (?=[a-z_]+ = |\[)", "", TEXT, flags=re.MULTILINE))


REQUIRED: dict[type[BaseModel], dict[str, Any]] = {
    UpstreamTable: {"url": "http://127.0.0.1:8000"},
    PrincipalTable: {
        "issuer": "https://id.example", "audience": ["sessions"], "jwks": "https://id.example/.well-known/jwks.json"
    },
}  # fmt: skip
SECTIONS: list[tuple[type[BaseModel], tuple[str, ...]]] = [
    (Listen, ("listen",)),
    (Admin, ("admin",)),
    (Audit, ("audit",)),
    (StoreTable, ("store",)),
    (Log, ("log",)),
    (UpstreamTable, ("upstreams", "sessions")),
    (Breaker, ("upstreams", "sessions", "breaker")),
    (Breaker, ("circuits", "restoration")),
    (PrincipalTable, ("principal", "user")),
    (RouteSettings, ("defaults",)),
    (Retry, ("defaults", "retry")),
    (TargetTable, ("defaults", "target")),
]


@pytest.mark.parametrize(("model", "path"), SECTIONS, ids=[".".join(path) for _, path in SECTIONS])
def test_a_section_shows_every_setting_with_its_default(model: type[BaseModel], path: tuple[str, ...]) -> None:
    """Every key is there, none is there that the model does not know, and the values are the defaults."""
    table: Any = shown()
    for key in path:
        table = table[key]
    assert table.keys() == model.model_fields.keys()
    required = REQUIRED.get(model, {})
    said = model.model_validate({key: value for key, value in table.items() if key not in UNSAID})
    assert said == model.model_validate(required)


def test_the_pass_through_shows_what_is_its_own() -> None:
    """Its own settings have their true defaults, and all others that it takes are named."""
    table = {key: value for key, value in shown()["passthrough"].items() if key not in UNSAID}
    assert {"total_timeout", "circuit", "target"} == table.keys()
    assert Passthrough.model_validate(table) == Passthrough()
    assert shown()["passthrough"]["coalesce"] == "identical"
    section = TEXT.partition("[passthrough]")[2].partition("[[routes]]")[0]
    assert all(re.search(rf"\b{name}\b", section) for name in PASSTHROUGH)


def test_the_whole_is_shown() -> None:
    """The top level, and the tables that only some routes have, name every key too."""
    assert shown().keys() == Settings.model_fields.keys()
    assert shown()["dry_run"] is False
    for model in (RouteTable, OnMissing, FallbackTable, Cors):
        for name in model.model_fields:
            assert re.search(rf"\b{name}( = |\])", TEXT), f"{model.__name__}.{name}"


def test_it_loads_as_it_is() -> None:
    """The example is a working configuration of the session backend."""
    settings = load(EXAMPLE, {}, {})
    assert [route.operation for route in settings.routes] == [
        "session-create", "session-load", "session-update", "view-switch", "conversation-status", "history"
    ]  # fmt: skip
    assert settings.listen == Listen()
    assert settings.admin == Admin()
    assert settings.defaults == RouteSettings()
    assert settings.upstreams["sessions"] == UpstreamTable.model_validate({"url": "http://127.0.0.1:8000"})
    assert set(settings.breakers) == {"sessions", "restoration"}
