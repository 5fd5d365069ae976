"""`backstay check --explain`: the route of a request, the other routes that match, and each setting's origin."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.cli.route_explanation import explain
from proxy.config.load import load_written
from proxy.config.objections import ConfigError
from tests.unit.cli.test_check import backstay

FILE = """[upstreams.a]
url = "http://b"
[upstreams.archive]
url = ["http://c", "http://d"]
[defaults]
total_timeout = "3s"
max_body = "1MiB"
[defaults.retry]
max_retries = 2
[[routes]]
operation = "load"
match = "GET, HEAD /api/sessions/{id}"
subject = "path:id"
retry = { initial_delay = "50ms" }
[[routes]]
operation = "current"
match = "GET /api/sessions/current"
circuit = "own"
target = "none"
fallback = { body = { a = 1 } }
[[routes]]
operation = "archive"
match = "ANY /api/{rest...}"
upstream = "archive"
"""
Explained = Callable[..., tuple[list[str], dict[str, str]]]


@pytest.fixture
def explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Explained:
    """Explain a request under FILE and these variables; return the lines above the table, and the table."""
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text(FILE, encoding="utf-8")

    def run(request: str, **environ: str) -> tuple[list[str], dict[str, str]]:
        lines = list(explain(load_written(Path("c.toml"), {}, environ), request))
        above, table = lines[: lines.index("")], lines[lines.index("") + 1 :]
        return above, {line.split()[0]: " ".join(line.split()[1:]) for line in table}

    return run


def test_the_route_is_named_with_those_that_lose(explained: Explained) -> None:
    """Each other route that matches the path has the reason why it is not chosen."""
    assert explained("GET /api/sessions/current?x=1")[0] == [
        "GET /api/sessions/current",
        '  route     current: "GET /api/sessions/current" (c.toml:17)',
        "  upstream  a (http://b), circuit own",
        '  not       load: "GET, HEAD /api/sessions/{id}": current wins over {id}',
        '  not       archive: "ANY /api/{rest...}": sessions wins over {rest...}',
    ]
    assert explained("PUT http://x/api/sessions/1")[0] == [
        "PUT /api/sessions/1",
        '  route     archive: "ANY /api/{rest...}" (c.toml:23)',
        "  upstream  archive (http://c, http://d), circuit archive",
        '  not       load: "GET, HEAD /api/sessions/{id}": it is not for PUT',
    ]
    assert explained("/api/sessions/1?back=https://x/y")[0][0] == "GET /api/sessions/1"
    assert explained("/none")[0][1] == "  route     passthrough: no route matches"


def test_each_setting_says_where_it_is_from(explained: Explained) -> None:
    """The environment, the route, `[defaults]` or the default, key by key within a table."""
    _, table = explained("/api/sessions/1", BACKSTAY_ROUTES__LOAD__MAX_BODY="2MiB", RETRY_MAX_DELAY="900")
    assert table["total_timeout"] == '"3s" c.toml:6 [defaults]'
    assert table["subject"] == '"path:id" c.toml:13'
    assert table["max_body"] == '"2MiB" BACKSTAY_ROUTES__LOAD__MAX_BODY'
    assert table["retry.initial_delay"] == '"50ms" c.toml:14'
    assert table["retry.max_retries"] == "2 c.toml:9 [defaults]"
    assert table["retry.max_delay"] == '"900ms" RETRY_MAX_DELAY [defaults]'
    assert table["target.ideal"] == '"500ms" default'
    assert table["idle_timeout"] == '"1m" default'
    _, table = explained("/api/sessions/current")
    assert table["target"] == '"none" c.toml:19'
    assert table["fallback"] == '{"body": {"a": 1}} c.toml:20'


def test_upstream_and_circuit_say_where_they_are_from_too(explained: Explained) -> None:
    """They were shown without an origin."""
    _, table = explained("/api/sessions/current", BACKSTAY_DEFAULTS__CIRCUIT="all")
    assert (table["upstream"], table["circuit"]) == ("the first default", '"own" c.toml:18')
    _, table = explained("PUT /api/x", BACKSTAY_DEFAULTS__CIRCUIT="all")
    assert table["upstream"] == '"archive" c.toml:24'
    assert table["circuit"] == '"all" BACKSTAY_DEFAULTS__CIRCUIT [defaults]'


def test_a_route_names_the_circuit_of_its_timeouts(explained: Explained) -> None:
    """A route that shares its circuit has one of its own before it; the only route of a circuit has not."""
    assert explained("/api/sessions/1")[0][3] == "  timeouts  circuit a:load, and a if other routes time out too"
    assert not any(line.startswith("  timeouts") for line in explained("/api/sessions/current")[0])


def test_the_pass_through_says_what_its_table_says(explained: Explained) -> None:
    """Its own table wins over `[defaults]`; a variable is an origin here too."""
    said = {"BACKSTAY_PASSTHROUGH__TOTAL_TIMEOUT": "90s", "BACKSTAY_PASSTHROUGH__MAX_BODY": "2MiB"}
    _, table = explained("/none", **said)
    assert table["total_timeout"] == '"90s" BACKSTAY_PASSTHROUGH__TOTAL_TIMEOUT'
    assert table["max_body"] == '"2MiB" BACKSTAY_PASSTHROUGH__MAX_BODY'
    assert table["retry.max_retries"] == "2 c.toml:9 [defaults]"
    assert (table["circuit"], table["target.ideal"]) == ('"none" default', '"500ms" default')
    _, table = explained("/none", BACKSTAY_DEFAULTS__COALESCE="off")
    assert table["coalesce"] == '"off" BACKSTAY_DEFAULTS__COALESCE [defaults]'


def test_a_secret_is_not_explained(explained: Explained) -> None:
    """The output may stand in the log of a build."""
    _, table = explained("/api/sessions/1", BACKSTAY_ROUTES__LOAD__ON_CONFLICT="GET /s/{subject}?api_key=zz")
    assert table["on_conflict"].startswith('"GET /s/{subject}?api_key=***" BACKSTAY_')


def test_the_pass_through_has_what_it_takes_from_the_defaults(explained: Explained) -> None:
    """Its limits come from `[defaults]`, its timeout does not. Recovery has no row, because it does not apply."""
    _, table = explained("/none")
    assert (table["total_timeout"], table["max_body"]) == ('"30s" built in', '"1MiB" c.toml:7 [defaults]')
    assert "fallback" not in table


@pytest.mark.parametrize("asked", ["", "api", "GET", "GET api", "G3T /api"])
def test_what_is_no_request_is_refused(explained: Explained, asked: str) -> None:
    """The error shows the form of a request."""
    with pytest.raises(ConfigError, match="is not a method and a path; write --explain"):
        explained(asked)


def test_it_is_an_option_of_check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It replaces the table of routes."""
    (tmp_path / "c.toml").write_text(FILE)
    assert backstay(monkeypatch, "check", str(tmp_path / "c.toml"), "--explain", "GET /api/sessions/1") == 0
    assert capsys.readouterr().out.startswith("GET /api/sessions/1\n  route     load: ")
