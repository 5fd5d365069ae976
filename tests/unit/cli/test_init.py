"""`backstay init`: files that exist, standard streams, and one line for each mistake."""

from io import BytesIO, TextIOWrapper
from pathlib import Path

import orjson
import pytest

from proxy.audit.chain import Chain
from proxy.config.load import load
from tests.unit.audit.samples import fields
from tests.unit.cli.test_check import backstay
from tests.unit.init.conftest import DOCUMENTS

Captured = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder of its own."""
    monkeypatch.chdir(tmp_path)


def test_a_first_configuration_is_written_and_right(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The output says what comes next."""
    assert backstay(monkeypatch, "init", "--upstream", "http://127.0.0.1:3000") == 0
    assert capsys.readouterr().out == "backstay.toml: 0 routes. Next: backstay check backstay.toml\n"
    assert load(Path("backstay.toml"), environ={}).upstreams["backend"].url == ("http://127.0.0.1:3000",)
    assert backstay(monkeypatch, "check", "backstay.toml") == 0


def test_an_editor_finds_the_schema(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The first line names it for Taplo and Even Better TOML. It is there: they refuse an absent one."""
    Path("etc").mkdir()
    assert backstay(monkeypatch, "init", "etc/b.toml") == 0
    directive, _, path = Path("etc/b.toml").read_text(encoding="utf-8").partition("\n")[0].partition(" ")
    capsys.readouterr()
    assert (directive, backstay(monkeypatch, "schema")) == ("#:schema", 0)
    assert Path("etc", path).read_text(encoding="utf-8") == capsys.readouterr().out


def test_a_file_is_replaced_only_on_demand(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Somebody may have written it by hand."""
    Path("backstay.toml").write_text("mine", encoding="utf-8")
    assert backstay(monkeypatch, "init") == 2
    assert capsys.readouterr().err == (
        "backstay: backstay.toml exists: name another file, - for standard output, or add --force\n"
    )
    assert Path("backstay.toml").read_text(encoding="utf-8") == "mine"
    assert backstay(monkeypatch, "init", "--force") == 0
    assert load(Path("backstay.toml"), environ={}).upstreams


@pytest.mark.parametrize("foreign", ["{}", "[]", "mine", '{"title": "Mine"}'])
def test_a_foreign_schema_is_replaced_only_on_demand(
    foreign: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The name may be taken; without --force nothing is written. That of an earlier version is replaced."""
    schema = Path("backstay.schema.json")
    schema.write_text(foreign, encoding="utf-8")
    assert backstay(monkeypatch, "init") == 2
    said = "backstay: backstay.schema.json exists and is another document: move it, or add --force\n"
    assert (capsys.readouterr().err, schema.read_text(encoding="utf-8")) == (said, foreign)
    assert list(Path().iterdir()) == [schema]
    assert backstay(monkeypatch, "init", "--force") == 0
    assert backstay(monkeypatch, "init", "b.toml") == 0


def test_guesses_are_counted(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """The reader knows how many lines to look at."""
    assert backstay(monkeypatch, "init", "b.toml", "--openapi", str(DOCUMENTS / "sessions.yaml")) == 0
    assert capsys.readouterr().out == 'b.toml: 8 routes, 12 marked with "guess:". Next: backstay check b.toml\n'
    assert Path("b.toml").read_text(encoding="utf-8").count("# guess: ") == 12


def test_standard_streams_are_files_too(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """A document from another program, and the configuration to one."""
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO((DOCUMENTS / "chat.json").read_bytes())))
    assert backstay(monkeypatch, "init", "-", "--openapi", "-") == 0
    assert capsys.readouterr().out.startswith("# Backstay in front of")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--openapi", "none.yaml"], 2, "none.yaml: cannot be read: No such file or directory; name an OpenAPI"),
        (["--openapi", "."], 2, ".: cannot be read: "),
        (["--upstream", "localhost:3000"], 2, '--upstream: "localhost:3000" is not the URL of an upstream; write --up'),
        (["--from-trail", "none.jsonl"], 2, "backstay: none.jsonl: no such file or folder"),
        (["--profile", "fast"], 2, "backstay: Invalid value for '--profile': "),
        (["no/such/folder.toml"], 1, "backstay: no/such/folder.toml cannot be written: no such file or directory"),
        (["-", "--openapi", "bad.json"], 2, "bad.json:1: not JSON: "),
        (
            ["--openapi", "https://u:secret@h/openapi.json?a&b"],
            2,
            "--openapi https://h/openapi.json?a&b: a document is read from a file or from standard input; "
            "write curl -s 'https://h/openapi.json?a&b' | backstay init - --openapi -",
        ),
        (["--openapi", "/dev/null"], 2, "/dev/null: is a device, not a file: name a regular file; name an OpenAPI"),
        (["--from-trail", "bad.json"], 2, "backstay: bad.json: no line is a record of a trail: name the file"),
        (["--upstream", "http://u:secret@h:1"], 2, '--upstream: "http://...@h:1" is not the URL of an upstream; '),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str], status: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Nothing is written."""
    Path("bad.json").write_text("{", encoding="utf-8")
    assert backstay(monkeypatch, "init", *arguments) == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(said)
    assert "secret" not in shown.err
    assert [path.name for path in Path().iterdir()] == ["bad.json"]


def test_a_trail_adds_what_a_document_does_not_have(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    """Only what was passed through; a damaged line is mentioned."""
    chain = Chain()
    seen = {"operation": "passthrough", "method": "GET"}
    lines = [chain.append(fields(1)), chain.append(fields(2, **seen, path="/api/sessions/val_1"))]
    lines += [chain.append(fields(n, **seen, path=f"/api/notes/{n}")) for n in (3, 4)]
    damaged = orjson.dumps({"operation": "passthrough"}) + b"\n"
    Path("audit.jsonl").write_bytes(b"".join([*lines, damaged]))
    arguments = ["init", "--openapi", str(DOCUMENTS / "sessions.yaml"), "--from-trail", "audit.jsonl"]
    assert backstay(monkeypatch, *arguments) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("backstay.toml: 9 routes, 14 marked")
    assert "1 lines of audit.jsonl are not complete records" in shown.err
    routes = load(Path("backstay.toml"), environ={}).routes
    assert [route.operation for route in routes if route.match == "GET /api/sessions/{reportId}"] == ["load-session"]
    assert (routes[-1].operation, routes[-1].match) == ("get-api-notes", "GET /api/notes/{note_id}")
