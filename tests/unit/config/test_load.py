"""The order of precedence, and that loading fails only with its own errors."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.load import load, read_token
from proxy.config.objections import ConfigError, ConfigProblem
from proxy.config.routes import RouteTable
from proxy.config.settings import Admin, Settings, StoreTable
from tests.unit.config.conftest import Load, Problems

FILE = '[listen]\naddress = "file:1"\n[upstreams.sessions]\nurl = "http://file:8000"\n'


def test_the_command_line_beats_the_environment_beats_the_file_beats_the_default(loaded: Load) -> None:
    """Each layer wins over the one below it, for its own keys only."""
    environ = {"BACKSTAY_LISTEN__ADDRESS": "env:1", "BACKSTAY_ADMIN__ADDRESS": "env:2"}
    assert loaded("[upstreams.a]\nurl = 'http://a'").listen.address == "0.0.0.0:8080"
    assert loaded(FILE).listen.address == "file:1"
    assert loaded(FILE, environ).listen.address == "env:1"
    settings = loaded(FILE, environ, {"listen.address": "option:1"})
    assert (settings.listen.address, settings.admin.address) == ("option:1", "env:2")


def test_an_upstream_on_the_command_line_is_enough() -> None:
    """Without a file there is one upstream, named default, and no route."""
    settings = load(None, {"upstream": "http://127.0.0.1:8000"}, {})
    assert list(settings.upstreams) == ["default"]
    assert settings.upstreams["default"].url == ("http://127.0.0.1:8000",)
    assert settings.routes == ()
    assert settings.passthrough.upstream == "default"


def test_an_upstream_on_the_command_line_moves_the_first_of_the_file(loaded: Load) -> None:
    """The file's other settings of that upstream stay."""
    settings = loaded(FILE + "max_idle = 7", {}, {"upstream": "http://option:1"})
    assert settings.upstreams["sessions"].url == ("http://option:1",)
    assert settings.upstreams["sessions"].max_idle == 7


def test_a_wrong_option_is_named(problems: Problems) -> None:
    """A mistake on the command line says which option."""
    lines = problems(FILE, {}, {"listen.address": "nowhere", "upstream": "ftp://x"})
    assert [line.partition(" ")[0] for line in lines] == ["--listen:", "--upstream:"]


def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    """A missing file, a folder and a file that is no text say so."""
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    for path, reason in (
        (tmp_path / "none.toml", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (tmp_path / "bytes.toml", "it is not UTF-8; save it as UTF-8"),
    ):
        with pytest.raises(ConfigError) as refused:
            load(path, {}, {})
        assert str(refused.value) == f"{path}: cannot be read: {reason}"


def test_the_token_is_the_one_written_or_the_one_in_the_file(tmp_path: Path) -> None:
    """A token file is read without the newline that editors add; one that is not there is an error."""
    (tmp_path / "token").write_text("s3cret\n", encoding="utf-8")
    assert read_token(Admin()) == ""
    assert read_token(Admin(token="plain")) == "plain"
    assert read_token(Admin(token_file=str(tmp_path / "token"))) == "s3cret"
    with pytest.raises(ConfigError, match=r"admin\.token_file: cannot be read"):
        read_token(Admin(token_file=str(tmp_path / "none")))


def test_a_token_is_never_shown() -> None:
    """Neither the settings' text nor a store's URL gives a secret away."""
    settings = load(None, {"upstream": "http://b", "admin.token": "s3cret"}, {})
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(StoreTable(url="redis://:s3cret@r"))


def problems_of(overrides: dict[str, object], environ: dict[str, str]) -> tuple[ConfigProblem, ...] | None:
    """Return why these settings are refused; nothing where they load."""
    try:
        load(None, overrides, environ)
    except ConfigError as refused:
        return refused.problems
    return None


_WORDS = sorted({*Settings.model_fields, *RouteTable.model_fields, "url", "a", "x\ny"})
_LEAVES = st.sampled_from(
    [None, True, 0, -1, 1.5, "", "none", "2s", "1KiB", "a\nb", "GET /{a}", "http://b", "path:a", "off"]
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_WORDS), inner, max_size=5),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(Settings.model_fields)), _VALUES, max_size=4))
def test_whatever_is_written_loads_or_is_refused_in_words(written: dict[str, object]) -> None:
    """No shape of data gets past the reading as anything but settings, or problems that say where and what."""
    environ = {f"BACKSTAY_{name.upper()}": json.dumps(value) for name, value in written.items()}
    environ["CIRCUIT_BREAKER_RESET_TIMEOUT"] = environ["PERFORMANCE_TARGET_SESSION_MS"] = "100"
    told = problems_of({"upstream": "http://b"}, environ)
    assert told is None or told
    assert all(problem.message and "\n" not in str(problem) for problem in told or ())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = " + "[" * 5_000 + "]" * 5_000, "it is nested too deeply"),
        ("x = " + "{a = " * 400 + "1" + "}" * 400, "it is nested too deeply"),
        (".".join(["a"] * 20_000) + " = 1", "it is nested too deeply"),
        ("[" + ".".join(["a"] * 100) + "]", "it is nested too deeply"),
        ("x = {" + ".".join(["a"] * 20_000) + " = 1}", "it is nested too deeply"),
        ("a. " * 20_000 + " = 1", "it is nested too deeply"),
        ("x = " + "9" * 5_000, "5000 digits"),
    ],
)
def test_what_python_cannot_hold_is_refused_in_words(problems: Problems, text: str, said: str) -> None:
    (problem,) = problems(text)
    assert said in problem


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 100 + "]" * 100, "9" * 5_000])
def test_a_variable_that_python_cannot_hold_is_refused_in_words(problems: Problems, text: str) -> None:
    environ = {"BACKSTAY_UPSTREAMS__A__URL": "http://a", "BACKSTAY_DEFAULTS__TOTAL_TIMEOUT": text}
    (problem,) = problems("", environ)
    assert problem.startswith("BACKSTAY_DEFAULTS__TOTAL_TIMEOUT: defaults.total_timeout: ")
