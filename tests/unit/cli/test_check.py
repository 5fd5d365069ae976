"""`backstay check`, and the command line around it."""

from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest

from proxy.cli import main as command_line
from proxy.cli.check import HEADINGS, routing_table
from proxy.config.load import load
from proxy.config.objections import ConfigError

FILE = """
[upstreams.sessions]
url = "http://b"
[[routes]]
operation = "by-name"
match = "GET /a/{x}/c"
attempt_timeout = "500ms"
[[routes]]
operation = "by-word"
match = "POST /a/b/c"
subject = "body:/id"
circuit = "own"
idempotency = "inject"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return a configuration of two routes."""
    path = tmp_path / "config.toml"
    path.write_text(FILE, encoding="utf-8")
    return path


def backstay(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command line in this process; return its exit status."""
    monkeypatch.setattr("sys.argv", ["backstay", *arguments])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    return left.value.code if isinstance(left.value.code, int) else 1


def test_routes_are_listed_as_they_match(file: Path) -> None:
    """A literal segment comes before a name, whatever the file's order, and the pass-through comes last."""
    assert list(routing_table(load(file, {}, {}))) == [
        ("1", "by-word", "POST", "/a/b/c", "sessions", "own", "body:/id", "off", "inject", "2s"),
        ("2", "by-name", "GET", "/a/{x}/c", "sessions", "sessions", "-", "identical", "off", "2s (attempt 500ms)"),
        ("3", "passthrough", "any", "all others", "sessions", "sessions", "-", "identical if safe", "off", "30s"),
    ]


def test_any_method_comes_after_a_method(tmp_path: Path) -> None:
    """Of two templates with the same segments, the route that names the method gets its requests."""
    path = tmp_path / "config.toml"
    path.write_text(
        '[upstreams.sessions]\nurl = "http://127.0.0.1:1"\n'
        '[[routes]]\noperation = "any"\nmatch = "ANY /x/{a}"\n[[routes]]\noperation = "read"\nmatch = "GET /x/{b}"\n',
        encoding="utf-8",
    )
    assert [row[1] for row in routing_table(load(path, {}, {}))] == ["read", "any", "passthrough"]


def test_a_good_file_is_printed_in_columns(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Off a terminal, every column begins at one place, so that tools can cut it; exit 0."""
    assert backstay(monkeypatch, "check", str(file)) == 0
    heading, *lines = capsys.readouterr().out.splitlines()
    assert tuple(heading.split()) == HEADINGS
    assert len(lines) == 3
    at = heading.index("template")
    assert [line[at:].split("  ")[0] for line in lines] == ["/a/b/c", "/a/{x}/c", "all others"]


def test_a_terminal_gets_a_table(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal the same rows stand in a ruled table."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    assert backstay(monkeypatch, "check", str(file)) == 0
    out = capsys.readouterr().out
    assert "┏" in out
    assert "/a/{x}/c" in out


def test_a_bad_file_is_every_problem_on_standard_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line a problem, nothing on standard output, exit 2."""
    file.write_text(FILE + 'coalesce = "subjekt"\nzzz = 1\n', encoding="utf-8")
    assert backstay(monkeypatch, "check", str(file)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f'{file}:14: routes[1].coalesce: "subjekt" is not one of off, identical, subject; write coalesce = "subject"',
        f"{file}:15: routes[1].zzz: there is no such setting; remove it",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["check"], "backstay: Missing argument 'FILE'; see backstay --help\n"),
        (
            ["completion"],
            "backstay: Missing argument 'SHELL'. Choose from: bash, zsh, fish, powershell, pwsh; see backstay --help\n",
        ),
        (["check", "/dev/null"], "/dev/null: is a device, not a file: name a regular file\n"),
        (["helth"], "backstay: No such command 'helth'. Did you mean 'health'?; see backstay --help\n"),
        (["check", "none.toml"], "none.toml: cannot be read: No such file or directory\n"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No usage box and no traceback: one line on standard error, exit 2."""
    assert backstay(monkeypatch, *arguments) == 2
    assert capsys.readouterr().err == said


def test_the_version_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`--version` needs no command."""
    assert backstay(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("backstay ")


def test_standard_input_is_a_file_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`check -` reads the output of another program; mistakes name the line."""
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(FILE.encode() + b"zzz = 1\n")))
    assert backstay(monkeypatch, "check", "-") == 2
    assert capsys.readouterr().err == "-:14: routes[1].zzz: there is no such setting; remove it\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["run", "a.toml", "--config", "b.toml"], "give the configuration once"), (["run", "-"], "cannot be read again")],
)
def test_a_configuration_is_one_file(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`run FILE` is `run --config FILE`; both together, or standard input, are a usage error."""
    monkeypatch.setattr("proxy.signals.SIGNALS.install", lambda: None)
    assert backstay(monkeypatch, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["c.toml"], ["--config", "c.toml"], []])
def test_run_takes_a_file_with_or_without_the_options_name(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command reads the named file."""
    given: list[object] = []

    def run(*said: object) -> int:
        given.extend(said)
        return 0

    monkeypatch.setattr("proxy.cli.run.run", run)
    monkeypatch.setattr("proxy.signals.SIGNALS.install", lambda: None)
    assert backstay(monkeypatch, "run", *arguments, "--listen", "127.0.0.1:1") == 0
    assert given == [Path("c.toml") if arguments else None, "127.0.0.1:1", None, None]


@pytest.mark.parametrize("command", ["query", "stats", "export", "verify", "tail", "sql SELECT"])
def test_every_reader_of_the_trail_has_a_default_path(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is the default of `audit.path`."""
    monkeypatch.chdir(tmp_path)
    assert backstay(monkeypatch, "audit", *command.split()) == 2
    assert "audit.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_at_the_root(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A shell gets the commands for its completion."""
    monkeypatch.setenv("_BACKSTAY_COMPLETE", f"complete_{shell}")
    monkeypatch.setenv("_TYPER_COMPLETE_ARGS", "backstay che")
    monkeypatch.setenv("COMP_WORDS", "backstay che")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setenv("_TYPER_COMPLETE_FISH_ACTION", "get-args")
    backstay(monkeypatch)
    assert "check" in capsys.readouterr().out


def test_the_examples_have_no_warning(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A newcomer copies them."""
    root = Path(__file__).parents[3]
    for example in (root / "config.example.toml", *root.glob("examples/**/backstay.toml")):
        assert backstay(monkeypatch, "check", str(example), "--no-files") == 0
        assert capsys.readouterr().err == ""


def test_no_mistake_is_told_as_an_error_of_a_value(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The words of the library say nothing to a user."""
    assert backstay(monkeypatch, "completion", "tcsh") == 2
    assert capsys.readouterr().err.startswith("backstay: Invalid value for 'SHELL': 'tcsh' is not one of ")


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    """Editors of Windows write one, and a token may begin with one too."""
    path = tmp_path / "config.toml"
    path.write_text(FILE, encoding="utf-8-sig")
    assert len(load(path, {}, {}).routes) == 2
    path.write_bytes(FILE.encode("utf-16"))
    with pytest.raises(ConfigError, match="it is not UTF-8; save it as UTF-8"):
        load(path, {}, {})


def test_a_method_in_small_letters_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Methods are case-sensitive (RFC 9110 section 9.1), so it would be explained as a request without a route."""
    assert backstay(monkeypatch, "check", str(file), "--explain", "get /a/1/c?x=1") == 2
    assert capsys.readouterr().err == (
        '--explain: "get" is not GET: methods are case-sensitive; write --explain "GET /a/1/c"\n'
    )


def test_an_empty_token_file_is_told_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of the file is its subject."""
    (tmp_path / "token").touch()
    path = tmp_path / "config.toml"
    path.write_text(f'[admin]\ntoken_file = "{tmp_path}/token"\n{FILE}', encoding="utf-8")
    assert backstay(monkeypatch, "check", str(path)) == 2
    assert f"admin.token_file: {tmp_path}/token is empty; write the token into the file" in capsys.readouterr().err
