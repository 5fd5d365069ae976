"""The written configuration: every line is right, also with its comment sign removed."""

import re
import tomllib
from pathlib import Path

import pytest

from proxy.config.load import load
from proxy.config.settings import Settings
from proxy.init.configuration_text import UpstreamLine, configuration
from proxy.init.drafts import Drafts
from proxy.init.profiles import Profile

URL = "http://127.0.0.1:8000"
OPTIONAL = re.compile(r"^# (?=\[\[|[a-z_]+ = )", re.MULTILINE)


def settings_of(text: str, folder: Path) -> Settings:
    """Return the settings of a text."""
    (folder / "backstay.toml").write_text(text, encoding="utf-8")
    return load(folder / "backstay.toml", environ={})


def test_a_commented_line_shows_the_default(tmp_path: Path) -> None:
    """With every comment sign removed, the settings are the same; only the example of a route is added."""
    text = configuration(UpstreamLine(URL), Drafts(), None)
    plain = settings_of(text, tmp_path)
    assert plain.listen == Settings().listen
    whole = settings_of(OPTIONAL.sub("", text), tmp_path)
    assert [route.operation for route in whole.routes] == ["session-load"]
    assert whole.model_copy(update={"routes": ()}).model_dump() == plain.model_dump()


@pytest.mark.parametrize(
    ("profile", "wanted"),
    [
        (Profile.HIGH_TRAFFIC, (10, 20.0, 0.2, 2.0, 2.0, (0.5, 1.0, 2.0))),
        (Profile.LOW_LATENCY, (5, 15.0, 0.05, 2.0, 2.0, (0.5, 1.0, 2.0))),
        (Profile.HIGH_LATENCY, (8, 30.0, 0.1, 5.0, 4.0, (1.0, 2.0, 4.0))),
        (None, (5, 30.0, 0.1, 2.0, 2.0, (0.5, 1.0, 2.0))),
    ],
)
def test_a_profile_is_the_seed_documents_recommendation(
    profile: Profile | None, wanted: tuple[object, ...], tmp_path: Path
) -> None:
    """Each changed line names the profile and the default."""
    text = configuration(UpstreamLine(URL), Drafts(), profile)
    found = settings_of(text, tmp_path)
    breaker, retry, target = found.upstreams["backend"].breaker, found.defaults.retry, found.defaults.target
    assert target is not None
    times = (target.ideal, target.acceptable, target.slow)
    circuit = breaker.failure_threshold, breaker.reset_timeout
    assert (*circuit, retry.initial_delay, retry.max_delay, found.defaults.total_timeout, times) == wanted
    assert text.count(f"# profile {profile}; default ") == (0 if profile is None else len(changed(text)))


def changed(text: str) -> list[str]:
    """Return the settings that a text sets and that a plain one does not."""
    plain = tomllib.loads(configuration(UpstreamLine(URL), Drafts(), None))
    data = tomllib.loads(text)
    return sorted(set(flat(data)) - set(flat(plain)))


def flat(table: dict[str, object], prefix: str = "") -> list[str]:
    return [
        key
        for name, each in table.items()
        for key in (flat(each, f"{prefix}{name}.") if isinstance(each, dict) else [f"{prefix}{name}"])
    ]
